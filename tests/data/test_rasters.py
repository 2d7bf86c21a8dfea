"""Files with classes: values and colours, nodata, windows, and values that mean nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import write_geotiff
from nearfar.data.rasters import Legend, label_shape, raster_grid, read_classes
from nearfar.data.scenes import IGNORED
from nearfar.errors import DataError

LEGEND = Legend({0: IGNORED, 3: 0, 9: 1}, {(0, 0, 0): IGNORED, (1, 2, 3): 0, (1, 2, 4): 1})
ROWS, COLUMNS = slice(2, 6), slice(1, 9)


@pytest.fixture(autouse=True)
def _rasterio() -> None:
    pytest.importorskip("rasterio")


def _numbers() -> np.ndarray:
    return np.random.default_rng(0).choice(np.array([0, 3, 9], np.uint8), (10, 12))


def _grid() -> Grid:
    return Grid((10, 12), (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), None)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("colours", [False, True])
def test_values_and_colours_are_classes(tmp_path: Path, suffix: str, colours: bool) -> None:
    numbers, path = _numbers(), tmp_path / f"a{suffix}"
    shown = (
        np.array([(0, 0, 0)] * 3 + [(1, 2, 3)] * 6 + [(1, 2, 4)], np.uint8)[numbers] if colours else numbers[..., None]
    )
    if suffix == ".png":
        Image.fromarray(shown if colours else numbers).save(path)
    else:
        write_geotiff(path, np.moveaxis(shown, -1, 0), _grid())
    expected = np.select([numbers == 3, numbers == 9], [0, 1], IGNORED)
    assert np.array_equal(read_classes(path, LEGEND, ROWS, COLUMNS), expected[ROWS, COLUMNS])
    assert label_shape(path) == (10, 12)


def test_nodata_of_the_file_does_not_count(tmp_path: Path) -> None:
    numbers = np.where(_numbers() == 0, 77, _numbers())
    write_geotiff(tmp_path / "a.tif", numbers, _grid(), nodata=77)
    whole = read_classes(tmp_path / "a.tif", LEGEND, slice(0, 10), slice(0, 12))
    assert np.array_equal(whole == IGNORED, numbers == 77)
    write_geotiff(tmp_path / "b.tif", np.full((10, 12), 77, np.uint8), _grid(), nodata=77)
    assert (read_classes(tmp_path / "b.tif", LEGEND, ROWS, COLUMNS) == IGNORED).all()


def test_values_that_are_none(tmp_path: Path) -> None:
    numbers = _numbers()
    numbers[3, 3], numbers[9, 11] = 4, 5
    write_geotiff(tmp_path / "a.tif", numbers, _grid())
    with pytest.raises(DataError, match=r"a\.tif: .*found 4, expected 0, 3, 9"):
        read_classes(tmp_path / "a.tif", LEGEND, ROWS, COLUMNS)
    with pytest.raises(DataError, match="found 4, 5"):
        read_classes(tmp_path / "a.tif", LEGEND, slice(0, 10), slice(0, 12))
    Image.fromarray(np.full((10, 12, 3), 7, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"found \(7, 7, 7\)"):
        read_classes(tmp_path / "a.png", LEGEND, ROWS, COLUMNS)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    for value, expected in ((3, 0), (9, 1)):
        Image.fromarray(np.full((10, 12 + value), value, np.uint8)).save(tmp_path / "a.png")
        assert (read_classes(tmp_path / "a.png", LEGEND, ROWS, COLUMNS) == expected).all()


def test_the_grid_of_the_finest_band(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    write_geotiff(tmp_path / "d/B2.tif", _numbers(), _grid())
    coarse = Grid((5, 6), (20.0, 0.0, 0.0, 0.0, -20.0, 0.0), None)
    write_geotiff(tmp_path / "d/B11.tif", _numbers()[:5, :6], coarse)
    assert raster_grid(tmp_path / "d") == _grid()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no bands"):
        raster_grid(tmp_path / "empty")
