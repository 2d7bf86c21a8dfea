"""What the readers of published annotation files share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nearfar.data.readers.base import Problem
from nearfar.data.regions import Box
from nearfar.errors import DataError, did_you_mean


def load_json(path: Path) -> Any:
    """The content of a JSON file. Raises DataError, with the line, where it is not JSON or not readable."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}"
        raise DataError(
            "the annotations are not JSON", where=where, found=error.msg, fix="Download them again."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the annotations cannot be read", where=path, found=str(error)) from None


def need_keys(data: Any, keys: Iterable[str], path: Path) -> None:
    """Raises DataError where `data` is not an object with all these keys."""
    found = list(data) if isinstance(data, dict) else []
    missing = [key for key in keys if key not in found]
    if missing:
        raise DataError(
            f"the annotations lack {', '.join(missing)}",
            where=path,
            found=", ".join(found) or type(data).__name__,
            fix="Check that this is the annotation file of this format.",
        )


def first_folder(root: Path, names: Sequence[str]) -> Path:
    """The first of these folders of `root` that is there; else the first name, for messages."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def shown_box(box: Sequence[Any], height: int, width: int) -> Box | None:
    """A box (x0, y0, x1, y1) cut to an image of this size; None where nothing of it is inside."""
    x0, y0, x1, y1 = (float(v) for v in box)
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def unknown_predicate(name: str, known: Sequence[str], where: object) -> Problem:
    """The problem of a relation that the format does not have."""
    fix = did_you_mean(name, known, f"Known are {', '.join(known)}.", quote="'")
    return Problem(str(where), f"unknown predicate {name!r}", fix)
