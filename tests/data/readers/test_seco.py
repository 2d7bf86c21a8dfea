"""SeCo and CACo: places, dates, band names without zeros, and what is wrong with a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearfar.config import DataConfig
from nearfar.data import Key, open_dataset
from nearfar.data.check import check
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import read_geotiff, write_geotiff
from nearfar.data.readers import find_reader
from nearfar.data.sample import band_names
from nearfar.data.synthetic.sentinel_layouts import SECO_BANDS, write_seco
from nearfar.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("rasterio")
    return write_seco(tmp_path_factory.mktemp("seco") / "data", places=6, size=48)


@pytest.fixture
def config(written: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(root=Path(shutil.copytree(written, tmp_path / "data")), size=32, dates=2)


def _dates(config: DataConfig, place: int = 0) -> list[Path]:
    return sorted((Path(config.root or "") / f"{place:06d}").iterdir())


def test_all_bands_have_their_names(config: DataConfig) -> None:
    dataset = open_dataset(config)
    names = band_names(dataset.channels)
    assert set(names) == {"B8A" if n == "B8A" else f"B{int(n[1:]):02d}" for n in SECO_BANDS}
    assert len(dataset) == 6  # neither the truth nor a preview is a place
    sample = dataset[0]
    for name in ("B04", "B08", "B12"):
        short = f"B{int(name[1:])}"
        files = [_dates(config)[0] / f"{n}.tif" for n in ("B2", short)]
        stored = read_geotiff(files, ["B02", name]).pixels[1]
        assert np.allclose(sample["image"][names.index(name)], stored[8:40, 8:40] / 255)
    assert sample["gsd"] == pytest.approx(10, abs=0.01)


def test_places_are_split_never_dates(config: DataConfig) -> None:
    parts = [open_dataset(config, split) for split in ("train", "val", "test")]
    assert sorted(sum((part.groups for part in parts), ())) == [f"{k:06d}" for k in range(6)]


def test_ten_dates_are_two_halves_by_their_days(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    root = write_seco(tmp_path / "caco", places=1, dates=10, size=48)
    assert find_reader("auto", root).name == "seco"
    days = open_dataset(DataConfig(root=root, size=16))[Key(0, 4)]["days"]
    assert len(days) == 10
    assert (days.diff() > 0).all()
    assert days[5] - days[4] > 365


def test_previews_and_second_looks_at_a_day_are_not_read(config: DataConfig) -> None:
    first = _dates(config)[0]
    shutil.copy(first / "B4.tif", first.with_suffix(".tif"))
    shutil.copytree(first, first.with_name(f"{first.name[:8]}T999999_again"))
    (first.parent / "notes").mkdir()
    (problem,) = check(config)
    assert "the same day as" in problem.what
    assert not problem.fatal
    assert len(open_dataset(config).records[0].paths) == 5  # type: ignore[attr-defined]


def _rewrite(folder: Path, change: Callable[[Grid], Grid]) -> None:
    for path in folder.glob("*.tif"):
        whole = read_geotiff(path)
        write_geotiff(path, whole.pixels, change(whole.grid))


def test_check_names_every_damaged_file(config: DataConfig) -> None:
    damaged = _dates(config, 0)[1] / "B8.tif"
    damaged.write_bytes(damaged.read_bytes()[:60])
    (_dates(config, 1)[2] / "B11.tif").unlink()
    utm = pytest.importorskip("rasterio").crs.CRS.from_epsg(32631).to_wkt()
    _rewrite(_dates(config, 2)[3], lambda grid: replace(grid, crs=utm))
    _rewrite(
        _dates(config, 4)[4], lambda grid: replace(grid, transform=(*grid.transform[:2], 9.0, *grid.transform[3:]))
    )
    for path in _dates(config, 5)[1:]:
        shutil.rmtree(path)
    told = {str(Path(p.path).relative_to(config.root or "")): p.what for p in check(config) if p.fatal}
    assert len(told) == 5
    names = [d.name for d in _dates(config, 0)]
    assert "damaged" in told[f"000000/{names[1]}/B8.tif"]
    assert "no band B11" in told[f"000001/{_dates(config, 1)[2].name}"]
    assert "different reference systems" in told[f"000002/{_dates(config, 2)[3].name}"]
    assert "different grids" in told[f"000004/{_dates(config, 4)[4].name}"]
    assert "1 dates, and 2 are to be drawn" in told["000005"]
    with pytest.raises(DataError, match=r"B8\.tif"):
        dataset = open_dataset(replace(config, dates=1))
        [dataset[Key(0, seed)] for seed in range(1, 30)]


def test_bands_can_be_chosen_and_b10_has_its_stand_in(config: DataConfig) -> None:
    with pytest.warns(UserWarning, match="B10"):
        dataset = open_dataset(replace(config, bands=("B04", "B10")))
    assert dataset.channels.names == ("s2.B04", "s2.B09")
    with pytest.raises(ConfigError, match="B13"):
        open_dataset(replace(config, bands=("B13",)))
