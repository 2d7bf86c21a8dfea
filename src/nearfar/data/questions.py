"""Questions about pairs of objects, with answers in words: `questions.jsonl` beside a list of pairs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_type_hints

from nearfar.errors import DataError

NAME = "questions.jsonl"


@dataclass(frozen=True)
class Question:
    """One question about one pair; written as one JSON object a line."""

    id: str
    pair: str
    """id of the pair (`Sample.id`) that it is about"""
    question: str
    answer: str
    """yes, no, or a predicate"""
    kind: str
    """verify: yes or no; which: a predicate"""
    split: str


def read_questions(path: Path) -> list[Question]:
    """The questions of a file, or of `questions.jsonl` in a folder. Raises DataError with the line of a bad one."""
    path = path / NAME if path.is_dir() else path
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the questions cannot be read", where=path, found=str(error)) from None
    return [_question(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]


def write_questions(path: Path, questions: list[Question]) -> None:
    """Write them, one a line."""
    path.write_text("".join(json.dumps(asdict(question)) + "\n" for question in questions), encoding="utf-8")


def _question(line: str, where: str) -> Question:
    fields = get_type_hints(Question)
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError("the line is not JSON", where=where, found=error.msg, fix="Write one object a line.") from None
    missing = [name for name in fields if not isinstance(row, dict) or not isinstance(row.get(name), str)]
    if missing:
        raise DataError(
            f"the question lacks {', '.join(missing)}",
            where=where,
            found=line[:60],
            expected=f"texts {', '.join(fields)}",
        )
    return Question(**{name: row[name] for name in fields})
