"""PASTIS: whole series with their days, published folds, void that does not count, damaged arrays named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.check import check
from nearfar.data.readers.pastis import CLASSES
from nearfar.data.scenes import open_scenes
from nearfar.data.synthetic.sentinel_pastis import PASTIS_BANDS, PASTIS_CLASSES, write_pastis
from nearfar.errors import DataError, ShapeError

WHOLE = slice(0, 128), slice(0, 128)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("rasterio")
    return write_pastis(tmp_path_factory.mktemp("pastis") / "data", patches=5, dates=3)


@pytest.fixture
def config(written: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(root=Path(shutil.copytree(written, tmp_path / "data")), size=32)


def _file(config: DataConfig, name: str) -> Path:
    return Path(config.root or "") / name


def test_a_patch_is_a_series_with_crops(config: DataConfig) -> None:
    scenes = open_scenes(config)
    assert (scenes.kind, len(scenes.classes), scenes.gsd) == ("segment", 19, 10.0)
    assert scenes.channels.names == tuple(f"s2.{band}" for band in PASTIS_BANDS)
    scene = scenes.scenes[0]
    stored = np.load(_file(config, "DATA_S2/S2_10000.npy"))
    crops = np.load(_file(config, "ANNOTATIONS/TARGET_10000.npy"))[0]
    pixels, valid, target = scene.read(*WHOLE)
    assert np.allclose(pixels, stored / 10000)
    assert valid.all()
    assert np.array_equal(target, np.where(crops == 19, 255, crops))
    assert (target == 255).any()
    assert (target == 0).any()  # background is a class
    days = json.loads(_file(config, "metadata.geojson").read_text())["features"][0]["properties"]["dates-S2"]
    assert len(scene.days) == scene.times == len(days) == 3
    assert list(scene.days) == sorted(scene.days)


def test_classes_have_their_published_numbers() -> None:
    short = {"wheat": "soft winter wheat", "rapeseed": "winter rapeseed", "vineyard": "grapevine"}
    assert all(CLASSES[number] == short.get(name, name) for name, number in PASTIS_CLASSES.items())


def test_folds_are_the_splits(config: DataConfig) -> None:
    scenes = open_scenes(config)
    assert [scene.split for scene in scenes.scenes] == ["train", "train", "train", "val", "test"]
    assert open_dataset(config, "test").ids == ("10004",)


def test_bands_by_name_and_dates_by_count(config: DataConfig) -> None:
    dataset = open_dataset(replace(config, bands=("nir", "B02"), dates=2))
    assert dataset.channels.names == ("s2.B08", "s2.B02")
    assert dataset[0]["series"].shape == (2, 2, 32, 32)
    with pytest.raises(DataError, match="too few dates"):
        open_dataset(replace(config, dates=4))[0]


def test_missing_pixels_are_not_valid(config: DataConfig) -> None:
    path = _file(config, "DATA_S2/S2_10001.npy")
    series = np.load(path)
    series[0, :, 3, 4] = 0
    series[1, 2, 5, 6] = -10000
    series[2, 2, 7, 8] = 0  # one dark band is a dark pixel
    np.save(path, series)
    pixels, valid, _ = open_scenes(config).scenes[1].read(*WHOLE)
    assert np.argwhere(~valid).tolist() == [[0, 3, 4], [1, 5, 6]]
    assert (pixels[1, :, 5, 6] == 0).all()


def test_everything_wrong_is_named(config: DataConfig) -> None:
    first = _file(config, "DATA_S2/S2_10000.npy")
    first.write_bytes(first.read_bytes()[:5000])
    np.save(_file(config, "DATA_S2/S2_10001.npy"), np.zeros((3, 9, 128, 128), np.int16))
    np.save(_file(config, "DATA_S2/S2_10002.npy"), np.ones((2, 10, 128, 128), np.int16))
    target = np.load(_file(config, "ANNOTATIONS/TARGET_10003.npy"))
    target[0, 0, 0] = 42
    np.save(_file(config, "ANNOTATIONS/TARGET_10003.npy"), target)
    _file(config, "ANNOTATIONS/TARGET_10004.npy").unlink()
    shutil.copy(_file(config, "DATA_S2/S2_10003.npy"), _file(config, "DATA_S2/S2_99.npy"))
    told: dict[str, str] = {}
    for problem in check(config):
        told[Path(problem.path).name] = told.get(Path(problem.path).name, "") + problem.what
    assert "cannot be read" in told["S2_10000.npy"]
    assert "another number of bands" in told["S2_10001.npy"]
    assert "another number of dates" in told["S2_10002.npy"]
    assert "no such class (found [42]" in told["TARGET_10003.npy"]
    assert "no such file" in told["TARGET_10004.npy"]
    assert "not in metadata.geojson" in told["S2_99.npy"]
    with pytest.raises(DataError, match=r"S2_10000\.npy: the array cannot be read"):
        open_scenes(config)


def test_a_damaged_table(config: DataConfig) -> None:
    _file(config, "metadata.geojson").write_text('{"features": [')
    (problem,) = check(config)
    assert "the table of patches cannot be read" in problem.what


def test_windows_beyond_the_patch(config: DataConfig) -> None:
    scene = open_scenes(config).scenes[0]
    for window in (slice(0, 129), slice(-3, 5), slice(5, 5)):
        with pytest.raises(ShapeError, match="not inside the scene"):
            scene.read(window, slice(0, 4))
