"""`nearfar data check` on a study: codes, counts, the report, and which of them end in status 3."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearfar import configio
from nearfar.cli import main
from nearfar.cli.train import parse_flags
from nearfar.data import open_dataset
from nearfar.data.readers import READERS


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return READERS["study"].write_example(tmp_path / "study", count=40, size=24)


def _edit(path: Path, **fields: object) -> None:
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([row | fields for row in rows]))


def test_findings_are_counted_and_the_first_are_shown(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _edit(study / "train.json", class_label="good", description="")
    report = tmp_path / "out" / "findings.json"
    assert main(["data", "check", str(study), "--report", str(report)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("train.json[0].class_label: E_CLASS_LABEL: unknown class 'good'")
    assert len(lines) == 22 and "28 more" in lines[20]
    assert lines[21] == "48 problem(s): 24 error, 24 warning"
    values = json.loads(report.read_text())
    assert len(values) == 48
    assert values[0]["location"] == "train.json[0].description" and values[0]["level"] == "warning"


def test_warnings_alone_end_well(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _edit(study / "val.json", description="")
    assert main(["data", "check", str(study)]) == 0
    assert "8 problem(s): 8 warning" in capsys.readouterr().out


def test_files_that_lie_elsewhere(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tables").mkdir()
    moved = [(study / f"{split}.json").rename(tmp_path / "tables" / f"my_{split}.json") for split in ("train", "val")]
    flags = ["--train", str(moved[0]), "--val", str(moved[1]), "--image-root", str(study)]
    assert main(["data", "check", *flags]) == 0
    _edit(moved[1], patient_id="p0001")
    assert main(["data", "check", *flags]) == 3
    assert "my_val.json[0].patient_id: E_LEAK_PATIENT: patient 'p0001' is in train and val" in capsys.readouterr().out
    assert main(["data", "check", str(moved[0]), "--image-root", str(study)]) == 0


def test_nothing_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check"]) == 2
    assert "Name a folder" in capsys.readouterr().err


def test_training_reads_the_named_files(study: Path) -> None:
    base = configio.load("spatialclip", None)
    flags = [
        "--data.train",
        str(study / "train.json"),
        "--data.val",
        str(study / "val.json"),
        "--data.max-objects",
        "4",
    ]
    config = parse_flags(base, flags)
    assert config.data.root is None
    parts = {split: open_dataset(config.data, split) for split in ("train", "val")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 24, "val": 8}
    assert parts["train"][0]["objects"].shape == (4, 5)


def test_training_on_files_that_are_not_there(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(study / "run")]
    assert main(["train", "spatialclip", "--data.train", str(study / "nope.json"), *out]) == 3
    assert "Check --data.train." in capsys.readouterr().err
    assert main(["train", "spatialclip", "--data.val", str(study / "val.json"), *out]) == 2
    assert not (study / "run").exists()
