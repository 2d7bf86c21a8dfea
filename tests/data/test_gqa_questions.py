"""GQA's questions: those about one relation of two known objects, and which pair they are about."""

import json
from pathlib import Path
from typing import Any

import pytest

from nearfar.config import DataConfig
from nearfar.data.gqa_questions import question_files, read_gqa_questions
from nearfar.data.open import open_dataset
from nearfar.data.readers import find_reader
from nearfar.errors import DataError

PAIRS = ["7#1-2-left of", "7#2-1-right of", "7#1-3-on"]
SELECT = {"operation": "select", "dependencies": [], "argument": "table (2)"}
SHADE = {"operation": "filter color", "dependencies": [0], "argument": "red"}


def relation(argument: str, operation: str = "verify rel", after: int = 0) -> dict[str, Any]:
    return {"operation": operation, "dependencies": [after], "argument": argument}


def row(*program: dict[str, Any], structural: str = "verify", semantic: str = "rel", answer: str = "yes") -> Any:
    types = {"structural": structural, "semantic": semantic}
    return {"imageId": "7", "question": "Is it?", "answer": answer, "types": types, "semantic": list(program)}


def read(tmp_path: Path, content: Any) -> list[Any]:
    path = tmp_path / "train_balanced_questions.json"
    path.write_text(json.dumps(content))
    return read_gqa_questions([path], PAIRS)


@pytest.mark.parametrize(
    ("program", "pair"),
    [
        ((SELECT, relation("lamp,left of,s (1)")), "7#1-2-left of"),
        ((SELECT, relation("lamp,left of,o (1)")), "7#2-1-right of"),
        ((SELECT, SHADE, relation("lamp,left of,s (1)", after=1)), "7#1-2-left of"),
        ((SELECT, relation("lamp,left of|right of,s (1)", "choose rel")), "7#1-2-left of"),
    ],
)
def test_the_pair_of_a_question(tmp_path: Path, program: Any, pair: str) -> None:
    found = read(tmp_path, {"1": row(*program)})
    assert [(q.id, q.pair, q.answer, q.kind, q.split) for q in found] == [("1", pair, "yes", "verify", "train")]


@pytest.mark.parametrize(
    "question",
    [
        row(SELECT, relation("lamp,left of,s (-)"), answer="no"),  # not in the picture
        row(SELECT, relation("lamp,left of,s (9)")),  # a pair that has no relation
        row({**SELECT, "argument": "table (-)"}, relation("lamp,left of,s (1)")),
        row(SELECT, relation("lamp,left of,s (1)"), relation("cup,on,o (3)", after=1)),  # two relations
        row(SELECT, relation("lamp,left of,s (1)"), structural="query", answer="lamp"),
        row(SELECT, relation("lamp,left of,s (1)"), semantic="attr"),
    ],
)
def test_other_questions_are_left_out(tmp_path: Path, question: Any) -> None:
    assert read(tmp_path, {"1": question}) == []


@pytest.mark.parametrize("content", [[], {"1": {"imageId": "7"}}, {"1": "what"}])
def test_a_file_of_another_form_is_named(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DataError, match="train_balanced_questions"):
        read(tmp_path, content)


def test_balanced_files_come_before_all(tmp_path: Path) -> None:
    (tmp_path / "train_all_questions").mkdir()
    part = tmp_path / "train_all_questions" / "train_all_questions_0.json"
    part.write_text("{}")
    assert question_files(tmp_path) == [part]
    whole = tmp_path / "val_balanced_questions.json"
    whole.write_text("{}")
    assert question_files(tmp_path) == [whole]


def test_the_example_asks_about_its_pairs(tmp_path: Path) -> None:
    root = find_reader("gqa", tmp_path).write_example(tmp_path / "gqa")
    data = open_dataset(DataConfig(root=root, format="gqa", size=16))
    questions = read_gqa_questions(question_files(root), data.ids)
    assert {q.kind for q in questions} == {"verify", "which"} and {q.split for q in questions} == {"train", "test"}
    about = {q.pair for q in questions if q.answer == "yes"}
    assert about <= set(data.ids) and len(about) >= 8
