"""One's own labelled scenes: tables of classes, splits, places, and pairs for change."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.config import DataConfig
from nearfar.data.check import check
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import write_geotiff
from nearfar.data.readers import READERS, find_reader
from nearfar.data.readers.geotiff_labelled import read_legend
from nearfar.data.scenes import open_scenes
from nearfar.data.synthetic.sentinel_scenes import write_labelled
from nearfar.errors import ConfigError, DataError

WHOLE = slice(0, 48), slice(0, 48)


@pytest.fixture(autouse=True)
def _rasterio() -> None:
    pytest.importorskip("rasterio")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_labelled(tmp_path / "data", scenes=5, size=48)


def _write(path: Path, pixels: np.ndarray, x: float = 5e5) -> None:
    rasterio = pytest.importorskip("rasterio")
    path.parent.mkdir(parents=True, exist_ok=True)
    crs = rasterio.crs.CRS.from_epsg(32631).to_wkt()
    bands = ("B04", "B08")[: len(pixels)] if pixels.ndim == 3 else ()
    write_geotiff(path, pixels, Grid(pixels.shape[-2:], (10.0, 0.0, x, 0.0, -10.0, 5e6), crs), bands=bands)


def test_scenes_with_a_table_of_classes(root: Path) -> None:
    scenes = open_scenes(DataConfig(root=root))
    assert len(scenes.classes) == 16
    assert scenes.classes[0] == "sea"
    assert {s.split for s in scenes.scenes} == {"train", "val", "test"}
    _, _, target = scenes.scenes[0].read(*WHOLE)
    assert (target[:2] == 255).all()
    assert target[2:].max() < 16
    assert len({s.group for s in scenes.scenes}) == 5


def test_values_are_what_the_table_says(root: Path) -> None:
    (root / "classes.csv").write_text("value,name,red,green,blue\n10,water,0,0,255\n200,land,0,255,0\n")
    for path in (root / "labels").glob("*.tif"):
        _write(path, np.full((48, 48), 200, np.uint8))
        path.rename(path.with_name("gone"))
        Image.fromarray(np.full((48, 48), 10, np.uint8)).save(path.with_suffix(".png"))
    (root / "labels" / "gone").unlink()
    scenes = open_scenes(DataConfig(root=root))
    assert (scenes.classes, scenes.colours) == (("water", "land"), ((0, 0, 255), (0, 255, 0)))
    assert set(scenes.scenes[0].read(*WHOLE)[2].ravel().tolist()) == {0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("value,name\n1,a\n1,b\n", r"classes\.csv:3: the value 1 is there twice"),
        ("value,name\none,a\n", r"classes\.csv:2: not whole numbers"),
        ("value,name\n255,a\n", r"classes\.csv:2: the value 255 never counts"),
        ("value\n1\n", "name"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_legend(tmp_path / "classes.csv")


def test_no_table(root: Path) -> None:
    (root / "classes.csv").unlink()
    with pytest.raises(DataError, match="no table of classes"):
        open_scenes(DataConfig(root=root))
    assert any("no table of classes" in p.what for p in check(DataConfig(root=root)))


def test_overlapping_scenes_stay_together(tmp_path: Path) -> None:
    for k in range(8):
        pixels = np.random.default_rng(k).integers(1, 900, (2, 48, 48)).astype(np.uint16)
        _write(tmp_path / f"images/s{k}.tif", pixels, 5e5 + 10_000 * (k // 2) + 100 * k)
        _write(tmp_path / f"labels/s{k}.tif", np.zeros((48, 48), np.uint8))
    (tmp_path / "classes.csv").write_text("value,name\n0,all\n")
    for seed in range(5):
        split = {s.id: s.split for s in open_scenes(DataConfig(root=tmp_path, split_seed=seed)).scenes}
        assert all(split[f"s{2 * k}"] == split[f"s{2 * k + 1}"] for k in range(4))


def test_splits_by_folder_are_kept(root: Path) -> None:
    for k, split in enumerate(("train", "train", "val", "test", "test")):
        for part in ("images", "labels"):
            (root / part / split).mkdir(exist_ok=True)
            (root / part / f"scene{k}.tif").rename(root / part / split / f"scene{k}.tif")
    scenes = open_scenes(DataConfig(root=root))
    assert [s.id for s in scenes.of_split("val")] == ["val/scene2"]
    assert [s.id for s in scenes.of_split("test")] == ["test/scene3", "test/scene4"]


def test_two_dates_are_change(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((48, 48), np.uint8)
    mask[:9] = 255
    mask[9] = 7
    for k in range(4):
        for part in ("before", "after"):
            folder = tmp_path / part / f"site{k}"
            for band in ("B3", "B4"):
                _write(folder / f"{band}.tif", rng.integers(1, 900, (48, 48)).astype(np.uint16), 5e5 + 1000 * k)
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / f"labels/site{k}.png")
    assert find_reader("auto", tmp_path).name == "geotiff_labelled"
    scenes = open_scenes(DataConfig(root=tmp_path))
    assert (scenes.kind, scenes.classes, scenes.scenes[0].times) == ("change", ("unchanged", "changed"), 2)
    pixels, _, target = scenes.scenes[0].read(*WHOLE)
    assert pixels.shape == (2, 2, 48, 48)
    assert np.array_equal(target, mask > 0)
    assert check(DataConfig(root=tmp_path)) == []
    for file in sorted((tmp_path / "after/site1").iterdir()):
        _write(file, np.ones((48, 48), np.uint16), 9e5)
    shutil.rmtree(tmp_path / "after/site2")
    told = {p.what for p in check(DataConfig(root=tmp_path))}
    assert any("different grids" in what for what in told)
    assert "the scene is not in after" in told


def test_formats_without_scenes_are_told_apart(tmp_path: Path) -> None:
    folder = READERS["folder"].write_example(tmp_path / "images_only")
    with pytest.raises(ConfigError, match=r"'folder' has no labelled scenes.*oscd"):
        open_scenes(DataConfig(root=folder))
    scenes = open_scenes(DataConfig(root=write_labelled(tmp_path / "data", size=48)))
    with pytest.raises(ConfigError, match="Did you mean train"):
        scenes.of_split("trian")
