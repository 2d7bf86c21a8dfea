"""Rows to predict for: an image, a folder of images, or a study's JSON file with parts missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nearfar.config import DataConfig
from nearfar.data.images import is_image
from nearfar.data.readers.base import image_files
from nearfar.data.study import StudyDataset
from nearfar.data.study_check import sheet_findings
from nearfar.data.study_rules import FIXES, Finding
from nearfar.data.study_sheets import Sheet, read_sheet, records_of, rules_of
from nearfar.errors import DataError

Source = Path | str | Sequence[Path | str] | Sequence[Mapping[str, Any]] | Mapping[str, Any]


def load_rows(
    source: Source,
    config: DataConfig | None = None,
    *,
    missing_ok: bool = True,
    channels: int | None = None,
    image_root: Path | None = None,
    object_classes: Sequence[str] | None = None,
) -> StudyDataset:
    """The samples of an image, several images, a folder of images, a JSON file, or rows as they stand in one.

    Args:
        config: size, max_objects, labels, on_unknown and scale, as the run was trained with; its paths do not count.
        missing_ok: rows may lack image, caption, boxes and class (or have null there), which `present` then says.
        channels: what the run's encoder takes, 1 or 3; None: as the images are.
        image_root: folder that image paths are relative to; None: that of the JSON file.
        object_classes: the map of object classes, in the place of that of `config`: what a trained model knows.

    Raises DataError for the first error that the rows have, naming row and field, and how many more there are.
    """
    config = config or DataConfig()
    rules, sheet = rules_of(config, missing_ok=missing_ok), _sheet(source, image_root)
    if object_classes is not None:
        rules = replace(rules, object_classes=tuple(object_classes))
    errors = [finding for finding in sheet_findings(sheet, rules) if finding.level == "error"]
    if errors:
        raise finding_error(errors)
    records = records_of(sheet, None, rules, set())
    return StudyDataset(
        [replace(record, split="test") for record in records],
        rules.object_classes,
        sheet.base,
        size=config.size,
        max_objects=rules.max_objects,
        channels=channels,
        scale=config.scale,
    )


def finding_error(errors: Sequence[Finding]) -> DataError:
    """The first of several errors as an exception, which tells how many more there are."""
    first, more = errors[0], f" There are {len(errors) - 1} more errors." if len(errors) > 1 else ""
    return DataError(f"{first.code}: {first.message}", where=first.location, fix=FIXES[first.code] + more)


def _sheet(source: Source, image_root: Path | None) -> Sheet:
    if isinstance(source, Mapping):
        return read_sheet([source], image_root=image_root)
    if not isinstance(source, (str, Path)):
        rows = [{"image_path": str(part)} if isinstance(part, (str, Path)) else part for part in source]
        return read_sheet(rows, image_root=image_root)
    path = Path(source)
    if path.is_dir():
        names = [image.relative_to(path).as_posix() for image in image_files(path)]
        if not names:
            raise DataError("the folder holds no images", where=path, fix="Give a folder of images, or a JSON file.")
        return Sheet([{"image_path": name} for name in names], path.name, path)
    if is_image(path):
        return Sheet([{"image_path": path.name}], path.name, path.parent)
    sheet = read_sheet(path, image_root=image_root)
    return replace(sheet, rows=[sheet.rows]) if isinstance(sheet.rows, dict) else sheet
