"""Time series of places: a sample is a place, of which some dates and one window are drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.data.cache import SampleCache
from nearfar.data.dataset import CACHE_BYTES, Key, Record, SampleDataset
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import GeoScene
from nearfar.data.naming import day_of
from nearfar.data.optics import Optics, metres_a_pixel
from nearfar.data.sample import Sample
from nearfar.errors import DataError

_WHOLE = 64 * 2**20
"""bytes up to which a date is read and kept whole; larger ones are read window by window"""
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Ground:
    """What is remembered of a date without its pixels."""

    grid: Grid
    gsd: float

    @classmethod
    def of(cls, scene: GeoScene, default: float) -> Ground:
        """`default`: metres a pixel where the files do not say."""
        grid = scene.grid
        # Thousands of files share one text.
        grid = Grid(grid.shape, grid.transform, None if grid.crs is None else sys.intern(grid.crs))
        return cls(grid, metres_a_pixel(grid, default))


class SeriesDataset(SampleDataset):
    """Places seen at several dates.

    Args:
        records: one a place; `paths` are its dates in order of time, each a file of several bands or a folder of files
            of one, with the date in its name.
        optics: which bands, and what makes them reflectance.
        root: the folder, for messages.
        size: height and width of the window, in pixels of the finest band; nothing is resized.
        dates: how many different dates a sample has; 0: all, so that places must have equally many.
        cache_bytes: memory for decoded dates, kept in the type of the files; 0 turns it off.

    A sample has `series` [T, C, size, size] in reflectance, `days` [T], `valid` [T, size, size], `gsd`, and
    `image`, which is series[0]. Dates and window are a function of the key's seed; seed 0 takes the first dates in
    order and the window at the centre. A pixel that is not valid is 0.

    While reading, DataError names the place, date or file that is damaged, lacks a band, is smaller than the window,
    or lies on another grid than the place's other dates.
    """

    def __init__(
        self,
        records: Sequence[Record],
        optics: Optics,
        classes: Sequence[str] = (),
        root: Path | None = None,
        *,
        size: int = 64,
        dates: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.records, self.optics, self.classes, self.root = list(records), optics, tuple(classes), root
        self.channels = optics.named_channels()
        self.size, self.dates, self.has_masks = size, dates, False
        self._take_columns(self.records)
        self._finest = min(optics.sensor.band(name).resolution_m for name in optics.channels)
        self._cache = SampleCache(cache_bytes)
        self._grounds: dict[Path, Ground] = {}
        _enough_dates(self.records, dates)

    def __getitem__(self, key: int | Key) -> Sample:
        index, seed = self._place(key)
        record = self.records[index]
        rng = np.random.default_rng(seed & _MASK) if seed else None
        paths = self._draw(record, rng)
        ground = self._ground(paths[0])
        rows, cols = draw_window(ground.grid.shape, self.size, rng, "place", record.paths[0])
        series, valid = self._stack(record, paths, rows, cols)
        sample = Sample(
            image=series[0],
            index=index,
            label=int(self.labels[index]),
            id=record.id,
            group=record.group,
            seed=int(seed),
            series=series,
            days=torch.tensor([day_of(path).toordinal() for path in paths]),
            valid=valid,
            gsd=ground.gsd,
        )
        if (self.true_labels >= 0).any():
            sample["true_label"] = int(self.true_labels[index])
        return sample

    def raw(self, index: int) -> dict[str, NDArray[Any]]:
        """The whole first date in the type of its files, [H, W, C]."""
        pixels, _ = self._read(self.records[index].paths[0], None)
        return {next(iter(self.channels.modalities)): np.moveaxis(pixels, 0, -1)}

    def subset(self, indices: Iterable[int]) -> Self:
        chosen = [self.records[int(i)] for i in indices]
        other = type(self)(chosen, self.optics, self.classes, self.root, size=self.size, dates=self.dates)
        other._cache, other._grounds = self._cache, self._grounds
        return other

    def _draw(self, record: Record, rng: np.random.Generator | None) -> list[Path]:
        count = self.dates or len(record.paths)
        if rng is None or not self.dates:
            return list(record.paths[:count])
        return [record.paths[i] for i in rng.permutation(len(record.paths))[:count]]

    def _stack(self, record: Record, paths: Sequence[Path], rows: slice, cols: slice) -> tuple[Tensor, Tensor]:
        pixels = np.empty((len(paths), len(self.channels), self.size, self.size), np.float32)
        valid = np.empty((len(paths), self.size, self.size), bool)
        for t, path in enumerate(paths):
            numbers, valid[t] = self._read(path, (rows, cols))
            same_ground(self._grounds[path], self._grounds[paths[0]], path, paths[0])
            pixels[t] = np.where(valid[t], self.optics.reflectance(numbers), 0)
        return torch.from_numpy(pixels), torch.from_numpy(valid)

    def _ground(self, path: Path) -> Ground:
        if path not in self._grounds:
            with self.optics.open(path) as scene:
                self._grounds[path] = Ground.of(scene, self._finest)
        return self._grounds[path]

    def _read(self, path: Path, window: tuple[slice, slice] | None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(pixels [C, h, w] as stored, valid [h, w]) of a window, or of the whole."""
        kept = self._cache.get(path)
        if kept is not None and kept[1] is not None:
            pixels, valid = kept[0].numpy(), kept[1].numpy()
            return (pixels, valid) if window is None else (pixels[:, *window], valid[window])
        with self.optics.open(path) as scene:
            ground = self._grounds[path] = Ground.of(scene, self._finest)
            height, width = ground.grid.shape
            everything = slice(0, height), slice(0, width)
            if window is not None and height * width * len(scene.bands) * scene.dtype.itemsize > _WHOLE:
                return scene.read(*window)
            pixels, valid = scene.read(*everything)
        self._cache.put(path, (torch.from_numpy(pixels), torch.from_numpy(valid)))
        return (pixels, valid) if window is None else (pixels[:, *window], valid[window])


def same_ground(one: Ground, other: Ground, path: Path, reference: Path) -> None:
    """Raises DataError where two dates of a place do not lie on one grid (to half a pixel)."""
    a, b = one.grid, other.grid
    if a.crs != b.crs:
        raise DataError(
            f"two dates of a place lie in different reference systems ({reference.name} in another)",
            where=path,
            fix="Warp them to one grid.",
        )
    corners = [[t[2], t[5], t[2] + t[0] * g.shape[1], t[5] + t[4] * g.shape[0]] for g in (a, b) for t in [g.transform]]
    steps = np.abs([b.transform[0], b.transform[4]] * 2)
    if a.shape != b.shape or (np.abs(np.subtract(corners[0], corners[1])) > 0.5 * steps).any():
        raise DataError(
            f"two dates of a place lie on different grids ({reference.name} on another)",
            where=path,
            found=f"{a.shape[1]} x {a.shape[0]} pixels at {corners[0][:2]}",
            expected=f"{b.shape[1]} x {b.shape[0]} at {corners[1][:2]}",
            fix="Warp them to one grid.",
        )


def draw_window(
    shape: tuple[int, int], size: int, rng: np.random.Generator | None, what: str, path: Path
) -> tuple[slice, slice]:
    """Rows and columns of a window of size x size pixels in `shape`, without `rng` its centre. Raises DataError."""
    if min(shape) < size:
        raise DataError(
            f"the {what} is smaller than the window",
            where=path,
            found=f"{shape[1]} x {shape[0]} pixels",
            expected=f"at least {size}",
            fix=f"Set --data.size to {min(shape)} or less.",
        )
    top, left = (int(rng.integers(n - size + 1)) if rng else (n - size) // 2 for n in shape)
    return slice(top, top + size), slice(left, left + size)


def _enough_dates(records: Sequence[Record], dates: int) -> None:
    counts = {len(record.paths) for record in records}
    if dates == 0 and len(counts) > 1:
        least = min(counts)
        few = next(record for record in records if len(record.paths) == least)
        raise DataError(
            "places have different numbers of dates",
            where=few.id,
            found=f"{least} and {max(counts)}",
            fix=f"Set --data.dates to {least} or less: so many are drawn for a sample.",
        )
    for record in records:
        if len(record.paths) < dates:
            raise DataError(
                "the place has too few dates",
                where=record.id,
                found=len(record.paths),
                expected=f"at least {dates} (data.dates)",
                fix="Lower --data.dates, or remove the place.",
            )


__all__ = ["Ground", "SeriesDataset", "same_ground"]
