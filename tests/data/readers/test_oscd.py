"""OSCD: pairs with their maps of change, in any of the published arrangements; test cities stay test cities."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.config import DataConfig
from nearfar.data import Key, open_dataset
from nearfar.data.check import check
from nearfar.data.geotiff import read_geotiff
from nearfar.data.readers.oscd import BASE, CITIES
from nearfar.data.sample import band_names
from nearfar.data.scenes import open_scenes
from nearfar.data.synthetic.sentinel_layouts import write_oscd
from nearfar.errors import DataError

WHOLE = slice(0, 96), slice(0, 96)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("rasterio")
    return write_oscd(tmp_path_factory.mktemp("oscd") / "data", train=3, test=1, size=96)


@pytest.fixture
def config(written: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(root=Path(shutil.copytree(written, tmp_path / "data")), size=32)


def test_a_scene_is_two_dates_and_what_changed(config: DataConfig) -> None:
    scenes = open_scenes(config)
    assert (scenes.kind, scenes.classes, scenes.gsd) == ("change", ("unchanged", "changed"), 10.0)
    scene = scenes.scenes[0]
    assert (scene.id, scene.times, scene.shape) == ("city0", 2, (96, 96))
    assert scene.days == (date(2016, 4, 6).toordinal(), date(2018, 4, 20).toordinal())
    pixels, valid, target = scene.read(*WHOLE)
    assert (pixels.dtype, valid.dtype, target.dtype) == (np.float32, np.bool_, np.int64)
    for t in (0, 1):
        stored = read_geotiff(Path(config.root or "") / f"{BASE} - Images/city0/imgs_{t + 1}_rect/B8A.tif").pixels[0]
        assert np.allclose(pixels[t, band_names(scenes.channels).index("B8A")], stored / 10000)
    mask = np.asarray(Image.open(Path(config.root or "") / f"{BASE} - Train Labels/city0/cm/cm.png"))
    assert np.array_equal(target, mask > 0)
    window = slice(11, 40), slice(50, 90)
    part = scene.read(*window)
    assert np.array_equal(part[0], pixels[:, :, *window])
    assert np.array_equal(part[2], target[window])


def test_validation_comes_from_training(config: DataConfig) -> None:
    scenes = open_scenes(config)
    splits = {name: {s.id for s in scenes.of_split(name)} for name in ("train", "val", "test")}
    assert splits["test"] == {"town0"}
    assert len(splits["val"]) == 1
    assert splits["train"] | splits["val"] == {"city0", "city1", "city2"}
    others = [open_scenes(replace(config, split_seed=seed)).of_split("val")[0].id for seed in range(4)]
    assert len(set(others)) > 1


def test_the_published_cities() -> None:
    assert (len(CITIES["train"]), len(CITIES["test"])) == (14, 10)
    assert not set(CITIES["train"]) & set(CITIES["test"])


def test_the_other_arrangements(config: DataConfig, tmp_path: Path) -> None:
    """Without lists the published names count; labels beside the images; native bands where there are no others."""
    root, images = tmp_path / "plain", Path(config.root or "") / f"{BASE} - Images"
    for old, new, split in (("city0", "paris", "Train"), ("city1", "rennes", "Train"), ("town0", "dubai", "Test")):
        shutil.copytree(images / old, root / new, ignore=shutil.ignore_patterns("*_rect"))
        (root / new / "cm").mkdir()
        shutil.copy(Path(config.root or "") / f"{BASE} - {split} Labels/{old}/cm/cm.png", root / new / "cm")
    plain = replace(config, root=root)
    scenes = open_scenes(plain)
    assert {s.id: s.split for s in scenes.scenes}["dubai"] == "test"
    native, rect = scenes.scenes[1].read(*WHOLE), open_scenes(config).scenes[0].read(*WHOLE)
    assert scenes.scenes[1].id == "paris"
    ten = band_names(scenes.channels).index("B04")
    assert np.array_equal(native[0][:, ten], rect[0][:, ten])
    assert np.array_equal(native[2], rect[2])
    assert check(plain) == []


def test_samples_have_targets(config: DataConfig) -> None:
    dataset = open_dataset(config, "train")
    assert len(dataset) == 2
    sample = dataset[Key(0, 3)]
    assert sample["series"].shape == (2, 13, 32, 32)
    assert sample["target"].shape == (32, 32)
    assert set(sample["target"].unique().tolist()) <= {0, 1}
    seen = {tuple(dataset[Key(0, s)]["days"].tolist()) for s in range(1, 4)}
    assert seen == {tuple(dataset[0]["days"].tolist())}  # all dates, in order


def test_what_is_wrong_is_named(config: DataConfig) -> None:
    root = Path(config.root or "")
    labels = root / f"{BASE} - Train Labels"
    (labels / "city0/cm/city0-cm.tif").unlink()
    Image.fromarray(np.full((50, 96), 255, np.uint8)).save(labels / "city0/cm/cm.png")
    (labels / "city1/cm/city1-cm.tif").unlink()
    odd = np.asarray(Image.open(labels / "city1/cm/cm.png")).copy()
    odd[3, 3] = 77
    Image.fromarray(odd).save(labels / "city1/cm/cm.png")
    shutil.rmtree(labels / "city2")
    (root / f"{BASE} - Images/town0/imgs_2_rect/B05.tif").write_bytes(b"II*\0")
    problems = check(config)
    whats = " | ".join(p.what for p in problems)
    assert "another size than the scene (found 96 x 50, expected 96 x 96)" in whats
    assert "values that are none (found 77" in whats
    assert "no map of change of city2" in whats
    assert any(str(p.path).endswith("B05.tif") and "damaged" in p.what for p in problems)
    with pytest.raises(DataError, match=r"cm\.png"):
        open_scenes(config)
