"""What a row of a study's JSON file must be: one code for each thing that can be wrong.

Fields and codes follow the published file format (image_path, description, class_label, coordinates with label, bbox
and confidence); what the published code does with such rows is mostly to replace them by zeros or to guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from nearfar.data.study import CLASSES, OBJECT_CLASSES
from nearfar.data.study_images import Header
from nearfar.errors import DataError, did_you_mean

FIXES = {
    "E_NOT_A_LIST": "Write a list of objects, one a sample.",
    "E_NO_SAMPLES": "Write at least one sample.",
    "E_NOT_AN_OBJECT": "Write an object in braces, with named fields.",
    "E_MISSING_FIELD": "Write the field.",
    "E_FIELD_TYPE": "Write it as text in quotes.",
    "E_IMAGE_NOT_FOUND": "Check the path, or set --data.image-root.",
    "E_IMAGE_UNREADABLE": "Copy the file again, or remove the sample.",
    "E_CLASS_LABEL": "Write one of the two; case counts.",
    "E_ANATOMY_LABEL": "Correct it, give your own classes by --data.labels, or set --data.on-unknown map.",
    "E_BBOX_LENGTH": "Write x_min, y_min, x_max, y_max.",
    "E_BBOX_TYPE": "Write numbers without quotes.",
    "E_BBOX_NOT_FINITE": "Write the coordinates, or remove the detection.",
    "E_BBOX_ORDER": "Were these x, y, width, height? Write corners.",
    "E_BBOX_OUTSIDE": "Check that the box belongs to this image, at its full size.",
    "E_CONFIDENCE_RANGE": "Divide percentages by 100.",
    "E_CONFIDENCE_TYPE": "Write a number without quotes.",
    "E_DUPLICATE_IMAGE_CONFLICT": "Decide on one label, and remove the other sample.",
    "E_LEAK_IMAGE": "Remove it from one of them, and keep all images of a patient in the same file.",
    "E_LEAK_PATIENT": "Keep all images of a patient in one file: results would be too good.",
    "E_LEAK_CONTENT": "Remove one of the two: results would be too good.",
    "W_EMPTY_TEXT": "The caption tells nothing of this sample.",
    "W_BBOX_CLIPPED": "Only the part inside is used.",
    "W_BBOX_LOOKS_NORMALISED": "Boxes are in pixels: multiply by width and height.",
    "W_CONFIDENCE_DEFAULT": "Write the detector's confidence.",
    "W_DUPLICATE_IMAGE": "Remove one of the two.",
    "W_DUPLICATE_BOX": "Remove one of the two.",
    "W_DUPLICATE_ID": "Give every sample an id of its own.",
    "W_TRUNCATED_DETECTIONS": "Raise --data.max-objects to keep all.",
    "W_SINGLE_CLASS": "Add samples of the other class: discrimination cannot be measured.",
    "W_NO_PATIENT_ID": "Add patient_id to every sample.",
    "W_LEAK_NEAR_DUPLICATE": "Look at both; frames of one clip belong into one file.",
    "W_CENTER_CONFOUNDED": "A model may learn the centre instead; add samples of the other class from there.",
    "W_BURNED_IN_ANNOTATION": "Look for names and dates in the pixels.",
    "W_IDENTITY_NOT_REMOVED": "De-identify the file before it leaves the hospital.",
    "W_NO_DETECTIONS": "Nothing to do: no structure was detected.",
}
"""every code, with its remedy; E_ are errors, W_ warnings, W_NO_DETECTIONS is information"""

TEXTS = ("sample_id", "patient_id", "center", "view", "device", "cohort", "acquisition_date", "group")
"""optional fields that are text"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a study: `location` is file, row and field, as train.json[17].coordinates[2].bbox."""

    code: str
    level: str
    location: str
    message: str
    path: Path | None = None
    """the image that cannot be read"""

    @classmethod
    def of(cls, code: str, location: str, message: str, path: Path | None = None) -> Finding:
        """With the level that the code has."""
        level = "info" if code == "W_NO_DETECTIONS" else "error" if code.startswith("E_") else "warning"
        return cls(code, level, location, message, path)

    def __str__(self) -> str:
        return f"{self.location}: {self.code}: {self.message}"


@dataclass(frozen=True)
class Rules:
    """What rows are held to."""

    object_classes: tuple[str, ...] = OBJECT_CLASSES
    on_unknown: str = "error"
    """map: a detection of another class is UNKNOWN"""
    max_objects: int = 32
    missing_ok: bool = False
    """whether image, caption, boxes and class may be absent, as at inference"""


Finder = Callable[[str], "Header | None"]
"""the header of an image by the row's path, None where it may be missing; DataError where it is not there or damaged"""


def row_findings(row: Any, at: str, rules: Rules, find: Finder) -> Iterator[Finding]:
    """Everything wrong with one row, which is at location `at`."""
    if not isinstance(row, dict):
        message = f"a sample is an object with image_path, description, class_label and coordinates, not {_kind(row)}"
        yield Finding.of("E_NOT_AN_OBJECT", at, message)
        return
    header: Header | None = None
    for finding in _image(row, at, rules, find):
        if isinstance(finding, Finding):
            yield finding
        else:
            header = finding
    yield from _caption(row, at, rules)
    yield from _class(row, at, rules)
    yield from _texts(row, at)
    boxes = row.get("coordinates")
    if isinstance(boxes, list):
        yield from _detections(boxes, f"{at}.coordinates", rules, header)
    elif boxes is not None or not rules.missing_ok:
        yield _missing(row, "coordinates", at, "a list of detections, which may be empty")


def _image(row: Mapping[str, Any], at: str, rules: Rules, find: Finder) -> Iterator[Finding | Header]:
    path, where = row.get("image_path"), f"{at}.image_path"
    if not isinstance(path, str) or not path:
        if path is not None or not rules.missing_ok:
            yield _missing(row, "image_path", at, "the path of the image")
        return
    try:
        header = find(path)
    except DataError as error:
        yield image_finding(error, path, where)
        return
    if header is not None:
        yield from (Finding.of(code, where, f"{path}: {message}") for code, message in header.cautions)
        yield header


def image_finding(error: DataError, name: str, at: str) -> Finding:
    """What reading the image that a row calls `name` came to."""
    path = Path(str(error.where))
    if "does not exist" in error.what:
        return Finding.of("E_IMAGE_NOT_FOUND", at, f"{name} does not exist (looked for {path})", path)
    found = f" ({error.found})" if error.found else ""
    why = "cannot be decoded" if "cannot be decoded" in error.what else f"cannot be used: {error.what}"
    return Finding.of("E_IMAGE_UNREADABLE", at, f"{name} {why}{found}", path)


def _caption(row: Mapping[str, Any], at: str, rules: Rules) -> Iterator[Finding]:
    text = row.get("description")
    if text is None and rules.missing_ok:
        return
    if not isinstance(text, str):
        yield _missing(row, "description", at, "text, which may be empty")
    elif not text.strip():
        yield Finding.of("W_EMPTY_TEXT", f"{at}.description", "the description is empty")


def _class(row: Mapping[str, Any], at: str, rules: Rules) -> Iterator[Finding]:
    name = row.get("class_label")
    if name is None:
        if not rules.missing_ok:
            yield _missing(row, "class_label", at, "'standard' or 'non-standard'")
    elif name not in CLASSES:
        hint = did_you_mean(str(name).lower(), CLASSES, "", quote="'")
        message = f"unknown class {name!r}, expected one of 'standard', 'non-standard'"
        yield Finding.of("E_CLASS_LABEL", f"{at}.class_label", f"{message}; {hint}" if hint else message)


def _texts(row: Mapping[str, Any], at: str) -> Iterator[Finding]:
    for name in TEXTS:
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            yield Finding.of("E_FIELD_TYPE", f"{at}.{name}", f"{name} is {_kind(value)} ({value!r}), expected text")
    day = row.get("acquisition_date")
    if isinstance(day, str) and day:
        try:
            date.fromisoformat(day)
        except ValueError:
            message = f"acquisition_date {day!r} is not a date as 2025-03-31"
            yield Finding.of("E_FIELD_TYPE", f"{at}.acquisition_date", message)


def _detections(boxes: list[Any], at: str, rules: Rules, header: Header | None) -> Iterator[Finding]:
    if not boxes:
        yield Finding.of("W_NO_DETECTIONS", at, "no detections")
    seen: dict[str, int] = {}
    for number, entry in enumerate(boxes):
        where = f"{at}[{number}]"
        if not isinstance(entry, dict):
            yield Finding.of("E_NOT_AN_OBJECT", where, f"a detection is an object, not {_kind(entry)}")
            continue
        yield from _label(entry, where, rules)
        yield from _box(entry, f"{where}.bbox", header)
        yield from _confidence(entry, f"{where}.confidence")
        key = repr((entry.get("label"), entry.get("bbox")))
        if seen.setdefault(key, number) != number:
            yield Finding.of("W_DUPLICATE_BOX", where, f"the same label and box as {at}[{seen[key]}]")
    if len(boxes) > rules.max_objects:
        message = f"keeping the {rules.max_objects} most confident of {len(boxes)} detections"
        yield Finding.of("W_TRUNCATED_DETECTIONS", at, message)
    if boxes and all(_looks_normalised(entry) for entry in boxes):
        yield Finding.of("W_BBOX_LOOKS_NORMALISED", at, "all coordinates are between 0 and 1, and boxes are in pixels")


def _label(entry: Mapping[str, Any], at: str, rules: Rules) -> Iterator[Finding]:
    name, known = entry.get("label"), rules.object_classes
    if not isinstance(name, str) or not name:
        yield _missing(entry, "label", at, "the name of the structure")
    elif name not in known and rules.on_unknown != "map":
        hint = did_you_mean(name, known, quote="'") or did_you_mean(name.upper(), known, "", quote="'")
        message = f"unknown label {name!r}; known are {', '.join(known)}"
        yield Finding.of("E_ANATOMY_LABEL", f"{at}.label", f"{message}; {hint}" if hint else message)


def _box(entry: Mapping[str, Any], at: str, header: Header | None) -> Iterator[Finding]:
    box = entry.get("bbox")
    if box is None:
        yield Finding.of("E_MISSING_FIELD", at, "bbox is missing, expected [x_min, y_min, x_max, y_max] in pixels")
    elif not isinstance(box, list) or any(not is_number(value) for value in box):
        yield Finding.of("E_BBOX_TYPE", at, f"a box is a list of numbers, not {box!r}")
    elif len(box) != 4:
        yield Finding.of("E_BBOX_LENGTH", at, f"a box has 4 numbers, this one {len(box)}")
    elif not all(map(math.isfinite, box)):
        yield Finding.of("E_BBOX_NOT_FINITE", at, f"the box holds NaN or infinite numbers: {box}")
    elif box[2] <= box[0] or box[3] <= box[1]:
        axis, low, high = ("x", box[0], box[2]) if box[2] <= box[0] else ("y", box[1], box[3])
        message = f"{axis}_max ({high:g}) must be greater than {axis}_min ({low:g})"
        yield Finding.of("E_BBOX_ORDER", at, f"{message}; boxes are [x_min, y_min, x_max, y_max] in pixels")
    elif header is not None:
        yield from _place(box, at, header)


def _place(box: list[float], at: str, header: Header) -> Iterator[Finding]:
    left, top = header.left, header.top
    right, bottom = left + header.width, top + header.height
    size = f"{header.width}x{header.height} image" + (f" at ({left}, {top})" if left or top else "")
    if box[0] >= right or box[1] >= bottom or box[2] <= left or box[3] <= top:
        yield Finding.of("E_BBOX_OUTSIDE", at, f"{box} is outside the {size}")
    elif box[0] < left or box[1] < top or box[2] > right or box[3] > bottom:
        yield Finding.of("W_BBOX_CLIPPED", at, f"{box} is clipped to the {size}")


def _confidence(entry: Mapping[str, Any], at: str) -> Iterator[Finding]:
    value = entry.get("confidence")
    if value is None:
        yield Finding.of("W_CONFIDENCE_DEFAULT", at, "confidence is missing, assumed 1.0")
    elif not is_number(value):
        yield Finding.of("E_CONFIDENCE_TYPE", at, f"a confidence is a number, not {value!r}")
    elif not 0 <= value <= 1:
        yield Finding.of("E_CONFIDENCE_RANGE", at, f"a confidence lies in [0, 1], not {value:g}")


def _looks_normalised(entry: Any) -> bool:
    box = entry.get("bbox") if isinstance(entry, dict) else None
    return isinstance(box, list) and len(box) == 4 and all(is_number(value) and 0 <= value <= 1 for value in box)


def _missing(row: Mapping[str, Any], name: str, at: str, expected: str) -> Finding:
    found = f"is {_kind(row[name])}" if row.get(name) not in (None, "") else "is empty" if name in row else "is missing"
    return Finding.of("E_MISSING_FIELD", f"{at}.{name}", f"{name} {found}, expected {expected}")


def is_number(value: Any) -> bool:
    """Whether it is a number of JSON that fits a float; true and false are none."""
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63)


def _kind(value: Any) -> str:
    names = {str: "text", bool: "true or false", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), "a number")
