"""Opening: readers found, splits kept or made without leaks, wrong use told in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.readers import READERS
from nearfar.data.synthetic import tiny
from nearfar.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path: Path) -> DataConfig:
    return DataConfig(root=READERS["folder"].write_example(tmp_path / "data", count=60), size=16)


def test_shares_are_kept_by_class(folder: DataConfig) -> None:
    for split, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        counts = np.bincount(open_dataset(folder, split).labels, minlength=3)
        assert abs(counts - 20 * share).max() <= 2


def test_records_of_all_say_their_split(folder: DataConfig) -> None:
    whole = open_dataset(folder)
    for split in ("train", "val", "test"):
        chosen = [r.id for r in whole.records if r.split == split]
        assert chosen == list(open_dataset(folder, split).ids)


def test_near_duplicates_stay_on_one_side(folder: DataConfig) -> None:
    rng = np.random.default_rng(0)
    for item in tiny.items(60, 16):
        noisy = (item.rgb + rng.normal(0, 2, item.rgb.shape)).clip(0, 255).astype(np.uint8)
        tiny.save(folder.root / item.class_name / f"{item.id}_again.png", noisy)
    splits = {r.id: r.split for r in open_dataset(folder).records}
    assert len(splits) == 120
    assert all(splits[name.replace("_again", "")] == split for name, split in splits.items())


def test_groups_by_expression_stay_on_one_side(folder: DataConfig) -> None:
    records = open_dataset(replace(folder, group=r"s00(\d)")).records
    assert {r.group for r in records} == set("012345")
    assert len({(r.group, r.split) for r in records}) == 6


def test_given_splits_are_kept_and_validation_is_taken_from_training(tmp_path: Path) -> None:
    for item in tiny.items(60, 16):
        split = "test" if int(item.id[1:]) < 15 else "train"
        tiny.save(tmp_path / split / item.class_name / f"{item.id}.png", item.rgb)
    config = DataConfig(root=tmp_path, size=16)
    sizes = {split: len(open_dataset(config, split)) for split in ("train", "val", "test")}
    assert sizes["test"] == 15
    assert sizes["train"] + sizes["val"] == 45
    assert sizes["val"] == pytest.approx(45 / 8, abs=3)
    assert all(id.startswith("train/") for id in open_dataset(config, "val").ids)


def test_no_validation_is_split_off_where_its_share_is_zero(tmp_path: Path) -> None:
    READERS["mvtec"].write_example(tmp_path)
    config = DataConfig(root=tmp_path, splits=(0.8, 0.0, 0.2))
    assert {r.split for r in open_dataset(config).records} == {"train", "test"}
    with pytest.raises(DataError, match=r"the val split is empty.*--data\.splits"):
        open_dataset(config, "val")


def test_partly_given_splits_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        tiny.save(tmp_path / f"{name}.png", next(tiny.items(1, 16)).rgb)
    (tmp_path / "manifest.csv").write_text("path,label,split\na.png,x,train\nb.png,x,\n")
    with pytest.raises(DataError, match=r"b\.png: some samples have a split"):
        open_dataset(DataConfig(root=tmp_path))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"root": None}, ConfigError, r"data\.root: no data given"),
        ({"format": "foldr"}, ConfigError, "Did you mean folder"),
        ({"root": Path("/nowhere/at/all")}, DataError, "does not exist"),
        ({"modalities": ("rgb",)}, ConfigError, "'folder' has no modalities"),
        ({"size": 0}, ConfigError, r"data\.size.*found 0"),
        ({"scale": 0.0}, ConfigError, r"data\.scale.*found 0"),
        ({"group": "nothing(x)"}, ConfigError, "matches no sample"),
    ],
)
def test_wrong_use(folder: DataConfig, options: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        open_dataset(replace(folder, **options))


def test_unknown_split(folder: DataConfig) -> None:
    with pytest.raises(ConfigError, match="unknown split 'training'"):
        open_dataset(folder, "training")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no reader recognises"):
        open_dataset(DataConfig(root=tmp_path))
    with pytest.raises(DataError, match="no images found"):
        open_dataset(DataConfig(root=tmp_path, format="folder"))


def test_first_of_several_problems_is_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label\na.png,x\nb.png,x\n")
    with pytest.raises(DataError, match=r"manifest\.csv:2: .*'a\.png'.*lists 1 more"):
        open_dataset(DataConfig(root=tmp_path))


def test_one_scale_for_several_types(tmp_path: Path) -> None:
    READERS["modalities"].write_example(tmp_path)
    with pytest.raises(ConfigError, match=r"uint16, uint8"):
        open_dataset(DataConfig(root=tmp_path, scale=100.0))


def test_scale_of_the_configuration(folder: DataConfig) -> None:
    plain, scaled = open_dataset(folder)[0]["image"], open_dataset(replace(folder, scale=510.0))[0]["image"]
    np.testing.assert_allclose(scaled * 2, plain, rtol=1e-6)


def test_real_mvtec(shared_data: Path) -> None:
    config = DataConfig(root=shared_data / "mvtec_transistor_128", size=32)
    train, val, test = (open_dataset(config, split) for split in ("train", "val", "test"))
    assert (len(train) + len(val), len(test)) == (213, 76)
    assert test.classes == ("good", "bent_lead", "cut_lead", "damaged_case", "misplaced")
    marked = [bool(test[i]["mask"].any()) for i in range(76)]
    assert marked == (test.labels > 0).tolist()
    assert not train[0]["mask"].any()
