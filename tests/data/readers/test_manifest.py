"""Tables: every column, and errors that name file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.readers import READERS, find_reader
from nearfar.data.synthetic import tiny
from nearfar.errors import ConfigError, DataError

MANIFEST = READERS["manifest"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for item in tiny.items(4, 12):
        tiny.save(tmp_path / f"{item.id}.png", item.rgb)
        tiny.save(tmp_path / "t" / f"{item.id}.png", item.thermal)
    return tmp_path


def test_every_column(root: Path) -> None:
    table = root / "any name.csv"
    table.write_text(
        "id,path,label,split,group,mask,true_label,comment\n"
        "a,s0000.png,dog,train,g1,s0001.png,cat,nice\n"
        "b,s0001.png,cat,valid,,,,\n"
        "c,s0002.png,,test,,,,\n"
    )
    assert find_reader("auto", table) is MANIFEST
    scan = MANIFEST.scan(DataConfig(root=table))
    assert scan.problems == []
    a, b, c = scan.records
    assert (a.id, a.label, a.split, a.group, a.mask, a.true_label) == ("a", 1, "train", "g1", root / "s0001.png", 0)
    assert (b.label, b.split, b.true_label) == (0, "val", -1)
    assert c.label == -1
    assert open_dataset(DataConfig(root=table, size=12))[0]["mask"].any()


@pytest.mark.parametrize("modalities", [(), ("rgb", "thermal"), ("thermal",)])
def test_a_column_a_modality(root: Path, modalities: tuple[str, ...]) -> None:
    rows = [{"rgb": f"s000{i}.png", "thermal": f"t/s000{i}.png", "label": i % 2} for i in range(4)]
    (root / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = open_dataset(DataConfig(root=root, size=12, modalities=modalities))
    assert tuple(dataset.channels.modalities) == (modalities or ("rgb", "thermal"))
    assert dataset[0]["image"].shape[0] == {1: 1, 2: 4}[len(dataset.channels.modalities)]
    assert dataset.classes == ("0", "1")


def test_group_by_a_column(root: Path) -> None:
    rows = [f"s000{i}.png,x,p{i // 2},w{i}" for i in range(4)]
    (root / "manifest.csv").write_text("\n".join(["path,label,patient,group", *rows]))
    assert [r.group for r in open_dataset(DataConfig(root=root)).records] == ["w0", "w1", "w2", "w3"]
    assert [r.group for r in open_dataset(DataConfig(root=root, group="patient")).records] == ["p0", "p0", "p1", "p1"]
    assert [r.group for r in open_dataset(DataConfig(root=root, group=r"(\d)\.png")).records] == list("0123")
    with pytest.raises(ConfigError, match=r"'pateint'.*a column of the manifest"):
        open_dataset(DataConfig(root=root, group="pateint"))


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("gone.png,dog,,", r"'gone\.png' of column path does not exist"),
        (",dog,,", "the row has no path"),
        ("s0001.png,dog,tran,", r"unknown split 'tran'\. Did you mean train"),
        ("s0001.png,dog,holdout,", r"'holdout'\. Use train, val or test"),
        ("s0000.png,dog,,", r"'s0000\.png' is already on line 2"),
        ("s0001.png,dog,,cow", r"true_label 'cow' is not among the labels"),
    ],
)
def test_bad_rows_are_named_by_line(root: Path, row: str, text: str) -> None:
    (root / "manifest.csv").write_text(f"path,label,split,true_label\ns0000.png,dog,,\n{row}\n")
    with pytest.raises(DataError, match=rf"manifest\.csv:3: .*{text}"):
        open_dataset(DataConfig(root=root))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "no rows"),
        ("path,label\n", "no rows"),
        ("file,label\nx.png,a\n", "lacks the column path"),
    ],
)
def test_bad_tables(root: Path, content: str, text: str) -> None:
    (root / "manifest.csv").write_text(content)
    with pytest.raises(DataError, match=text):
        open_dataset(DataConfig(root=root))


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest.*manifest\.csv or manifest\.jsonl"):
        MANIFEST.scan(DataConfig(root=tmp_path))


def test_column_that_is_not_there(root: Path) -> None:
    (root / "manifest.csv").write_text("path,label\ns0000.png,a\n")
    with pytest.raises(DataError, match="lacks the column thermal"):
        open_dataset(DataConfig(root=root, modalities=("thermal",)))
