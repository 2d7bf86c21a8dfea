"""Everything wrong with a study, without decoding an image: row by row, within a file, and between files.

Samples are never repaired or replaced: an error is an error, wherever it stands.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nearfar.data.images import is_dicom
from nearfar.data.study import CLASSES
from nearfar.data.study_content import content_findings
from nearfar.data.study_rules import Finding, Rules, row_findings
from nearfar.data.study_sheets import Sheet, image_rows, read_sheet
from nearfar.errors import DataError

__all__ = ["Finding", "Rules", "leaks", "sheet_findings", "validate", "validate_splits"]

CONFOUNDED = 0.95
"""balanced accuracy of telling the class from the centre, or the device, alone, from which it is confounded"""
_ENOUGH = 20  # samples from centres with at least _EACH, below which any table looks confounded
_EACH = 5


def validate(
    source: Path | str | Any,
    *,
    name: str | None = None,
    image_root: Path | None = None,
    rules: Rules | None = None,
    decode: bool = False,
) -> list[Finding]:
    """Every finding about one JSON file, or about its parsed rows, in the order of the file.

    Image files are looked up and their headers read; `decode` also decodes them. Locations are FILE[ROW].FIELD, without
    the file's name where rows are given; the whole is "$" or the file.

    Raises DataError for a file that is missing or not JSON.
    """
    return validate_splits({"": source}, names={"": name}, image_root=image_root, rules=rules, decode=decode)


def validate_splits(
    sources: Mapping[str, Path | str | Any],
    *,
    names: Mapping[str, str | None] | None = None,
    image_root: Path | None = None,
    rules: Rules | None = None,
    decode: bool = False,
) -> list[Finding]:
    """Findings about each file of `sources` (split -> file or rows), then what they share: images, patients and, with
    `decode`, pixels. Raises DataError as `validate` does."""
    known = names or {split: None if isinstance(s, (str, Path)) else split for split, s in sources.items()}
    sheets = {split: read_sheet(source, known.get(split), image_root) for split, source in sources.items()}
    found = [finding for sheet in sheets.values() for finding in sheet_findings(sheet, rules or Rules())]
    found += leaks(sheets)
    return found + (list(content_findings(sheets)) if decode else [])


def sheet_findings(sheet: Sheet, rules: Rules) -> Iterator[Finding]:
    """What is wrong with the rows of one file, and with them together."""
    top = sheet.name or "$"
    if not isinstance(sheet.rows, list):
        yield Finding.of("E_NOT_A_LIST", top, "the file is not a list of samples")
        return
    if not sheet.rows:
        yield Finding.of("E_NO_SAMPLES", top, "there are no samples")
        return
    for number, row in enumerate(sheet.rows):
        yield from row_findings(row, sheet.at(number), rules, sheet.find)
    yield from _duplicates(sheet)
    if not rules.missing_ok:
        yield from _single_class(sheet, top)
        yield from _confounded(sheet, top)


def leaks(sheets: Mapping[str, Sheet]) -> list[Finding]:
    """Images and patients that are in more than one file, and whether patients can be told at all."""
    if len(sheets) < 2:
        return []
    found, shared = [], set()
    seen: dict[Path, str] = {}
    for split, sheet in sheets.items():
        for number, row in image_rows(sheet):
            first = seen.setdefault(sheet.image(row), split)
            if first != split and (split, sheet.image(row)) not in shared:
                message = f"{row['image_path']} is in {first} and {split}"
                found.append(Finding.of("E_LEAK_IMAGE", f"{sheet.at(number)}.image_path", message))
                shared.add((split, sheet.image(row)))
    return [*found, *_patients(sheets, shared)]


def _patients(sheets: Mapping[str, Sheet], shared: set[tuple[str, Path]]) -> Iterator[Finding]:
    """Images that are themselves in two files are left out: their patients are told with them."""
    seen: dict[str, str] = {}
    told: set[tuple[str, str]] = set()
    for split, sheet in sheets.items():
        rows, unknown = list(image_rows(sheet)), 0
        for number, row in rows:
            patient = _patient(row, sheet)
            unknown += not patient
            first = seen.setdefault(patient, split) if patient else split
            if first != split and (split, patient) not in told and (split, sheet.image(row)) not in shared:
                told.add((split, patient))
                at = f"{sheet.at(number)}.{'patient_id' if row.get('patient_id') else 'group'}"
                yield Finding.of("E_LEAK_PATIENT", at, f"patient {patient!r} is in {first} and {split}")
        if unknown:
            message = f"{unknown} of {len(rows)} samples have no patient_id: cannot check patient-level leakage"
            yield Finding.of("W_NO_PATIENT_ID", sheet.name or "$", message)


def _patient(row: Mapping[str, Any], sheet: Sheet) -> str:
    name = row.get("patient_id") or row.get("group")
    if not name and is_dicom(Path(row["image_path"])):
        try:
            name = sheet.find(row["image_path"]).patient
        except DataError:  # already a finding of the row
            return ""
    return name if isinstance(name, str) else ""


def _duplicates(sheet: Sheet) -> Iterator[Finding]:
    images: dict[str, int] = {}
    names: dict[str, int] = {}
    for number, row in image_rows(sheet):
        first = images.setdefault(os.path.normpath(row["image_path"]), number)
        if first != number:
            yield _again(sheet, number, first)
    for number, row in enumerate(sheet.rows):
        name = row.get("sample_id") if isinstance(row, dict) else None
        if isinstance(name, str) and name and names.setdefault(name, number) != number:
            message = f"sample_id {name!r} is also that of {sheet.at(names[name])}"
            yield Finding.of("W_DUPLICATE_ID", f"{sheet.at(number)}.sample_id", message)


def _again(sheet: Sheet, number: int, first: int) -> Finding:
    """The same image once more, which is an error where its class is another one."""
    at, path = f"{sheet.at(number)}.image_path", sheet.rows[number]["image_path"]
    own, other = (sheet.rows[i].get("class_label") for i in (number, first))
    if own == other:
        return Finding.of("W_DUPLICATE_IMAGE", at, f"{path} is also in [{first}]")
    message = f"{path} is also in [{first}] with class_label {other!r}"
    return Finding.of("E_DUPLICATE_IMAGE_CONFLICT", at, message)


def _single_class(sheet: Sheet, top: str) -> Iterator[Finding]:
    classes = {row.get("class_label") for _, row in image_rows(sheet) if row.get("class_label") in CLASSES}
    images = {row["image_path"] for _, row in image_rows(sheet)}
    if len(classes) == 1 and len(images) > 1:
        yield Finding.of("W_SINGLE_CLASS", top, f"all {len(sheet.rows)} samples are only {next(iter(classes))!r}")


def _confounded(sheet: Sheet, top: str) -> Iterator[Finding]:
    for column in ("center", "device"):
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for _, row in image_rows(sheet):
            if isinstance(row.get(column), str) and row.get("class_label") in CLASSES:
                counts[row[column]][row["class_label"]] += 1
        table = [count for count in counts.values() if count.total() >= _EACH]
        totals = sum(table, Counter())
        if len(table) < 2 or totals.total() < _ENOUGH or len(totals) < 2:
            continue
        # The best rule from the column alone predicts, for each of its values, the class that is over-represented.
        told = sum(max(count[name] / totals[name] for name in CLASSES) for count in table) / 2
        if told >= CONFOUNDED:
            message = f"{column} alone tells the class with balanced accuracy {told:.2f}"
            yield Finding.of("W_CENTER_CONFOUNDED", top, message)
