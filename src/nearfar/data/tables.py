"""Tables of samples, CSV or JSON lines, with the line number of every row for messages."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nearfar.errors import DataError

Row = tuple[int, dict[str, str]]
"""line number in the file, and the values by column, all text; a missing value is empty"""


def read_table(path: Path) -> list[Row]:
    """The rows of a .csv or .jsonl file. Raises DataError, naming file and line, for anything that is not a table."""
    try:
        return _jsonl(path) if path.suffix.lower() == ".jsonl" else _csv(path)
    except UnicodeDecodeError as error:
        raise DataError("the table is not UTF-8 text", where=path, found=str(error), fix="Save it as UTF-8.") from None
    except csv.Error as error:
        raise DataError("not a CSV table", where=path, found=str(error), fix="Save it as plain CSV.") from None
    except OSError as error:
        raise DataError(
            "the table cannot be read",
            where=path,
            found=error.strerror,
            fix="Check that the file is there and readable.",
        ) from None


def need_columns(path: Path, rows: list[Row], columns: Iterable[str]) -> None:
    """Raises DataError where the table has no rows or lacks a column."""
    if not rows:
        raise DataError("the table has no rows", where=path, fix="Add one row a sample below the header.")
    found = {column for _, row in rows for column in row}
    missing = [column for column in columns if column not in found]
    if missing:
        raise DataError(
            f"the table lacks the column {', '.join(missing)}",
            where=f"{path}:1",
            found=", ".join(sorted(found)),
            fix="Add it to the header.",
        )


def class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """The distinct labels that are not empty, sorted: as numbers where all are whole numbers, else as text."""
    names = {label for label in labels if label}
    return tuple(sorted(names, key=int if all(name.isdecimal() for name in names) else None))


def _csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="")
        rows: list[Row] = []
        for row in reader:
            if None in row:
                raise DataError(
                    "the row has more values than the header has columns",
                    where=f"{path}:{reader.line_num}",
                    fix="Quote values that hold a comma.",
                )
            rows.append((reader.line_num, {str(k).strip(): str(v).strip() for k, v in row.items()}))
    return rows


def _jsonl(path: Path) -> list[Row]:
    found = json_lines(path, 'Write {"path": ..., "label": ...}.')
    return [(number, {str(k): "" if v is None else str(v) for k, v in row.items()}) for number, row in found]


def json_lines(path: Path, example: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and object of every line that is not empty.

    Raises OSError, UnicodeDecodeError, and DataError naming file and line for what is no JSON object, with `example` as
    the remedy.
    """
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                "the line is not JSON", where=where, found=str(error), fix="Write one object a line."
            ) from None
        if not isinstance(row, dict):
            raise DataError("the line is not a JSON object", where=where, found=line[:40], fix=example)
        yield number, row
