"""From files to reflectance: bands by name on whichever scale the files have, and a real Landsat scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.config import DataConfig
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import write_geotiff
from nearfar.data.optics import Optics, band_files, metres_a_pixel
from nearfar.errors import ConfigError, DataError

S2 = "sentinel2_l2a"


@pytest.fixture
def grid() -> Grid:
    rasterio = pytest.importorskip("rasterio")
    return Grid((6, 6), (10.0, 0.0, 5e5, 0.0, -10.0, 5e6), rasterio.crs.CRS.from_epsg(32631).to_wkt())


@pytest.mark.parametrize(
    ("dtype", "value", "sensor", "expected"),
    [
        (np.uint8, 51, "", 0.2),
        (np.uint16, 2000, "", 0.2),
        (np.int16, -100, "", -0.01),
        (np.float32, 0.2, "", 0.2),
        (np.uint16, 15000, "landsat8", 0.2),  # 2e-5 DN - 0.1
        (np.uint16, 14545, "landsat8_l2", 0.2),  # 2.75e-5 DN - 0.2
    ],
)
def test_numbers_become_reflectance(
    tmp_path: Path, grid: Grid, dtype: type, value: float, sensor: str, expected: float
) -> None:
    write_geotiff(tmp_path / "B4.tif", np.full((1, 6, 6), value, dtype), grid, bands=("B4",))
    optics = Optics.of(DataConfig(sensor=sensor), tmp_path / "B4.tif", S2)
    with optics.open(tmp_path / "B4.tif") as scene:
        pixels, valid = scene.read(slice(0, 6), slice(0, 6))
    assert valid.all()
    assert optics.reflectance(pixels).dtype == np.float32
    assert np.allclose(optics.reflectance(pixels), expected, atol=1e-4)
    scaled = Optics.of(DataConfig(sensor=sensor, scale=2.0), tmp_path / "B4.tif", S2)
    assert np.allclose(scaled.reflectance(pixels), value / 2)


@pytest.mark.parametrize(("dtype", "lost"), [(np.uint16, True), (np.uint8, False), (np.float32, False)])
def test_zero_is_missing_in_16_bits_alone(tmp_path: Path, grid: Grid, dtype: type, lost: bool) -> None:
    pixels = np.ones((2, 6, 6), dtype)
    pixels[1, 2, 3] = 0
    write_geotiff(tmp_path / "a.tif", pixels, grid, bands=("B04", "B11"))
    with Optics.of(DataConfig(), tmp_path / "a.tif", S2).open(tmp_path / "a.tif") as scene:
        _, valid = scene.read(slice(0, 6), slice(0, 6))
    assert valid.all() != lost
    assert not lost or np.argwhere(~valid).tolist() == [[2, 3]]


def test_bands_come_in_the_order_asked_and_quality_bands_are_passed_over(tmp_path: Path, grid: Grid) -> None:
    for k, name in enumerate(("B8A", "B2", "SCL", "B11")):
        write_geotiff(tmp_path / f"T31_{name}.tif", np.full((1, 6, 6), k + 1, np.uint8), grid)
    (tmp_path / "notes.txt").touch()
    assert [p.name for p in band_files(tmp_path)] == ["T31_B11.tif", "T31_B2.tif", "T31_B8A.tif", "T31_SCL.tif"]
    assert Optics.of(DataConfig(), tmp_path, S2).channels == ("B02", "B8A", "B11")
    optics = Optics.of(DataConfig(bands=("swir16", "b02")), tmp_path, S2)
    assert optics.named_channels().names == ("s2.B11", "s2.B02")
    with optics.open(tmp_path) as scene:
        assert scene.read(slice(0, 1), slice(0, 1))[0].ravel().tolist() == [4, 2]
    with pytest.raises(ConfigError, match="no band 'B99'"):
        Optics.of(DataConfig(bands=("B99",)), tmp_path, S2)
    with pytest.raises(DataError, match="lacks B03"):
        Optics.of(DataConfig(bands=("B03",)), tmp_path, S2)
    with pytest.warns(UserWarning, match="B12"):
        assert Optics.of(DataConfig(bands=("B12", "B11")), tmp_path, S2).channels == ("B11",)


def test_nameless_bands_are_named_by_the_data_set_the_user_or_the_sensor(tmp_path: Path, grid: Grid) -> None:
    path = tmp_path / "a.tif"
    write_geotiff(path, np.ones((2, 6, 6), np.uint8), grid)
    assert Optics.of(DataConfig(), path, S2, [("B08", "B04")]).names == ("B08", "B04")
    assert Optics.of(DataConfig(bands=("B03", "B02")), path, S2).names == ("B03", "B02")
    # What the data set says holds: the wanted bands are then picked from it.
    assert Optics.of(DataConfig(bands=("B04", "B08")), path, S2, [("B08", "B04")]).bands == ("B04", "B08")
    with pytest.raises(DataError, match="no usable names"):
        Optics.of(DataConfig(), path, S2)
    write_geotiff(path, np.ones((4, 6, 6), np.uint8), grid)
    assert Optics.of(DataConfig(sensor="gaofen2"), path, S2).channels == ("R", "G", "B", "NIR")


def test_files_of_another_sensor_are_told(tmp_path: Path, grid: Grid) -> None:
    write_geotiff(tmp_path / "a.tif", np.ones((1, 6, 6), np.uint8), grid, bands=("elevation",))
    with pytest.raises(DataError, match=r"No band is one of sentinel2_l2a.*--data\.sensor"):
        Optics.of(DataConfig(), tmp_path / "a.tif", S2)
    with pytest.raises(ConfigError, match="landsat8"):
        Optics.of(DataConfig(sensor="landsat_8"), tmp_path / "a.tif", S2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no bands"):
        Optics.of(DataConfig(), tmp_path / "empty", S2)


def test_a_sensor_of_ones_own(tmp_path: Path, grid: Grid) -> None:
    table = tmp_path / "mine.yaml"
    table.write_text("scale: 100\nbands:\n  red: {wavelength_nm: 650, resolution_m: 2}\n")
    write_geotiff(tmp_path / "a.tif", np.full((1, 6, 6), 50, np.uint16), grid, bands=("red",))
    optics = Optics.of(DataConfig(sensor=str(table)), tmp_path / "a.tif", S2)
    assert optics.named_channels().names == ("mine.red",)
    assert optics.reflectance(np.array([50], np.uint16)).tolist() == [0.5]


def test_metres_a_pixel(grid: Grid) -> None:
    rasterio = pytest.importorskip("rasterio")
    degrees = rasterio.crs.CRS.from_epsg(4326).to_wkt()
    assert metres_a_pixel(grid) == 10.0
    assert metres_a_pixel(Grid((2, 2), (1e-4, 0, 0, 0, -9e-5, 0), degrees)) == pytest.approx(10.02, abs=0.01)
    assert metres_a_pixel(Grid((2, 2), (1.0, 0, 0, 0, 1.0, 0), None), 30.0) == 30.0
    feet = rasterio.crs.CRS.from_epsg(2225).to_wkt()
    assert metres_a_pixel(Grid((2, 2), (10.0, 0, 0, 0, -10.0, 0), feet)) == pytest.approx(3.048, abs=1e-3)


def test_a_real_landsat_scene(shared_data: Path) -> None:
    pytest.importorskip("rasterio")
    folder = shared_data / "landsat8"
    optics = Optics.of(DataConfig(sensor="landsat8"), folder, S2)
    assert optics.named_channels().names == tuple(f"landsat8.B{i}" for i in range(1, 8))
    with optics.open(folder) as scene:
        assert metres_a_pixel(scene.grid) == 30.0
        numbers, valid = scene.read(slice(100, 300), slice(200, 400))
    pixels = optics.reflectance(numbers)[:, valid]
    assert valid.mean() > 0.9
    assert 0 < np.median(pixels) < 0.6
    named = Optics.of(DataConfig(sensor="landsat8", bands=("nir", "red")), folder, S2)
    assert named.channels == ("B5", "B4")
