"""GID: classes by colour or number, black that does not count, both sets and torchgeo's arrangement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.check import check
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import read_geotiff, write_geotiff
from nearfar.data.readers import find_reader
from nearfar.data.readers.gid import COLOURS_5, COLOURS_15
from nearfar.data.scenes import open_scenes
from nearfar.data.synthetic.sentinel_scenes import write_gid
from nearfar.errors import DataError

WHOLE = slice(0, 48), slice(0, 48)


@pytest.fixture(autouse=True)
def _rasterio() -> None:
    pytest.importorskip("rasterio")


@pytest.mark.parametrize(("classes", "colours"), [(5, COLOURS_5), (15, COLOURS_15)])
def test_colours_are_classes(tmp_path: Path, classes: int, colours: dict) -> None:
    root = write_gid(tmp_path / "gid", classes=classes, scenes=3, size=48)
    assert find_reader("auto", root).name == f"gid{classes}"
    scenes = open_scenes(DataConfig(root=root))
    assert scenes.classes == tuple(colours)
    assert scenes.colours == tuple(colours.values())
    assert scenes.gsd == 4.0
    for scene in scenes.scenes:
        pixels, valid, target = scene.read(*WHOLE)
        path = scene.record.mask
        assert path is not None
        shown = np.moveaxis(read_geotiff(path, names=("r", "g", "b")).pixels, 0, -1)
        table = np.array([*colours.values()])
        assert np.array_equal(shown[target < 255], table[target[target < 255]])
        assert (shown[target == 255] == 0).all()
        assert np.allclose(pixels[0], read_geotiff(scene.record.paths[0], names="RGB").pixels / 255)
        assert valid.all()


def test_published_names_and_torchgeos_arrangement(tmp_path: Path) -> None:
    """GID/img_dir/SPLIT/NAME.tif, GID/ann_dir/SPLIT/NAME_15label.png with numbers, four bands beside."""
    for split in ("train", "val", "test"):
        for folder in ("img_dir", "ann_dir"):
            (tmp_path / "GID" / folder / split).mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 255, (3, 48, 48)).astype(np.uint8)
        grid = Grid((48, 48), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), None)
        write_geotiff(tmp_path / f"GID/img_dir/{split}/{split}_1.tif", pixels, grid)
        numbers = np.tile(np.arange(16, dtype=np.uint8), (48, 3))
        if split != "test":
            Image.fromarray(numbers).save(tmp_path / f"GID/ann_dir/{split}/{split}_1_15label.png")
    assert find_reader("auto", tmp_path).name == "gid15"
    scenes = open_scenes(DataConfig(root=tmp_path))
    assert [(s.id, s.split) for s in scenes.scenes] == [("train_1", "train"), ("val_1", "val")]
    target = scenes.scenes[0].read(*WHOLE)[2]
    assert target[0, :16].tolist() == [255, *range(15)]
    with pytest.raises(DataError, match="no scene is in the test split"):
        scenes.of_split("test")


def test_near_infrared_comes_first_in_its_folder(tmp_path: Path) -> None:
    root = write_gid(tmp_path / "gid", scenes=2, size=48)
    nir = root / "image_NirRGB"
    (root / "image_RGB").rename(nir)
    for path in nir.glob("*.tif"):
        colour = read_geotiff(path, names="RGB")
        write_geotiff(path, np.concatenate([np.full((1, 48, 48), 9, np.uint8), colour.pixels]), colour.grid)
    dataset = open_dataset(DataConfig(root=root, bands=("NIR", "R"), size=16))
    assert dataset.channels.names == ("gaofen2.NIR", "gaofen2.R")
    assert dataset[0]["image"][0].mean() == pytest.approx(9 / 255)


def test_problems_are_named(tmp_path: Path) -> None:
    root = write_gid(tmp_path / "gid", scenes=4, size=48)
    labels = sorted((root / "label_5classes").glob("*.tif"))
    sorted((root / "image_RGB").glob("*.tif"))[0].unlink()
    shown = read_geotiff(labels[1], names="RGB")
    strange = shown.pixels.copy()
    strange[:, 5, 7] = (255, 1, 0)
    write_geotiff(labels[1], strange, shown.grid)
    write_geotiff(labels[2], shown.pixels * 0, shown.grid)
    labels[3].write_bytes(labels[3].read_bytes()[:200])
    told = {Path(p.path).name: p.what for p in check(DataConfig(root=root))}
    assert "there is no image GF2_PMS1__0000-MSS1" in told[labels[0].name]
    assert "values that are none (found (255, 1, 0), expected (0, 0, 0), (255, 0, 0)" in told[labels[1].name]
    assert "no pixel has a class that counts" in told[labels[2].name]
    assert "damaged" in told[labels[3].name]
