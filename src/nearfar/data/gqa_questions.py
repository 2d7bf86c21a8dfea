"""The questions of GQA that are about one relation of two known objects.

Hudson, Manning, GQA: A New Dataset for Real-World Visual Reasoning and Compositional Question Answering, CVPR 2019.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nearfar.data.annotations import load_json
from nearfar.data.questions import Question
from nearfar.errors import DataError

SPLITS = {"train": "train", "val": "test", "testdev": "test"}
_THING = re.compile(r"\((\d+)\)\s*$")
_RELATION = re.compile(r"^.*,\s*(?P<names>[^,]+),\s*(?P<part>[so])\s*\((?P<key>\d+)\)\s*$")
"""the last argument of a relation step: `girl,to the left of,s (123)`; s: the thing is its subject, o: its object"""
_KINDS = {"verify": "verify", "choose": "which"}


def question_files(root: Path) -> list[Path]:
    """`{train,val}_balanced_questions.json`; where there are none, the `_all_` ones, also in folders of parts."""
    for kind in ("balanced", "all"):
        found = [p for folder in (root, root / "questions") for p in folder.glob(f"*_{kind}_questions*/*.json")]
        found += [p for folder in (root, root / "questions") for p in folder.glob(f"*_{kind}_questions.json")]
        found = [path for path in found if _split(path) is not None]
        if found:
            return sorted(found)
    return []


def read_gqa_questions(files: Iterable[Path], pairs: Sequence[str]) -> list[Question]:
    """Those about the given pairs (ids of the reader `gqa`, IMAGE#SUBJECT-OBJECT-RELATION).

    Taken are questions of `semantic` type rel whose program has one relation step between two known objects: `verify`
    (yes or no) and `choose` (which of two relations). Raises DataError for a file of another form.
    """
    known: dict[str, str] = {}
    for id in pairs:
        known.setdefault("-".join(id.split("-", 2)[:2]), id)
    asked: list[Question] = []
    for path in files:
        content = load_json(path)
        if not isinstance(content, dict):
            raise DataError("the questions are not an object", where=path, found=type(content).__name__)
        for key, row in content.items():
            try:
                question = _question(str(key), row, known, str(_split(path)))
            except (KeyError, TypeError, IndexError, AttributeError) as error:
                found = f"{type(error).__name__} {error}"
                raise DataError("the question cannot be used", where=f"{path}: {key}", found=found) from None
            if question is not None:
                asked.append(question)
    return asked


def _split(path: Path) -> str | None:
    return SPLITS.get((path.parent if "_questions" in path.parent.name else path).name.partition("_")[0])


def _question(key: str, row: Mapping[str, Any], known: Mapping[str, str], split: str) -> Question | None:
    kind = _KINDS.get(row["types"]["structural"])
    if kind is None or row["types"]["semantic"] != "rel":
        return None
    ends = _ends(row["semantic"])
    pair = known.get(f"{row['imageId']}#{ends[0]}-{ends[1]}") if ends is not None else None
    if pair is None:
        return None
    return Question(key, pair, str(row["question"]), str(row["answer"]), kind, split)


def _ends(program: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """(subject, object) of the only relation step; None where an end does not exist in the picture or is not named."""
    steps = [(step, m) for step in program if (m := _RELATION.match(str(step["argument"])))]
    if len(steps) != 1:
        return None
    step, relation = steps[0]
    start = _selected(program, step)
    if start is None:
        return None
    return (relation["key"], start) if relation["part"] == "s" else (start, relation["key"])


def _selected(program: Sequence[Mapping[str, Any]], step: Mapping[str, Any]) -> str | None:
    """The object that a step starts from: filters in between keep the one that was selected."""
    while step["dependencies"]:
        step = program[step["dependencies"][0]]
        if step["operation"] == "select":
            found = _THING.search(str(step["argument"]))
            return found[1] if found else None
    return None
