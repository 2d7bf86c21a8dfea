"""EuroSAT: band order by name, published lists and the split by longitude, what is wrong with single files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.check import check
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import read_geotiff, write_geotiff
from nearfar.data.readers import READERS
from nearfar.data.sample import band_names
from nearfar.errors import ConfigError, DataError
from nearfar.spatial.bands import band_order

ORDER = band_order("eurosat")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("rasterio")
    return READERS["eurosat"].write_example(tmp_path_factory.mktemp("eurosat") / "data")


@pytest.fixture
def config(written: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(root=Path(shutil.copytree(written, tmp_path / "data")))


def _patch(config: DataConfig, name: str) -> Path:
    return next(Path(config.root or "").rglob(f"{name}.tif"))


def test_the_last_band_of_the_file_is_b8a(config: DataConfig) -> None:
    dataset = open_dataset(config)
    file = read_geotiff(_patch(config, "Forest_1"), names=ORDER)
    sample = dataset[dataset.ids.index("Forest/Forest_1")]
    for name, band in zip(band_names(dataset.channels), sample["image"], strict=True):
        stored = file.pixels[ORDER.index(name)]
        assert np.allclose(band, stored / 10000, atol=1e-6), name
    assert file.pixels[-1].mean() > 2 * file.pixels[8].mean()  # B8A and, before B10, B09
    assert sample["gsd"] == 10.0


def test_bands_are_chosen_by_any_of_their_names(config: DataConfig) -> None:
    whole = open_dataset(config)
    some = open_dataset(replace(config, bands=("nir", "B8A", "b4"), size=32))
    assert some.channels.names == ("s2.B08", "s2.B8A", "s2.B04")
    named = dict(zip(band_names(whole.channels), whole.raw(0)["s2"].transpose(2, 0, 1), strict=True))
    assert np.array_equal(some.raw(0)["s2"][..., 1], named["B8A"])
    assert some[0]["image"].shape == (3, 32, 32)
    assert some[0]["gsd"] == 20.0


def test_published_lists_are_kept(config: DataConfig) -> None:
    root = Path(config.root or "")
    for protocol, kind in (("official", ""), ("spatial", "spatial-")):
        for split in ("train", "val", "test"):
            listed = {Path(name).stem for name in (root / f"eurosat-{kind}{split}.txt").read_text().split()}
            chosen = replace(config, protocol=protocol)
            assert {name.split("/")[1] for name in open_dataset(chosen, split).ids} == listed


def test_without_lists_the_spatial_split_goes_by_longitude(config: DataConfig) -> None:
    config = replace(config, protocol="spatial")
    published = [set(open_dataset(config, split).ids) for split in ("train", "val", "test")]
    for table in Path(config.root or "").glob("*.txt"):
        table.unlink()
    parts = [open_dataset(config, split) for split in ("train", "val", "test")]
    east = [
        [read_geotiff(r.paths[0], names=ORDER).grid.transform[2] for r in part.records]  # type: ignore[attr-defined]
        for part in parts
    ]
    assert max(east[0]) < min(east[1])
    assert max(east[1]) < min(east[2])
    assert sum(map(len, parts)) == sum(map(len, published))
    _patch(config, "Forest_1").write_bytes(b"II*\0")
    with pytest.raises(DataError, match=r"Forest_1\.tif"):
        open_dataset(config)


def test_an_unknown_protocol(config: DataConfig) -> None:
    with pytest.raises(ConfigError, match="Did you mean spatial"):
        open_dataset(replace(config, protocol="spacial"))


def test_lists_and_folders_that_disagree_are_told(config: DataConfig) -> None:
    root = Path(config.root or "")
    _patch(config, "River_1").unlink()
    shutil.copy(_patch(config, "River_2"), _patch(config, "River_2").with_name("River_99.tif"))
    whats = {p.what: p.fatal for p in check(config)}
    assert whats["1 patches of the lists are not there, such as River_1"] is False
    assert whats["1 patches are in no list"] is False
    (root / "eurosat-train.txt").unlink()
    with pytest.raises(DataError, match=r"there are but eurosat-val\.txt, eurosat-test\.txt"):
        open_dataset(config)


def test_check_names_what_is_wrong_with_a_file(config: DataConfig) -> None:
    whole = read_geotiff(_patch(config, "Forest_2"), names=ORDER)
    pixels = whole.pixels.astype(np.float32)
    pixels[3, 5, 5] = np.nan
    write_geotiff(_patch(config, "Forest_2"), pixels, whole.grid)
    write_geotiff(_patch(config, "Highway_1"), whole.pixels[:10], whole.grid)
    write_geotiff(_patch(config, "Pasture_1"), np.zeros_like(whole.pixels), whole.grid)
    path = _patch(config, "SeaLake_3")
    path.write_bytes(path.read_bytes()[:3000])
    told = {Path(p.path).name: p.what for p in check(config)}
    assert "NaN or infinite" in told["Forest_2.tif"]
    assert "no usable names" in told["Highway_1.tif"] or "names" in told["Highway_1.tif"]
    assert "no pixel has data" in told["Pasture_1.tif"]
    assert "damaged" in told["SeaLake_3.tif"]
    with pytest.raises(DataError, match=r"Forest_2\.tif.*NaN"):
        dataset = open_dataset(config)
        dataset[dataset.ids.index("Forest/Forest_2")]


def test_colour_files_have_three_bands(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    for name in ("Forest", "River"):
        (tmp_path / "2750" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "2750" / name / f"{name}_{number}.jpg", quality=95, subsampling=0)
    dataset = open_dataset(DataConfig(root=tmp_path))
    assert dataset.channels.names == ("s2.B02", "s2.B03", "s2.B04")
    read = np.asarray(Image.open(tmp_path / "2750/Forest/Forest_0.jpg"))
    expected = torch.from_numpy(read[..., ::-1].transpose(2, 0, 1).copy()) / 255
    assert torch.allclose(dataset[0]["image"], expected, atol=2 / 255)


def test_a_missing_band_has_its_stand_in_or_an_error(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    grid = Grid((64, 64), (10.0, 0.0, 5e5, 0.0, -10.0, 5e6), rasterio.crs.CRS.from_epsg(32631).to_wkt())
    for name in ("Forest", "River"):
        (tmp_path / name).mkdir()
        for number in range(4):
            pixels = np.random.default_rng(number).integers(1, 3000, (3, 64, 64)).astype(np.uint16)
            write_geotiff(tmp_path / name / f"{name}_{number}.tif", pixels, grid, bands=("B8A", "B03", "B02"))
    with pytest.warns(UserWarning, match="B08"):
        dataset = open_dataset(DataConfig(root=tmp_path, bands=("B08", "B03")))
    assert dataset.channels.names == ("s2.B8A", "s2.B03")
    with pytest.raises(DataError, match="lacks B11"):
        open_dataset(DataConfig(root=tmp_path, bands=("B11", "B03")))
