"""Sibling folders, one a modality, with the images of one sample paired by name."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.readers.base import (
    SPLITS,
    Problem,
    Reader,
    Scan,
    duplicate_stems,
    holds_images,
    image_files,
    no_images,
    root_of,
    subfolders,
)
from nearfar.data.synthetic import tiny
from nearfar.data.tables import class_names, need_columns, read_table
from nearfar.errors import DataError, did_you_mean

KNOWN = ("rgb", "gray", "nir", "swir", "ir", "infrared", "thermal", "depth", "normals", "lidar", "sar", "uv")
"""names by which modalities are recognised, in the order in which their channels are stacked; others follow by name"""
TABLE = "labels.csv"
TRUTH = "truth"


class Modalities(Reader):
    """ROOT/{rgb,thermal,depth,...}/[CLASS/]STEM.*, paired by name, with ROOT/labels.csv (id, label, split, group).

    Without a table, the sub-folders of a modality are the classes. ROOT/truth/labels.csv (id, label) feeds
    `true_label`, ROOT/truth/masks/ID.png feeds `mask`. Modalities of different resolution are taken to cover the same
    ground, and brought to one grid.
    """

    name = "modalities"
    priority = 10

    def recognises(self, root: Path) -> bool:
        folders = _candidates(root)
        named = [p for p in folders if p.name.lower() in KNOWN]
        return bool(folders) and ((root / TABLE).is_file() or (len(named) > 1 and len(named) == len(folders)))

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        folders = _folders(config, root)
        found = Scan([], (), tuple(p.name for p in folders))
        pairs = _pairs(folders, found)
        if not pairs:
            found.problems.append(no_images(root))
            return found
        table = _read_labels(root / TABLE, pairs, found) if (root / TABLE).is_file() else _from_folders(pairs)
        truth = _read_labels(root / TRUTH / TABLE, pairs, found) if (root / TRUTH / TABLE).is_file() else _Labels()
        found.classes = class_names(table.label.values())
        found.grouped = config.group == "group"
        found.problems += _without_row(root / TABLE, table, pairs)
        found.problems += _unknown(root / TRUTH / TABLE, truth, found.classes)
        masks = {p.stem: p for p in image_files(root / TRUTH / "masks")}
        index = {name: number for number, name in enumerate(found.classes)}
        for key, paths in pairs.items():
            found.records.append(
                Record(
                    id=key,
                    paths=paths,
                    label=index.get(table.label.get(key, ""), -1),
                    group=table.group.get(key, ""),
                    split=table.split.get(key),
                    mask=masks.get(Path(key).name),
                    true_label=index.get(truth.label.get(key, ""), -1),
                )
            )
        return found

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        rows: list[tuple[str, str, str]] = []
        for number, item in enumerate(tiny.items(count, size, seed)):
            for modality, image in (("rgb", item.rgb), ("thermal", item.thermal), ("depth", item.depth[::2, ::2])):
                tiny.save(root / modality / f"{item.id}.png", image)
            mask = item.mask.astype(np.uint8)[..., None] * np.uint8(255)
            tiny.save(root / TRUTH / "masks" / f"{item.id}.png", mask)
            rows.append((item.id, item.class_name, f"g{number // 2}"))
        for table in (root / TABLE, root / TRUTH / TABLE):
            with table.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("id", "label", "group"), *rows])
        return root


@dataclass
class _Labels:
    """The columns of a label table by sample."""

    label: dict[str, str] = field(default_factory=dict)
    split: dict[str, str] = field(default_factory=dict)
    group: dict[str, str] = field(default_factory=dict)
    line: dict[str, int] = field(default_factory=dict)


def _candidates(root: Path) -> list[Path]:
    return [p for p in subfolders(root) if p.name != TRUTH and holds_images(p)]


def _folders(config: DataConfig, root: Path) -> list[Path]:
    candidates = _candidates(root)
    if not config.modalities:
        rank = {name: number for number, name in enumerate(KNOWN)}
        return sorted(candidates, key=lambda p: (rank.get(p.name.lower(), len(KNOWN)), p.name))
    names = [p.name for p in candidates]
    for name in config.modalities:
        if name not in names:
            raise DataError(
                f"there is no modality {name!r}",
                where=root,
                found=", ".join(names) or "no folder with images",
                fix=did_you_mean(name, names, "Check --data.modalities."),
            )
    return [root / name for name in config.modalities]


def _pairs(folders: list[Path], found: Scan) -> dict[str, tuple[Path, ...]]:
    """Name below the modality's folder, without suffix -> its file in every modality."""
    by_modality: list[dict[str, Path]] = []
    for folder in folders:
        paths = image_files(folder)
        for same in duplicate_stems(paths):
            names = ", ".join(p.name for p in same)
            found.problems.append(Problem(same[0], f"several files of one name ({names})", "Keep one of them."))
        by_modality.append({p.relative_to(folder).with_suffix("").as_posix(): p for p in paths})
    pairs: dict[str, tuple[Path, ...]] = {}
    for key in sorted({key for files in by_modality for key in files}):
        missing = [folder.name for folder, files in zip(folders, by_modality, strict=True) if key not in files]
        if missing:
            there = next(files[key] for files in by_modality if key in files)
            fix = "Add the missing image, or remove the others."
            found.problems.append(Problem(there, f"the sample has no image in {', '.join(missing)}", fix))
        else:
            pairs[key] = tuple(files[key] for files in by_modality)
    return pairs


def _from_folders(pairs: Iterable[str]) -> _Labels:
    return _Labels(label={key: key.split("/")[0] for key in pairs if "/" in key})


def _read_labels(path: Path, pairs: Iterable[str], found: Scan) -> _Labels:
    rows = read_table(path)
    need_columns(path, rows, ("id", "label"))
    # A table may name a sample by its bare stem although it lies in a class folder.
    keys = {Path(key).name: key for key in pairs} | {key: key for key in pairs}
    labels = _Labels()
    for line, row in rows:
        where, key = f"{path}:{line}", keys.get(row["id"])
        if key is None:
            what = f"there is no image of {row['id']!r}"
            found.problems.append(Problem(where, what, "Remove the row, or add the image.", fatal=False))
            continue
        if key in labels.line:
            what = f"the id {row['id']!r} is already on line {labels.line[key]}"
            found.problems.append(Problem(where, what, "Keep one of the rows."))
        split = row.get("split", "")
        if split and split not in SPLITS:
            found.problems.append(Problem(where, f"unknown split {split!r}", "Use train, val or test."))
        labels.line[key], labels.label[key], labels.group[key] = line, row["label"], row.get("group", "")
        if split in SPLITS:
            labels.split[key] = SPLITS[split]
    return labels


def _without_row(path: Path, table: _Labels, pairs: Iterable[str]) -> list[Problem]:
    fix = "Add one; an empty label says unknown."
    missing = [key for key in pairs if table.line and key not in table.line]
    return [Problem(path, f"there is no row for {key!r}", fix, fatal=False) for key in missing]


def _unknown(path: Path, truth: _Labels, classes: tuple[str, ...]) -> list[Problem]:
    fix = f"Known are {', '.join(classes)}."
    return [
        Problem(f"{path}:{truth.line[key]}", f"the label {name!r} is not among the labels", fix, fatal=False)
        for key, name in truth.label.items()
        if name and name not in classes
    ]
