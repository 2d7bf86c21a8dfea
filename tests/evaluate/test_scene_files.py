"""Scenes from any files and sensor: bands by name, reflectance, nodata, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rasterio")

from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import read_geotiff, write_geotiff
from nearfar.data.rasterfile import rasterio
from nearfar.errors import ConfigError, DataError
from nearfar.evaluate.scene_files import SceneOptions, SceneReader, check_same_grid
from nearfar.spatial.bands import BandWarning

S2, PLAIN = "sentinel2_l2a", SceneOptions()
ALL = slice(0, 8), slice(0, 6)


def grid(rows: int = 8, columns: int = 6, east: float = 500000, epsg: int = 32631, metres: float = 10) -> Grid:
    crs = rasterio().crs.CRS.from_epsg(epsg).to_wkt()
    return Grid((rows, columns), (metres, 0.0, east, 0.0, -metres, 5400000.0), crs)


def stack(
    path: Path, bands: tuple[str, ...], kind: str = "uint16", where: Grid | None = None, step: int = 1000
) -> Path:
    """A file in which band i has the value (i + 1) * step everywhere."""
    where = where or grid()
    pixels = (np.arange(1, len(bands) + 1) * step).astype(kind)[:, None, None] * np.ones(where.shape, kind)
    write_geotiff(path, pixels, where, bands=bands)
    return path


def values(paths: list[Path], wanted: tuple[str, ...], options: SceneOptions = PLAIN) -> list[float]:
    with SceneReader(paths, wanted, S2, options) as reader:
        pixels, valid = reader.read(*ALL)
    assert valid.all()
    assert (pixels == pixels[:, :1, :1]).all()
    return [round(float(value), 6) for value in pixels[:, 0, 0]]


def test_bands_come_by_name_in_the_order_asked_and_as_reflectance(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.tif", ("B02", "b8", "B4"))
    assert values([path], ("B04", "B02", "B08")) == [0.3, 0.1, 0.2]
    assert values([path], ("B04",), SceneOptions(scale=3000)) == [1.0]
    assert values([path], ("B04",), SceneOptions(offset=-1000)) == [0.2]
    assert values([path], ("B04",), SceneOptions(offset=-1000, scale=1000)) == [2.0]


@pytest.mark.parametrize(("kind", "step", "expected"), [("uint8", 51, 0.2), ("float32", 1, 1.0), ("uint16", 1000, 0.1)])
def test_every_type_of_file_has_its_scale(tmp_path: Path, kind: str, step: int, expected: float) -> None:
    assert values([stack(tmp_path / "a.tif", ("B02",), kind, step=step)], ("B02",)) == [expected]


def test_bands_without_names_are_named_by_the_user(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_geotiff(path, np.full((2, 8, 6), 2000, np.uint16), grid())
    with pytest.raises(DataError, match=r"no usable names.*--bands"):
        values([path], ("B04",))
    assert values([path], ("B04",), SceneOptions(bands=("B08", "B04"))) == [0.2]


def test_a_folder_and_several_files_are_a_scene_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for i, name in enumerate(("T31_B04_10m", "T31_B8A_20m", "T31_SCL_20m", "T31_AOT_10m")):
        where = grid(4, 3, metres=20) if "20m" in name else grid()
        write_geotiff(tmp_path / f"{name}.tif", np.full(where.shape, 1000 * (i + 1), np.uint16), where)
    assert values([tmp_path], ("B8A", "B04")) == [0.2, 0.1]
    files = [tmp_path / "T31_B8A_20m.tif", tmp_path / "T31_B04_10m.tif"]
    assert values(files, ("B04", "B8A")) == [0.1, 0.2]
    write_geotiff(tmp_path / "other_B04.tif", np.ones((8, 6), np.uint16), grid())
    with pytest.raises(DataError, match="Two files are band B04"):
        values([tmp_path], ("B04",))


def test_a_stac_item_is_a_scene(tmp_path: Path) -> None:
    for i, band in enumerate(("red", "nir", "thumbnail")):
        write_geotiff(tmp_path / f"{band}.tif", np.full((8, 6), 1000 * (i + 1), np.uint16), grid())
    assets = {band: {"href": f"./{band}.tif"} for band in ("red", "nir", "thumbnail")}
    (tmp_path / "item.json").write_text(json.dumps({"id": "a", "assets": assets}))
    assert values([tmp_path / "item.json"], ("B08", "B04")) == [0.2, 0.1]
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(DataError, match="no STAC item"):
        values([tmp_path / "no.json"], ("B04",))


def test_a_missing_band_gets_its_substitute_with_a_note_or_is_refused(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.tif", ("B02", "B03", "B04", "B8A"))
    with pytest.warns(BandWarning, match="B08"):
        assert values([path], ("B08", "B04", "B8A")) == [0.4, 0.3, 0.4]
    with pytest.raises(DataError, match=r"a\.tif: .*lacks B08 .*B02, B03, B04, B8A.*--sensor"):
        values([path], ("B08",), SceneOptions(missing="error"))
    with pytest.raises(DataError, match="lacks B11 and all"):
        values([stack(tmp_path / "b.tif", ("B02",))], ("B11", "B01"))
    with pytest.raises(ConfigError, match="B99"):
        values([path], ("B99",))


def test_a_scene_of_another_sensor_is_read_by_wavelength(shared_data: Path) -> None:
    folder = shared_data / "landsat8"
    wanted = ("B02", "B03", "B04", "B08", "B11", "B12")
    with SceneReader([folder], wanted, "sentinel2_l1c", SceneOptions(sensor="landsat8")) as reader:
        pixels, valid = reader.read(slice(0, 603), slice(0, 627))
        assert reader.plan.names == ("B2", "B3", "B4", "B5", "B6", "B7")
    whole = read_geotiff([folder / f"l8_B{i}.tif" for i in range(2, 8)])
    np.testing.assert_allclose(pixels, whole.pixels * 2e-5 - 0.1, atol=1e-6)
    assert valid.all()
    with pytest.raises(DataError, match="lacks B02"):
        SceneReader([folder / "l8_BQA.tif"], wanted, "sentinel2_l1c", SceneOptions(sensor="landsat8"))


def test_pixels_without_data(tmp_path: Path) -> None:
    pixels = np.full((1, 8, 6), 7, np.uint16)
    pixels[0, 2, 3], pixels[0, 4, 4] = 0, 9
    write_geotiff(tmp_path / "a.tif", pixels, grid(), bands=("B02",))
    for nodata, at in ((None, (2, 3)), (9, (4, 4))):
        with SceneReader([tmp_path / "a.tif"], ("B02",), S2, SceneOptions(nodata=nodata)) as reader:
            valid = reader.read(*ALL)[1]
        assert not valid[at]
        assert valid.sum() == 47
    write_geotiff(tmp_path / "b.tif", np.zeros((1, 8, 6), np.uint8), grid(), bands=("B02",))
    assert values([tmp_path / "b.tif"], ("B02",)) == [0.0]  # in 8 bits 0 is a dark pixel


@pytest.mark.parametrize("name", ["nothing.tif", "folder"])
def test_what_is_no_scene(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"no such scene|No file is named.*no GeoTIFF"):
        values([tmp_path / name], ("B02",))
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(DataError, match="damaged"):
        values([tmp_path / "text.tif"], ("B02",))


@pytest.mark.parametrize("other", [grid(9, 6), grid(east=500010), grid(epsg=32632), grid(metres=20)])
def test_scenes_on_different_grids_are_refused_with_the_command_that_helps(tmp_path: Path, other: Grid) -> None:
    paths = stack(tmp_path / "a.tif", ("B02",)), stack(tmp_path / "b.tif", ("B02",), where=other)
    readers = [SceneReader([path], ("B02",), S2, SceneOptions()) for path in paths]
    check_same_grid(readers[:1] * 2)
    with pytest.raises(
        DataError, match=r"different grids.*-t_srs 'EPSG:32631' -te 500000 5399920 500060 5400000 -ts 6 8"
    ):
        check_same_grid(readers)
    for reader in readers:
        reader.close()
