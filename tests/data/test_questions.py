"""Questions about pairs, read and written."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar.data.questions import Question, read_questions, write_questions
from nearfar.errors import DataError

ONE = Question("q", "p", "is the cup on the table?", "yes", "verify", "train")


def test_questions_come_back_from_file_and_folder(tmp_path: Path) -> None:
    write_questions(tmp_path / "questions.jsonl", [ONE, ONE])
    assert read_questions(tmp_path) == read_questions(tmp_path / "questions.jsonl") == [ONE, ONE]


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "not JSON"), ("[]", "lacks id, pair"), ('{"id": "a", "pair": 3}', "lacks pair, question, answer")],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    write_questions(tmp_path / "questions.jsonl", [ONE])
    with (tmp_path / "questions.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=rf"questions\.jsonl:2: .*{said}"):
        read_questions(tmp_path)


def test_no_questions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_questions(tmp_path)
