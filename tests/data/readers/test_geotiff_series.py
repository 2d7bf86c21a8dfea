"""One's own series: a file a date, or a folder a date; any sensor; overlapping places in one split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.check import check
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import write_geotiff
from nearfar.data.readers import find_reader
from nearfar.data.synthetic.sentinel_scenes import write_series


@pytest.fixture(autouse=True)
def _rasterio() -> None:
    pytest.importorskip("rasterio")


def _write(path: Path, pixels: np.ndarray, bands: tuple[str, ...] = (), x: float = 5e5) -> None:
    rasterio = pytest.importorskip("rasterio")
    path.parent.mkdir(parents=True, exist_ok=True)
    crs = rasterio.crs.CRS.from_epsg(32616).to_wkt()
    write_geotiff(path, pixels, Grid(pixels.shape[-2:], (30.0, 0.0, x, 0.0, -30.0, 5e6), crs), bands=bands)


def test_a_file_a_date_with_clouds_as_nodata(tmp_path: Path) -> None:
    root = write_series(tmp_path / "data", places=5, size=48)
    assert find_reader("auto", root).name == "geotiff_series"
    dataset = open_dataset(DataConfig(root=root, size=48))
    assert dataset.channels.names == ("s2.B02", "s2.B03", "s2.B04", "s2.B08")
    shares = [dataset[i]["valid"].float().mean(dim=(1, 2)) for i in range(5)]
    assert all(share[0] == share[2] == 1 for share in shares)
    assert any(share[1] < 1 for share in shares)
    assert (dataset[0]["days"].diff() > 0).all()


def test_another_sensor_with_a_folder_a_date(tmp_path: Path) -> None:
    for place in "abc":
        for day in ("20200101", "20200801"):
            for k in (2, 4, 5):
                pixels = np.full((16, 16), 5000 + 5000 * k, np.uint16)
                pixels[0, 0] += ord(place)
                _write(tmp_path / place / day / f"LC08_{day}_B{k}.tif", pixels, x=5e5 + 1e4 * ord(place))
    config = DataConfig(root=tmp_path, sensor="landsat8", size=8)
    dataset = open_dataset(config)
    assert dataset.channels.names == ("landsat8.B2", "landsat8.B4", "landsat8.B5")
    assert dataset[0]["image"][:, 4, 4].tolist() == pytest.approx([0.2, 0.4, 0.5])
    assert dataset[0]["gsd"] == 30.0
    assert open_dataset(replace(config, bands=("nir", "red"))).channels.names == ("landsat8.B5", "landsat8.B4")


def test_nameless_bands_are_named_in_order(tmp_path: Path) -> None:
    for place in range(3):
        for day in ("2020-01-01", "2020-08-01"):
            pixels = np.random.default_rng(place).integers(1, 99, (2, 16, 16)).astype(np.uint16)
            _write(tmp_path / f"p{place}/{day}.tif", pixels, x=5e5 + 1e4 * place)
    assert any("no usable names" in p.what for p in check(DataConfig(root=tmp_path)))
    dataset = open_dataset(DataConfig(root=tmp_path, bands=("B8A", "B11"), size=8))
    assert dataset.channels.names == ("s2.B8A", "s2.B11")


def test_overlapping_places_stay_in_one_split(tmp_path: Path) -> None:
    for place in range(10):
        for day in ("20200101", "20200801"):
            pixels = np.random.default_rng(place).integers(1, 99, (1, 16, 16)).astype(np.uint16)
            _write(tmp_path / f"p{place}/{day}.tif", pixels, ("B04",), x=5e5 + 1e4 * (place // 2) + 60 * place)
    for seed in range(4):
        config = DataConfig(root=tmp_path, size=8, split_seed=seed)
        split = {r.id: r.split for r in open_dataset(config).records}  # type: ignore[attr-defined]
        assert all(split[f"p{2 * k}"] == split[f"p{2 * k + 1}"] for k in range(5))
        assert len(set(split.values())) == 3


def test_a_damaged_first_file_is_named(tmp_path: Path) -> None:
    root = write_series(tmp_path / "data", places=3, dates=2, size=48)
    first = sorted((root / "place0").iterdir())[0]
    first.write_bytes(first.read_bytes()[:60])
    (root / "place1" / "mosaic.tif").touch()
    other = sorted((root / "place2").iterdir())[1]
    other.write_bytes(other.read_bytes()[:60])
    problems = check(DataConfig(root=root))
    told = {Path(p.path).name: p.what for p in problems}
    assert len(problems) == 3
    assert "damaged" in told[first.name]
    assert "damaged" in told[other.name]
    assert "the name has no date" in told["mosaic.tif"]
