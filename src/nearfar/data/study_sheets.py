"""The JSON files of a study: reading them, the map of object classes, and rows as records."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nearfar.config import DataConfig
from nearfar.data.readers.base import split_files
from nearfar.data.study import CLASSES, OBJECT_CLASSES, UNKNOWN, StudyRecord
from nearfar.data.study_images import Header, header
from nearfar.data.study_rules import Rules
from nearfar.errors import ConfigError, DataError

FIELDS = ("image_path", "description", "class_label", "coordinates", "sample_id", "patient_id", "group")
"""what rows have that is no column of `StudyDataset.table`"""
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sheet:
    """One file: `rows` as parsed, `name` for locations, the folder that image paths are relative to."""

    rows: Any
    name: str
    base: Path

    def image(self, row: Mapping[str, Any]) -> Path:
        """Where the image of a row lies."""
        return Path(os.path.normpath(self.base / row["image_path"]))

    def find(self, name: str) -> Header:
        """The header of an image by the path that a row has. Raises DataError."""
        return header(Path(os.path.normpath(self.base / name)))

    def at(self, number: int) -> str:
        """The location of a row."""
        return f"{self.name}[{number}]"


def read_sheet(source: Path | str | Any, name: str | None = None, image_root: Path | None = None) -> Sheet:
    """A JSON file, or its rows. Raises DataError for a file that is missing or not JSON."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.exists():
            raise DataError("the file does not exist", where=path, fix="Check the path.")
        return Sheet(_parse(path), path.name if name is None else name, image_root or path.parent)
    return Sheet(source, name or "", image_root or Path())


def _parse(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}"
        raise DataError("the file is not JSON", where=where, found=error.msg, fix="Write a list of objects.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the file cannot be read", where=path, found=str(error)) from None


def image_rows(sheet: Sheet) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows that name an image, with their numbers."""
    rows = sheet.rows if isinstance(sheet.rows, list) else []
    for number, row in enumerate(rows):
        if isinstance(row, dict) and isinstance(row.get("image_path"), str) and row["image_path"]:
            yield number, row


def sheet_paths(config: DataConfig) -> dict[str, Path]:
    """Split -> its JSON file: data.train, .val, .test, then those of these names in `data.root`; "" for a root that is
    one file. Raises DataError for a file that is named and not there.
    """
    paths = split_files(config)
    root = Path(config.root) if config.root is not None else None
    if root is not None and root.is_file() and not paths:
        return {"": root}
    if root is not None and root.is_dir():
        for split in SPLITS:
            if split not in paths and (root / f"{split}.json").is_file():
                paths[split] = root / f"{split}.json"
    return {split: paths[split] for split in SPLITS if split in paths}


def rules_of(config: DataConfig, *, missing_ok: bool = False) -> Rules:
    """What the rows are held to. Raises ConfigError for a bad `data.max_objects`, DataError for a bad label map."""
    if config.max_objects < 1:
        raise ConfigError("a sample keeps at least one object", where="data.max_objects", found=config.max_objects)
    classes = OBJECT_CLASSES if config.labels is None else read_classes(config.labels)
    if config.on_unknown == "map" and UNKNOWN not in classes:
        classes = (*classes, UNKNOWN)
    return Rules(classes, config.on_unknown, config.max_objects, missing_ok)


def read_classes(path: Path) -> tuple[str, ...]:
    """Object classes from a YAML or JSON file: a list of names, or name: number from 0 without gaps. DataError."""
    fix = "Write a list of names, or each name with its number: 0, 1, 2, ..."
    try:
        text = Path(path).read_text(encoding="utf-8")
        value = json.loads(text) if Path(path).suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
        raise DataError(
            "the label map cannot be read", where=path, found=" ".join(str(error).split()), fix=fix
        ) from None
    names = list(value) if isinstance(value, (list, dict)) else []
    if isinstance(value, dict):
        numbers = list(value.values())
        if any(type(n) is not int for n in numbers) or sorted(numbers) != list(range(len(numbers))):
            raise DataError("the numbers of the label map have gaps", where=path, found=str(numbers), fix=fix)
        names.sort(key=value.__getitem__)
    # YAML reads the labels NO, Y and 1 as other things than text.
    if not names or not all(isinstance(n, str) and n for n in names) or len(set(names)) < len(names):
        found = f"{value!r}"[:100]
        raise DataError(
            "the label map is no list of different names", where=path, found=found, fix=f"{fix} Quote them."
        )
    return tuple(names)


def records_of(sheet: Sheet, split: str | None, rules: Rules, taken: set[str]) -> list[StudyRecord]:
    """The rows, which have passed the rules, as records; `taken` holds the ids given out so far, and grows."""
    return [_record(row, sheet, number, split, rules, taken) for number, row in enumerate(sheet.rows)]


def _record(
    row: Mapping[str, Any], sheet: Sheet, number: int, split: str | None, rules: Rules, taken: set[str]
) -> StudyRecord:
    path = sheet.image(row) if row.get("image_path") else None
    found = header(path) if path else _stated_size(row, sheet.at(number))
    name = _unique(row.get("sample_id") or _name(path, sheet) or f"sample{number}", taken)
    kept = _kept(row.get("coordinates") or [], rules.max_objects)
    patient = row.get("patient_id") or row.get("group") or found.patient
    return StudyRecord(
        id=name,
        paths=(path,) if path else (),
        label=-1 if row.get("class_label") is None else CLASSES.index(row["class_label"]),
        group=patient or name,
        split=split,
        caption=row.get("description") or "",
        boxes=tuple(_cut(entry["bbox"], found) for entry in kept),
        object_labels=tuple(_number(entry["label"], rules.object_classes) for entry in kept),
        confidences=tuple(float(_confidence(entry)) for entry in kept),
        shape=(found.height, found.width),
        grey=found.grey,
        present=(path is not None, row.get("description") is not None, row.get("coordinates") is not None),
        patient=patient,
        attributes=_attributes(row, found),
    )


def _kept(entries: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """The most confident detections, in the order of the file."""
    if len(entries) <= most:
        return list(entries)
    order = sorted(range(len(entries)), key=lambda i: (-_confidence(entries[i]), i))[:most]
    return [entries[i] for i in sorted(order)]


def _confidence(entry: Mapping[str, Any]) -> float:
    value = entry.get("confidence")
    return 1.0 if value is None else float(value)


def _number(name: str, classes: tuple[str, ...]) -> int:
    return classes.index(name if name in classes else UNKNOWN)


def _cut(box: Sequence[float], image: Header) -> tuple[float, float, float, float]:
    x0, x1 = (min(max(float(v) - image.left, 0.0), image.width) for v in (box[0], box[2]))
    y0, y1 = (min(max(float(v) - image.top, 0.0), image.height) for v in (box[1], box[3]))
    return x0, y0, x1, y1


def _stated_size(row: Mapping[str, Any], at: str) -> Header:
    """The size that the boxes of a missing image are in."""
    width, height = row.get("width"), row.get("height")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return Header(width, height)
    if row.get("coordinates"):
        fix = "Write width and height of the image that the boxes are in."
        raise DataError("there are boxes and no image", where=at, found=f"width {width}, height {height}", fix=fix)
    return Header(1, 1)


def _name(path: Path | None, sheet: Sheet) -> str:
    if path is None:
        return ""
    base = Path(os.path.normpath(sheet.base))
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.name


def _unique(name: str, taken: set[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}#{number}"
    taken.add(unique)
    return unique


def _attributes(row: Mapping[str, Any], image: Header) -> dict[str, str]:
    """The scalars of a row that have no place of their own, and what the image's header tells."""
    found = {} if image.mm_per_pixel is None else {"mm_per_pixel": f"{image.mm_per_pixel:.6g}"}
    for key, value in row.items():
        if key not in FIELDS and isinstance(value, (str, int, float)):
            found[str(key)] = str(value).lower() if isinstance(value, bool) else str(value)
    return found
