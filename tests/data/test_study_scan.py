"""A study is held to the rules once, and again as soon as anything of it changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nearfar.config import DataConfig
from nearfar.data import open_dataset, study_scan
from nearfar.data.readers import READERS
from nearfar.errors import DataError


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return READERS["study"].write_example(tmp_path / "study", count=40, size=24)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were held to the rules."""
    names: list[str] = []
    own = study_scan.sheet_findings

    def counted(sheet: Any, rules: Any) -> Any:
        names.append(sheet.name)
        return own(sheet, rules)

    monkeypatch.setattr(study_scan, "sheet_findings", counted)
    return names


def edit(path: Path, number: int, **fields: Any) -> None:
    rows = json.loads(path.read_text())
    rows[number] |= fields
    path.write_text(json.dumps(rows))


def test_all_splits_of_a_run_are_checked_once(study: Path, looks: list[str]) -> None:
    config = DataConfig(root=study, size=16)
    parts = [open_dataset(config, split) for split in ("train", "val", "test")]
    assert looks == ["train.json", "val.json", "test.json"]
    assert [len(part) for part in parts] == [24, 8, 8]
    again = open_dataset(config, "train")
    assert again.records == parts[0].records and again.records is not parts[0].records
    assert len(looks) == 3


def test_a_file_that_changed_is_checked_again(study: Path, looks: list[str]) -> None:
    config = DataConfig(root=study, size=16)
    open_dataset(config, "train")
    edit(study / "val.json", 1, class_label="Standard")
    for _ in range(2):  # what has errors is not remembered
        with pytest.raises(DataError, match=r"val\.json\[1\]\.class_label: E_CLASS_LABEL"):
            open_dataset(config, "train")
    assert len(looks) == 9
    edit(study / "val.json", 1, class_label="standard", description="another caption")
    assert "another caption" in open_dataset(config, "val").captions


def test_an_image_that_changed_is_checked_again(study: Path) -> None:
    config = DataConfig(root=study, size=16)
    image = study / "images" / "s0003.png"
    shape = open_dataset(config, "train").records[3].shape
    Image.open(image).resize((60, 50)).save(image)
    assert open_dataset(config, "train").records[3].shape == (50, 60) != shape
    image.unlink()
    with pytest.raises(DataError, match=r"train\.json\[3\]\.image_path: E_IMAGE_NOT_FOUND"):
        open_dataset(config, "val")


def test_other_settings_and_another_study_are_checked_for_themselves(study: Path, looks: list[str]) -> None:
    open_dataset(DataConfig(root=study, size=16), "val")
    open_dataset(DataConfig(root=study, size=16, max_objects=3), "val")
    open_dataset(DataConfig(root=study, size=32, max_objects=3), "val")  # the size of images is no rule
    assert len(looks) == 6
    open_dataset(DataConfig(val=study / "val.json"), "val")
    assert looks[6:] == ["val.json"]
