"""MVTec AD: defects with their masks, given splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.readers import READERS
from nearfar.errors import DataError

MVTEC = READERS["mvtec"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return MVTEC.write_example(tmp_path / "mvtec")


def test_good_is_class_zero_and_trains_alone(root: Path) -> None:
    scan = MVTEC.scan(DataConfig(root=root))
    assert scan.classes == ("good", "bar", "disc")
    assert scan.open_set
    assert {(r.split, r.label) for r in scan.records} == {("train", 0), ("test", 0), ("test", 1), ("test", 2)}
    assert all((r.mask is None) == (r.label == 0) for r in scan.records)


def test_missing_mask_is_fatal(root: Path) -> None:
    mask = root / "ground_truth" / "bar" / "002_mask.png"
    mask.unlink()
    with pytest.raises(DataError, match=r"002_mask\.png: the mask is missing"):
        open_dataset(DataConfig(root=root))


def test_mask_without_image_is_told(root: Path) -> None:
    (root / "test" / "bar" / "002.png").unlink()
    (problem,) = MVTEC.scan(DataConfig(root=root)).problems
    assert (Path(problem.path).name, problem.fatal) == ("002_mask.png", False)


def test_without_ground_truth_there_are_no_masks(root: Path) -> None:
    shutil.rmtree(root / "ground_truth")
    dataset = open_dataset(DataConfig(root=root, size=8))
    assert not dataset.has_masks
    assert "mask" not in dataset[0]


def test_given_validation_is_kept(root: Path) -> None:
    (root / "train" / "good").rename(root / "kept")
    (root / "train" / "good").mkdir()
    (root / "validation" / "good").mkdir(parents=True)
    for number, path in enumerate(sorted((root / "kept").glob("*.png"))):
        path.rename(root / ("validation" if number % 2 else "train") / "good" / path.name)
    shutil.rmtree(root / "kept")
    config = DataConfig(root=root)
    assert len(open_dataset(config, "train")) == len(open_dataset(config, "val")) == 3


def test_empty_defect_is_told(root: Path) -> None:
    (root / "test" / "crack").mkdir()
    (problem,) = MVTEC.scan(DataConfig(root=root)).problems
    assert "holds no images" in problem.what
