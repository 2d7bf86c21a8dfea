"""Dates in the names of files and folders."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from nearfar.errors import DataError

_DAY = re.compile(r"(?<!\d)((?:19|20)\d{2})([-_]?)(\d{2})\2(\d{2})(?!\d)")


def find_day(name: str) -> date | None:
    """The first date in a name (20200903T100031_..., 2020-09-03), None where there is none."""
    for year, _, month, day in _DAY.findall(name):
        try:
            return date(int(year), int(month), int(day))
        except ValueError:
            continue
    return None


def day_of(path: Path) -> date:
    """The date in the name of a file or folder. Raises DataError where there is none."""
    found = find_day(path.stem if path.suffix else path.name)
    if found is None:
        raise DataError("the name has no date", where=path, expected="YYYYMMDD or YYYY-MM-DD", fix="Rename it.")
    return found
