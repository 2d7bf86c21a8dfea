"""Scenes that show the same ground, so that a split by place keeps them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nearfar.data.dataset import Record
from nearfar.data.geogrid import Grid
from nearfar.data.split import merged


@dataclass(frozen=True)
class Footprint:
    """The ground of a raster, in units of its reference system."""

    crs: str | None
    west: float
    south: float
    east: float
    north: float

    @classmethod
    def of(cls, grid: Grid) -> Footprint | None:
        """None of a raster that does not say where it lies."""
        a, _, c, _, e, f = grid.transform
        if grid.crs is None:
            return None
        x, y = sorted((c, c + a * grid.shape[1])), sorted((f, f + e * grid.shape[0]))
        return cls(grid.crs, x[0], y[0], x[1], y[1])


def overlapping(footprints: Sequence[Footprint | None]) -> list[int]:
    """One number a footprint; equal where two overlap, directly or by way of others. Touching is not overlapping.

    Footprints of different reference systems are taken to be apart.
    """
    groups = np.arange(len(footprints))
    by_crs: dict[str, list[int]] = {}
    for i, print_ in enumerate(footprints):
        if print_ is not None:
            by_crs.setdefault(print_.crs or "", []).append(i)
    parents = list(range(len(footprints)))
    for members in by_crs.values():
        boxes = np.array([[p.west, p.south, p.east, p.north] for p in (footprints[i] for i in members) if p])
        slack = 1e-6 * np.abs(boxes[:, 2:] - boxes[:, :2]).min()
        for k, (west, south, east, north) in enumerate(boxes):
            rest = boxes[k + 1 :]
            apart = (rest[:, 0] >= east - slack) | (rest[:, 2] <= west + slack)
            apart |= (rest[:, 1] >= north - slack) | (rest[:, 3] <= south + slack)
            for other in np.flatnonzero(~apart):
                _join(parents, members[k], members[k + 1 + int(other)])
    groups = np.array([_root(parents, i) for i in range(len(parents))])
    return [int(g) for g in groups]


def grouped_by_place(records: Sequence[Record], grids: Sequence[Grid]) -> list[Record]:
    """The records, those of one ground (or already of one group) with one group; a record alone keeps its own."""
    footprints = [Footprint.of(grid) for grid in grids]
    together = merged([record.group for record in records], np.array(overlapping(footprints), np.int64))
    first = {int(number): records[i].group or records[i].id for i, number in reversed(list(enumerate(together)))}
    return [replace(record, group=first[int(number)]) for record, number in zip(records, together, strict=True)]


def _root(parents: list[int], i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


def _join(parents: list[int], a: int, b: int) -> None:
    parents[_root(parents, b)] = _root(parents, a)
