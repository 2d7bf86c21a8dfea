"""The reader of studies: splits from files, patients kept together, errors that stop a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nearfar.config import DataConfig
from nearfar.data import ImageDataset, open_dataset
from nearfar.data.check import check
from nearfar.data.readers import READERS
from nearfar.data.study import StudyDataset
from nearfar.errors import ConfigError, DataError


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return READERS["study"].write_example(tmp_path / "study", count=40, size=24)


def _edit(path: Path, number: int, **fields: Any) -> None:
    rows = json.loads(path.read_text())
    rows[number] |= fields
    path.write_text(json.dumps(rows))


def test_files_make_the_splits(study: Path) -> None:
    data = open_dataset(DataConfig(train=study / "train.json", val=study / "val.json", size=16), "val")
    assert isinstance(data, StudyDataset) and len(data) == 8 and {r.split for r in data.records} == {"val"}
    assert data.root == study and set(data.table["center"]) == {"C0", "C1", "C2"}
    test = open_dataset(DataConfig(test=study / "test.json", size=16), "test")
    assert len(test) == 8
    with pytest.raises(DataError, match="test split is empty"):
        open_dataset(DataConfig(train=study / "train.json", val=study / "val.json"), "test")


def test_validation_is_taken_from_training_by_patient(study: Path) -> None:
    for number in range(24):
        _edit(study / "train.json", number, patient_id=f"p{number // 3}")
    config = DataConfig(train=study / "train.json", size=16, splits=(0.5, 0.5, 0.0))
    train, val = (open_dataset(config, split) for split in ("train", "val"))
    assert len(train) + len(val) == 24 and len(val) > 6
    assert not set(train.groups) & set(val.groups)


def test_one_file_is_divided(study: Path) -> None:
    parts = [open_dataset(DataConfig(root=study / "train.json", size=16), s) for s in ("train", "val", "test")]
    assert sum(map(len, parts)) == 24 and all(len(part) > 0 for part in parts)


def test_a_file_named_beside_a_root_goes_before_its_own(study: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads((study / "val.json").read_text())[:3]))
    config = DataConfig(root=study, val=other, image_root=study, size=16)
    assert [len(open_dataset(config, split)) for split in ("train", "val", "test")] == [24, 3, 8]


def test_a_patient_in_two_files_is_refused(study: Path) -> None:
    _edit(study / "val.json", 2, patient_id="p0003")
    with pytest.raises(
        DataError, match=r"val\.json\[2\]\.patient_id: E_LEAK_PATIENT: patient 'p0003' is in train and val"
    ):
        open_dataset(DataConfig(root=study), "train")


def test_the_first_error_stops_a_run_and_the_others_are_counted(study: Path) -> None:
    _edit(study / "train.json", 1, class_label="Standard")
    _edit(study / "train.json", 4, image_path="images/nope.png")
    with pytest.raises(DataError, match=r"train\.json\[1\]\.class_label: E_CLASS_LABEL.*lists 1 more"):
        open_dataset(DataConfig(root=study))


def test_a_damaged_image_keeps_code_and_place(study: Path) -> None:
    path = study / "images" / "s0003.png"
    path.write_bytes(path.read_bytes()[:-30])
    (problem,) = check(DataConfig(root=study))
    assert (problem.code, problem.location, problem.level) == (
        "E_IMAGE_UNREADABLE", "train.json[3].image_path", "error",
    )  # fmt: skip
    assert problem.path == path and "train.json[3]" in problem.what


def test_warnings_do_not_stop_a_run(study: Path) -> None:
    _edit(study / "train.json", 0, coordinates=[], description="")
    data = open_dataset(DataConfig(root=study, size=16), "train")
    assert data[0]["present"].all() and (data[0]["object_labels"] == -1).all()
    assert [p.code for p in check(DataConfig(root=study))] == ["W_EMPTY_TEXT", "W_NO_DETECTIONS"]


def test_ids_are_unique_over_the_files(study: Path) -> None:
    for part in ("train", "val"):
        _edit(study / f"{part}.json", 0, sample_id="one")
    data = open_dataset(DataConfig(root=study, size=16))
    assert data.ids[0] == "one" and "one#2" in data.ids


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"train": Path("nope.json")}, r"nope\.json: the file does not exist.*data\.train"),
        ({"labels": Path("nope.yaml")}, r"nope\.yaml: the label map cannot be read"),
    ],
)
def test_files_that_are_not_there(study: Path, config: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        open_dataset(DataConfig(**({"root": study} | config)))


def test_other_layouts_have_no_such_files(study: Path, tmp_path: Path) -> None:
    root = READERS["folder"].write_example(tmp_path / "folder")
    with pytest.raises(ConfigError, match="'folder' has no file a split"):
        open_dataset(DataConfig(root=root, train=study / "train.json", format="folder"))
    assert isinstance(open_dataset(DataConfig(root=root)), ImageDataset)


def test_what_is_not_a_list_of_samples(study: Path) -> None:
    (study / "train.json").write_text('{"data": []}')
    with pytest.raises(DataError, match=r"train\.json: E_NOT_A_LIST"):
        open_dataset(DataConfig(train=study / "train.json"))
