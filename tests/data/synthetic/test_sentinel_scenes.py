"""Generated scenes are what their layouts say, and have something to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.data.geotiff import read_geotiff
from nearfar.data.synthetic.sentinel_scenes import gid_scene, write_gid, write_labelled, write_series
from nearfar.errors import ConfigError


def test_colours_follow_the_land() -> None:
    colour, classes = gid_scene(1, 96, 5)
    assert colour.shape == classes.shape == (3, 96, 96)
    assert colour.dtype == classes.dtype == np.uint8
    assert np.array_equal(gid_scene(1, 96, 5)[0], colour)
    forest = (classes == np.array([0, 255, 255])[:, None, None]).all(axis=0)
    farmland = (classes == np.array([0, 255, 0])[:, None, None]).all(axis=0)
    assert forest.any()
    assert farmland.any()
    assert colour[0][forest].mean() < colour[0][farmland].mean()


def test_writers_are_refused_what_makes_no_sense(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    with pytest.raises(ConfigError, match="5 or 15"):
        write_gid(tmp_path / "a", classes=7)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    for write in (write_gid, write_labelled, write_series):
        with pytest.raises(ConfigError, match="not empty"):
            write(tmp_path / "full")


def test_bands_are_described_and_clouds_have_no_data(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    root = write_series(tmp_path / "a", places=2, dates=2, size=48)
    files = sorted(root.rglob("*.tif"))
    assert len(files) == 4
    shares = [read_geotiff(path).valid.mean() for path in files]
    assert shares[0] == 1
    assert min(shares) < 1
    assert read_geotiff(files[0]).bands == ("B02", "B03", "B04", "B08")
