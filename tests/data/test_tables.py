"""Tables are read with line numbers, and what is no table is refused by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar.data.tables import class_names, need_columns, read_table
from nearfar.errors import DataError


def test_csv_and_jsonl_agree(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffpath,label\n"x,1.png",3\n\ny.png,\n', encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"path": "x,1.png", "label": 3}\n\n\n{"path": "y.png", "label": null}\n')
    expected = [(2, {"path": "x,1.png", "label": "3"}), (4, {"path": "y.png", "label": ""})]
    assert read_table(tmp_path / "a.csv") == expected
    assert read_table(tmp_path / "a.jsonl") == [(1, expected[0][1]), expected[1]]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.csv", b"path,label\nx.png,1,2\n", r"a\.csv:2.*more values"),
        ("a.csv", b"path\n\xff\xfe\n", "UTF-8"),
        ("a.jsonl", b'{"path": 1}\n{"path": \n', r"a\.jsonl:2.*not JSON"),
        ("a.csv", b"path\n" + b"x" * 200_000 + b"\n", "not a CSV table"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1.*not a JSON object"),
    ],
)
def test_broken_tables(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=text):
        read_table(tmp_path / name)


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "a.csv")


def test_missing_columns_and_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks the column label.*found path"):
        need_columns(tmp_path / "a.csv", [(2, {"path": "x"})], ("path", "label"))
    with pytest.raises(DataError, match="no rows"):
        need_columns(tmp_path / "a.csv", [], ())


def test_class_names_sort_as_numbers_or_text() -> None:
    assert class_names(["10", "9", "", "10"]) == ("9", "10")
    assert class_names(["b", "10", "a"]) == ("10", "a", "b")
