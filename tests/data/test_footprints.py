"""Scenes that overlap are of one place."""

from __future__ import annotations

from pathlib import Path

from nearfar.data.dataset import Record
from nearfar.data.footprints import Footprint, grouped_by_place, overlapping
from nearfar.data.geogrid import Grid


def _grid(x: float, y: float, crs: str | None = "utm", size: int = 10) -> Grid:
    return Grid((size, size), (1.0, 0.0, x, 0.0, -1.0, y), crs)


def test_overlap_passes_on_and_touching_is_apart() -> None:
    grids = [_grid(0, 0), _grid(30, 0), _grid(9, 5), _grid(18, 0), _grid(10, 30), _grid(20, 30), _grid(0, 0, "other")]
    groups = overlapping([Footprint.of(grid) for grid in grids])
    assert groups[0] == groups[2] == groups[3]
    assert len(set(groups)) == 5
    assert groups[4] != groups[5]  # one ends where the other starts


def test_rasters_without_a_place_are_apart() -> None:
    assert Footprint.of(_grid(0, 0, None)) is None
    assert len(set(overlapping([None, None, Footprint.of(_grid(0, 0))]))) == 3


def test_south_up_rasters_have_the_same_ground() -> None:
    up = Grid((10, 10), (1.0, 0.0, 0.0, 0.0, 1.0, -10.0), "utm")
    assert Footprint.of(up) == Footprint.of(_grid(0, 0))


def test_records_of_one_ground_get_one_group() -> None:
    records = [
        Record(name, (Path(name),), group=group) for name, group in (("a", ""), ("b", "g"), ("c", ""), ("d", "g"))
    ]
    grids = [_grid(0, 0), _grid(100, 0), _grid(5, 5), _grid(200, 0)]
    groups = [r.group for r in grouped_by_place(records, grids)]
    assert groups[0] == groups[2] != ""
    assert groups[1] == groups[3] == "g"
    assert groups[0] != "g"
