"""Raster files as rasterio opens them, and what a full disk leaves of them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import write_geotiff
from nearfar.data.rasterfile import profile, reading, writing
from nearfar.errors import ConfigError, DataError, NearfarError


def grid_of(side: int) -> Grid:
    return Grid((side, side), (10.0, 0.0, 448000.0, 0.0, -10.0, 6262000.0), None)


def test_without_rasterio_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with (
        pytest.raises(ConfigError, match=r"GeoTIFF needs rasterio: pip install 'nearfar\[geo\]'"),
        reading(Path("a.tif")),
    ):
        pass


def test_a_file_that_a_full_disk_cuts_short_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    """The limit on a file's size cuts it as a full disk does: nothing is raised when it is closed."""
    resource = pytest.importorskip("resource")
    path, grid = tmp_path / "a.tif", grid_of(600)
    write_geotiff(path, np.zeros((600, 600), np.uint8), grid)
    before, noise = path.read_bytes(), np.random.default_rng(0).integers(0, 255, (600, 600), np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, limits[1]))
    try:
        with pytest.raises(NearfarError, match=r"a\.tif: The file cannot be written"):
            write_geotiff(path, noise, grid)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_a_full_disk_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(path: Path) -> None:
        raise pytest.importorskip("rasterio").errors.RasterioIOError("read failed")

    monkeypatch.setattr("nearfar.data.rasterfile._read_through", cut)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(NearfarError, match=r"The disk is full\. Free some space"):
        write_geotiff(tmp_path / "a.tif", np.zeros((6, 6), np.uint8), grid_of(6))
    assert not list(tmp_path.iterdir())


def test_a_file_whose_writing_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    description = profile(grid_of(300), 1, np.uint8, 0, "deflate")
    with pytest.raises(KeyError), writing(tmp_path / "a.tif", description):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_fault_while_reading_names_the_file() -> None:
    pytest.importorskip("rasterio")
    with pytest.raises(DataError, match=r"a\.tif: The file is damaged.*short read"), reading(Path("a.tif")):
        raise OSError("short read")
