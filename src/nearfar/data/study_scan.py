"""A whole study read and held to the rules, once for as long as neither its files nor their images change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfar.data.images import fingerprint
from nearfar.data.study import StudyRecord
from nearfar.data.study_check import leaks, sheet_findings
from nearfar.data.study_rules import Finding, Rules
from nearfar.data.study_sheets import Sheet, image_rows, read_sheet, records_of
from nearfar.errors import DataError


@dataclass(frozen=True)
class Examined:
    """The files of a study by split, everything wrong with them that shows without decoding, and their samples."""

    sheets: Mapping[str, Sheet]
    findings: tuple[Finding, ...]
    records: tuple[StudyRecord, ...]
    """none where a finding is an error"""


@dataclass(frozen=True)
class _Seen:
    asked: Any
    state: Any
    images: frozenset[Path]
    found: Examined


_last: list[_Seen] = []
"""the study that was examined last and is without errors: a run opens one and the same for each of its splits"""


def examine(paths: Mapping[str, Path], rules: Rules, image_root: Path | None = None) -> Examined:
    """The files of `paths` (split -> JSON file), from memory where file and images are as they were.

    Changes show in time of change and size. Raises DataError for a file that is missing or not JSON.
    """
    asked = tuple(paths.items()), rules, image_root
    for seen in _last:
        if seen.asked == asked and seen.state == _state(paths, seen.images):
            return seen.found
    files = _state(paths, frozenset())
    sheets = {split: read_sheet(path, image_root=image_root) for split, path in paths.items()}
    images = frozenset(sheet.image(row) for sheet in sheets.values() for _, row in image_rows(sheet))
    state = files | _state({}, images)  # before the rules look, so that what changes meanwhile is looked at again
    found = _examine(sheets, rules)
    if found.records:
        _last[:] = [_Seen(asked, state, images, found)]
    return found


def _examine(sheets: Mapping[str, Sheet], rules: Rules) -> Examined:
    findings = [finding for sheet in sheets.values() for finding in sheet_findings(sheet, rules)] + leaks(sheets)
    if any(finding.level == "error" for finding in findings):
        return Examined(sheets, tuple(findings), ())
    taken: set[str] = set()
    records = (record for split, sheet in sheets.items() for record in records_of(sheet, split or None, rules, taken))
    return Examined(sheets, tuple(findings), tuple(records))


def _state(paths: Mapping[str, Path], images: frozenset[Path]) -> frozenset[Any]:
    return frozenset(_fingerprint(path) for path in (*paths.values(), *images))


def _fingerprint(path: Path) -> tuple[Any, ...]:
    try:
        return fingerprint(path)
    except DataError:  # it is not there, which is a finding of its row
        return (path,)
