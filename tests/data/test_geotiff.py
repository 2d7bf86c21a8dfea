"""GeoTIFF by band name: what is kept, how coarse bands are resampled, and what damaged or odd files say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import GeoScene, band_name, read_geotiff, write_geotiff
from nearfar.errors import ConfigError, DataError, ShapeError


@pytest.fixture
def utm() -> str:
    rasterio = pytest.importorskip("rasterio")
    return str(rasterio.crs.CRS.from_epsg(32631).to_wkt())


def grid_of(size: tuple[int, int], metres: float, crs: str | None, x: float = 448000.0) -> Grid:
    return Grid(size, (metres, 0.0, x, 0.0, -metres, 5412000.0), crs)


def ramp(rows: int, cols: int, metres: int) -> np.ndarray:
    """A plane over the ground: bilinear interpolation must reproduce it away from the rim."""
    row, col = np.mgrid[:rows, :cols]
    return (1000 + (row + 0.5) * metres + 2 * (col + 0.5) * metres).astype(np.uint16)


def scene_files(tmp_path: Path, crs: str) -> dict[str, Path]:
    sizes = {"B02": (60, 48, 10), "B05": (30, 24, 20), "B09": (10, 8, 60)}
    for name, (rows, cols, metres) in sizes.items():
        write_geotiff(tmp_path / f"T31UDQ_{name}.tif", ramp(rows, cols, metres), grid_of((rows, cols), metres, crs))
    return {name: tmp_path / f"T31UDQ_{name}.tif" for name in sizes}


def test_a_file_comes_back_as_it_was_written(tmp_path: Path, utm: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (3, 21, 33)).astype(np.uint16)
    valid = np.ones((21, 33), bool)
    valid[:4, :7] = False
    pixels[pixels == 7] = 8
    grid = grid_of((21, 33), 10, utm)
    write_geotiff(tmp_path / "a.tif", pixels, grid, bands=("B08", "B04", "B03"), valid=valid, nodata=7)
    back = read_geotiff(tmp_path / "a.tif")
    assert back.bands == ("B08", "B04", "B03")
    assert back.grid == grid
    assert back.pixels.dtype == np.uint16
    assert np.array_equal(back.valid, valid)
    assert np.array_equal(back.pixels[:, valid], pixels[:, valid])
    assert (back.pixels[:, ~valid] == 7).all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_bands_are_picked_by_name_in_the_order_asked(tmp_path: Path, utm: str) -> None:
    pixels = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 5, 4), np.uint8)
    write_geotiff(tmp_path / "a.tif", pixels, grid_of((5, 4), 10, utm), bands=("B8A", "b2", "qa"))
    back = read_geotiff(tmp_path / "a.tif", ["B2", "b8a"])
    assert back.bands == ("B02", "B8A")
    assert back.pixels[:, 0, 0].tolist() == [1, 0]
    with pytest.raises(DataError, match=r"no band B8B .*B8A, B02, qa.* Did you mean B8A\?"):
        read_geotiff(tmp_path / "a.tif", ["B8B"])


@pytest.mark.parametrize(("name", "canonical"), [("b2", "B02"), ("B12", "B12"), ("B8a", "B8A"), ("nir", "nir")])
def test_band_names_have_one_form(name: str, canonical: str) -> None:
    assert band_name(name) == canonical


def test_nameless_bands_must_be_named(tmp_path: Path, utm: str) -> None:
    write_geotiff(tmp_path / "a.tif", np.zeros((2, 5, 4), np.uint8), grid_of((5, 4), 10, utm))
    with pytest.raises(DataError, match="no usable names"):
        read_geotiff(tmp_path / "a.tif")
    assert read_geotiff(tmp_path / "a.tif", names=("red", "nir")).bands == ("red", "nir")


def test_coarse_bands_are_interpolated_between_their_pixel_centres(tmp_path: Path, utm: str) -> None:
    back = read_geotiff(list(scene_files(tmp_path, utm).values()))
    assert back.bands == ("B02", "B05", "B09")
    assert back.grid == grid_of((60, 48), 10, utm)
    assert back.valid.all()
    truth = ramp(60, 48, 10).astype(int)
    assert np.array_equal(back.pixels[0], truth)
    inner = slice(3, -3), slice(3, -3)
    assert np.abs(back.pixels[1:].astype(int) - truth)[:, *inner].max() <= 1
    assert back.pixels[2, 0, 0] == ramp(10, 8, 60)[0, 0]  # beyond the outermost centres: repeated


def test_windows_have_the_values_of_the_whole(tmp_path: Path, utm: str) -> None:
    files = scene_files(tmp_path, utm)
    whole = read_geotiff(files)
    with GeoScene(files) as scene:
        for rows, cols in (((0, 1), (0, 1)), ((5, 18), (7, 48)), ((59, 60), (3, 4)), ((11, 60), (13, 31))):
            window = slice(*rows), slice(*cols)
            pixels, valid = scene.read(*window)
            assert np.array_equal(pixels, whole.pixels[:, *window])
            assert valid.all()


def test_pixels_without_data_do_not_leak_into_their_neighbours(tmp_path: Path, utm: str) -> None:
    coarse = np.full((4, 4), 500, np.uint16)
    coarse[1, 1] = 0
    write_geotiff(tmp_path / "B02.tif", np.full((8, 8), 9, np.uint16), grid_of((8, 8), 10, utm))
    write_geotiff(tmp_path / "B05.tif", coarse, grid_of((4, 4), 20, utm))
    files = [tmp_path / "B02.tif", tmp_path / "B05.tif"]
    back = read_geotiff(files, nodata=0)
    hole = np.zeros((8, 8), bool)
    hole[2:4, 2:4] = True
    assert np.array_equal(back.valid, ~hole)
    assert (back.pixels[1][back.valid] == 500).all()
    assert read_geotiff(files).valid.all()  # undeclared and not given: 0 is a value


def test_outside_a_bands_extent_nothing_is_valid(tmp_path: Path, utm: str) -> None:
    write_geotiff(tmp_path / "B02.tif", np.full((8, 8), 9, np.uint16), grid_of((8, 8), 10, utm))
    write_geotiff(tmp_path / "B05.tif", np.full((4, 2), 9, np.uint16), grid_of((4, 2), 20, utm, x=448020.0))
    back = read_geotiff([tmp_path / "B02.tif", tmp_path / "B05.tif"])
    assert back.valid[0].tolist() == [False, False, True, True, True, True, False, False]


def test_nan_is_never_data(tmp_path: Path, utm: str) -> None:
    pixels = np.ones((4, 4), np.float32)
    pixels[2, 1] = np.nan
    write_geotiff(tmp_path / "B02.tif", pixels, grid_of((4, 4), 10, utm))
    assert np.argwhere(~read_geotiff(tmp_path / "B02.tif").valid).tolist() == [[2, 1]]


def test_truncated_files_are_named(tmp_path: Path, utm: str) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (2, 64, 64)).astype(np.uint16)
    path = tmp_path / "a.tif"
    write_geotiff(path, noise, grid_of((64, 64), 10, utm), bands=("B02", "B03"))
    content = path.read_bytes()
    for share in (0.0, 0.01, 0.3, 0.6, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(DataError, match=r"a\.tif: The file is damaged"):
            read_geotiff(path)
    with pytest.raises(DataError, match="no such file"):
        read_geotiff(tmp_path / "b.tif")
    with pytest.raises(DataError, match="has no files"):
        read_geotiff([])


def test_files_that_do_not_fit_each_other(tmp_path: Path, utm: str) -> None:
    rasterio = pytest.importorskip("rasterio")
    other = str(rasterio.crs.CRS.from_epsg(32632).to_wkt())
    write_geotiff(tmp_path / "B02.tif", np.ones((8, 8), np.uint8), grid_of((8, 8), 10, utm))
    write_geotiff(tmp_path / "B03.tif", np.ones((8, 8), np.uint8), grid_of((8, 8), 10, other))
    write_geotiff(tmp_path / "B04.tif", np.ones((2, 8, 8), np.uint8), grid_of((8, 8), 10, utm))
    turned = Grid((8, 8), (10.0, 3.0, 0.0, 3.0, -10.0, 0.0), utm)
    write_geotiff(tmp_path / "B05.tif", np.ones((8, 8), np.uint8), turned)
    for name, size in (("B06", 8), ("B07", 4)):
        nowhere = Grid((size, size), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), None)
        write_geotiff(tmp_path / f"{name}.tif", np.ones((size, size), np.uint8), nowhere)
    cases = (("02 03", "reference systems"), ("02 04", "several bands"), ("05", "rotated"), ("06 07", "where they lie"))
    for numbers, message in cases:
        with pytest.raises(DataError, match=message):
            read_geotiff([tmp_path / f"B{number}.tif" for number in numbers.split()])


def test_writing_refuses_what_does_not_fit(tmp_path: Path, utm: str) -> None:
    grid = grid_of((4, 4), 10, utm)
    with pytest.raises(ShapeError, match=r"\(1, 5, 4\)"):
        write_geotiff(tmp_path / "a.tif", np.ones((5, 4), np.uint8), grid)
    with pytest.raises(ConfigError, match="needs a value"):
        write_geotiff(tmp_path / "a.tif", np.ones((4, 4), np.uint8), grid, valid=np.ones((4, 4), bool))
    assert not list(tmp_path.iterdir())


def test_a_real_landsat_scene(shared_data: Path) -> None:
    pytest.importorskip("rasterio")
    files = [shared_data / "landsat8" / f"l8_B{i}.tif" for i in range(1, 8)]
    with GeoScene(files, ["B5", "B4"]) as scene:
        assert scene.grid.shape in ((603, 627), (627, 603))
        assert scene.dtype == np.uint16
        assert scene.grid.crs is not None
        pixels, _ = scene.read(slice(100, 140), slice(200, 260))
        assert pixels.shape == (2, 40, 60)
        assert pixels.max() > 255
