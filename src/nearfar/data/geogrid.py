"""Grids of rasters on the ground, and bilinear interpolation between them that does not depend on windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie."""

    shape: tuple[int, int]
    """rows, columns"""
    transform: Transform
    """affine (a, b, c, d, e, f): x = a column + b row + c, y = d column + e row + f, of a pixel's upper left corner"""
    crs: str | None
    """coordinate reference system as WKT; None where the file has none"""


@dataclass(frozen=True)
class Axis:
    """How the n pixels of a window lie among those of a coarser band, along one axis."""

    start: int
    """the coarser pixels to read, `start` to `stop`"""
    stop: int
    low: Array
    """int [n], the neighbour before each pixel's centre, counted from `start`"""
    high: Array
    """int [n], the neighbour behind it"""
    weight: Array
    """float [n], the share of `high`"""
    nearest: Array
    """int [n], the coarser pixel that contains the centre"""
    inside: NDArray[np.bool_]
    """[n], whether the coarser band reaches that far"""

    @property
    def exact(self) -> bool:
        """Whether no value lies between two others."""
        return bool((self.weight == 0).all())

    @classmethod
    def map(cls, window: slice, fine: tuple[float, float], coarse: tuple[float, float], size: int) -> Axis:
        """`fine`, `coarse`: (pixel size, origin) in the same ground units; `size`: pixels of the coarser band."""
        # Rounded, because grids of metres and of degrees must both meet their own pixel centres exactly.
        at = ((np.arange(window.start, window.stop) + 0.5) * fine[0] + fine[1] - coarse[1]) / coarse[0]
        at = np.round(at, 6)
        centre = np.clip(at - 0.5, 0, size - 1)
        low = np.floor(centre).astype(int)
        high = np.minimum(low + 1, size - 1)
        nearest = np.clip(np.floor(at).astype(int), 0, size - 1)
        start, stop = int(min(low.min(), nearest.min())), int(max(high.max(), nearest.max())) + 1
        inside = (at >= 0) & (at < size)
        return cls(start, stop, low - start, high - start, centre - low, nearest - start, inside)


def interpolate(values: Array, known: NDArray[np.bool_], down: Axis, right: Axis) -> Array:
    """Bilinear values of a window, same dtype, from what `down` and `right` say to read of a coarser band.

    Pixels that are not `known` take no part; a value with no known neighbour is 0.
    """
    total: Any = 0.0
    weights: Any = 0.0
    clean = np.where(known, values, 0).astype(np.float64)
    for rows, a in ((down.low, 1 - down.weight), (down.high, down.weight)):
        for cols, b in ((right.low, 1 - right.weight), (right.high, right.weight)):
            place = rows[:, None], cols[None]
            weight = a[:, None] * b[None] * known[place]
            total, weights = total + weight * clean[place], weights + weight
    mean = total / np.where(weights > 0, weights, 1)
    return np.asarray(mean if values.dtype.kind == "f" else np.round(mean)).astype(values.dtype)
