"""A sample is a place: dates and window from the seed, one window for all dates, coarse bands on the fine grid."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar.config import DataConfig
from nearfar.data import Key, channel_statistics, make_loader
from nearfar.data import series as module
from nearfar.data.dataset import Record
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import read_geotiff, write_geotiff
from nearfar.data.optics import Optics
from nearfar.data.series import SeriesDataset
from nearfar.errors import DataError

DATES = ("20200101", "2020-03-05", "20200601", "2021-01-01")


def _grid(size: int, metres: float = 10, x: float = 5e5, epsg: int = 32631) -> Grid:
    rasterio = pytest.importorskip("rasterio")
    return Grid((size, size), (metres, 0.0, x, 0.0, -metres, 5e6), rasterio.crs.CRS.from_epsg(epsg).to_wkt())


def _place(root: Path, name: str, dates: tuple[str, ...] = DATES, size: int = 24, seed: int = 0) -> Record:
    """B02 tells date, row and column of every pixel: 1000 t + 30 row + column."""
    rng = np.random.default_rng(seed)
    row, col = np.mgrid[:size, :size]
    for t, day in enumerate(dates):
        folder = root / name / day
        folder.mkdir(parents=True)
        write_geotiff(folder / "B2.tif", (1 + 1000 * t + 30 * row + col).astype(np.uint16), _grid(size))
        coarse = rng.integers(1, 5000, (size // 2, size // 2)).astype(np.uint16)
        write_geotiff(folder / "B11.tif", coarse, _grid(size // 2, 20))
    return Record(name, tuple(root / name / day for day in dates), group=name)


def _dataset(root: Path, records: list[Record], **options: int) -> SeriesDataset:
    optics = Optics.of(DataConfig(), records[0].paths[0], "sentinel2_l2a")
    return SeriesDataset(records, optics, (), root, **{"size": 8, "dates": 3, **options})


@pytest.fixture
def dataset(tmp_path: Path) -> SeriesDataset:
    pytest.importorskip("rasterio")
    return _dataset(tmp_path, [_place(tmp_path, name, seed=k) for k, name in enumerate("ab")])


def _where(sample: dict) -> list[tuple[int, int, int]]:
    """(date, row, column) of each date's first pixel."""
    numbers = torch.round(sample["series"][:, 0, 0, 0] * 10000).long() - 1
    return [(int(n) // 1000, int(n) % 1000 // 30, int(n) % 1000 % 30) for n in numbers]


def test_seed_0_takes_the_first_dates_and_the_centre(dataset: SeriesDataset) -> None:
    sample = dataset[0]
    assert _where(sample) == [(0, 8, 8), (1, 8, 8), (2, 8, 8)]
    assert torch.equal(sample["image"], sample["series"][0])
    assert sample["days"].tolist() == [date(2020, m, d).toordinal() for m, d in ((1, 1), (3, 5), (6, 1))]
    assert (sample["gsd"], sample["group"], sample["label"]) == (10.0, "a", -1)
    assert sample["valid"].shape == (3, 8, 8)
    assert sample["valid"].all()


def test_dates_are_different_and_share_a_window(dataset: SeriesDataset) -> None:
    windows, orders = set(), set()
    for seed in range(1, 300):
        where = _where(dataset[Key(1, seed)])
        assert len({t for t, _, _ in where}) == 3
        assert len({(row, col) for _, row, col in where}) == 1
        windows.add(where[0][1:])
        orders.add(tuple(t for t, _, _ in where))
    assert len(windows) > 50
    assert len(orders) == 24  # every choice and order of three of four dates
    assert {row for row, _ in windows} == set(range(17))
    assert torch.equal(dataset[Key(1, 5)]["series"], dataset[Key(1, 5)]["series"])


def test_coarse_bands_are_those_of_the_whole_scene(dataset: SeriesDataset) -> None:
    sample = dataset[Key(0, 7)]
    date_, row, col = _where(sample)[0]
    path = dataset.records[0].paths[date_]
    whole = read_geotiff(sorted(path.glob("*.tif")), ["B02", "B11"]).pixels[1]
    assert np.allclose(sample["image"][1], whole[row : row + 8, col : col + 8] / 10000)


def test_large_scenes_are_read_in_windows_with_the_same_values(
    dataset: SeriesDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dataset[Key(0, 3)]
    monkeypatch.setattr(module, "_WHOLE", 10)
    other = _dataset(Path(str(dataset.root)), dataset.records)
    assert torch.equal(other[Key(0, 3)]["series"], whole["series"])
    assert other._cache.used == 0
    assert dataset._cache.used > 0


def test_the_cache_keeps_the_type_of_the_files(dataset: SeriesDataset) -> None:
    dataset[0]
    assert dataset._cache.used == 3 * (2 * 2 + 1) * 24 * 24
    assert dataset.raw(0)["s2"].dtype == np.uint16
    assert dataset.raw(0)["s2"].shape == (24, 24, 2)


def test_all_dates_come_in_order_of_time(dataset: SeriesDataset) -> None:
    every = _dataset(Path(str(dataset.root)), dataset.records, dates=0)
    for seed in (0, 9):
        assert [t for t, _, _ in _where(every[Key(0, seed)])] == [0, 1, 2, 3]


def test_too_few_dates_name_the_place(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    records = [_place(tmp_path, "a"), _place(tmp_path, "b", DATES[:2])]
    assert len(_dataset(tmp_path, records, dates=2)) == 2
    with pytest.raises(DataError, match=r"b: the place has too few dates \(found 2, expected at least 3"):
        _dataset(tmp_path, records)
    with pytest.raises(DataError, match=r"b: places have different numbers of dates.*--data\.dates to 2"):
        _dataset(tmp_path, records, dates=0)


def test_a_place_smaller_than_the_window(dataset: SeriesDataset) -> None:
    with pytest.raises(DataError, match=r"a/20200101: the place is smaller.*24 x 24.*--data\.size to 24"):
        _dataset(Path(str(dataset.root)), dataset.records, size=25)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsg": 32632}, "different reference systems"),
        ({"x": 5e5 + 6}, "different grids"),
        ({"metres": 9}, "different grids"),
    ],
)
def test_dates_on_other_grids_are_refused(dataset: SeriesDataset, change: dict, message: str) -> None:
    folder = dataset.records[0].paths[1]
    (folder / "B11.tif").unlink()
    for name in ("B2", "B11"):
        write_geotiff(folder / f"{name}.tif", np.ones((24, 24), np.uint16), _grid(24, **change))
    with pytest.raises(DataError, match=f"2020-03-05: two dates of a place lie (in|on) {message}"):
        dataset[0]


def test_half_a_pixel_of_rounding_is_no_other_grid(dataset: SeriesDataset) -> None:
    folder = dataset.records[0].paths[1]
    write_geotiff(folder / "B2.tif", np.ones((24, 24), np.uint16), _grid(24, x=5e5 + 4))
    assert dataset[0]["series"].shape == (3, 2, 8, 8)


def test_a_missing_band_and_a_damaged_file_are_named(dataset: SeriesDataset) -> None:
    first, second = (record.paths[0] for record in dataset.records)
    (first / "B11.tif").unlink()
    with pytest.raises(DataError, match=r"a/20200101: The scene has no band B11"):
        dataset[0]
    (second / "B2.tif").write_bytes((second / "B2.tif").read_bytes()[:500])
    with pytest.raises(DataError, match=r"b/20200101/B2\.tif: The file is damaged"):
        dataset[1]


def test_pixels_without_data_are_0_and_not_counted(dataset: SeriesDataset) -> None:
    for path in dataset.records[0].paths[:3]:
        pixels = np.full((24, 24), 2000, np.uint16)
        pixels[:, 12:] = 0
        write_geotiff(path / "B2.tif", pixels, _grid(24))
    sample = dataset[0]
    assert sample["valid"][0].tolist() == [[True] * 4 + [False] * 4] * 8
    assert (sample["series"][:, :, ~sample["valid"][0]] == 0).all()
    mean, std = channel_statistics(dataset.subset([0]))
    assert mean[0] == pytest.approx(0.2)
    assert std[0] == 1


def test_subsets_share_the_cache_and_batches_are_collated(dataset: SeriesDataset) -> None:
    part = dataset.subset([1])
    assert part.ids == ("b",)
    assert part._cache is dataset._cache
    batch = next(iter(make_loader(dataset, batch_size=2)))
    assert batch["series"].shape == (2, 3, 2, 8, 8)
    assert batch["days"].shape == (2, 3)
    assert batch["gsd"].dtype == torch.float32
    assert batch["gsd"].tolist() == [10.0, 10.0]
    with pytest.raises(IndexError):
        dataset[2]
