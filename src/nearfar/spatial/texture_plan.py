"""What local binary patterns need before any pixel is seen: sampling points, their weights, and the maps to codes.

scikit-image takes, for pixel (r, c) and point i, the bilinear value at (r + row_i, c + column_i) in float64, with
offsets rounded to five decimals and zeros outside the image. The weights of a row depend on (r, i) alone and those of a
column on (c, i) alone, so tables of them hold the same float64 numbers; points that share a column offset share the
horizontal half of the work (9 columns for 16 points).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

METHODS = ("default", "ror", "uniform", "nri_uniform", "var")
TABLE_POINTS = 16
"""up to here a table of 2^P codes is smaller than what it saves"""

Floats = NDArray[np.float64]


class Axis(NamedTuple):
    """Sampling along one axis of n pixels: point i of pixel k lies between k + floor[i] and k + ceil[i]."""

    floor: tuple[int, ...]
    ceil: tuple[int, ...]
    near: Floats
    """[P, n]: weight of the floor"""
    far: Floats
    """[P, n]: weight of the ceil"""


class Plan(NamedTuple):
    """All that depends on points, radius and image size only."""

    points: int
    margin: int
    """how far a sample can lie outside the image"""
    rows: Axis
    columns: Axis
    groups: tuple[tuple[int, ...], ...]
    """points with the same column offset"""


def sample_points(points: int, radius: float) -> tuple[Floats, Floats]:
    """Row and column offsets [P] in pixels, counter-clockwise from the right."""
    angle = 2 * np.pi * np.arange(points, dtype=np.float64) / points
    return np.round(-radius * np.sin(angle), 5), np.round(radius * np.cos(angle), 5)


def _axis(offsets: Floats, n: int) -> Axis:
    pixel = np.arange(n, dtype=np.float64)
    # Subtracting from the rounded sum, not from the offset: its last bits differ from row to row.
    position = pixel + offsets[:, None]
    far = position - np.floor(position)
    floor, ceil = (tuple(int(k) for k in f(offsets)) for f in (np.floor, np.ceil))
    return Axis(floor, ceil, 1 - far, far)


@lru_cache(maxsize=32)
def make_plan(points: int, radius: float, height: int, width: int) -> Plan:
    rows, columns = sample_points(points, radius)
    groups = tuple(tuple(np.flatnonzero(columns == c).tolist()) for c in np.unique(columns))
    margin = max(1, int(np.ceil(max(np.abs(rows).max(), np.abs(columns).max()))))
    return Plan(points, margin, _axis(rows, height), _axis(columns, width), groups)


def code_count(points: int = 16, method: str = "uniform") -> int:
    """How many codes a method has: the bins of a histogram that drops none."""
    counts = {"uniform": points + 2, "nri_uniform": points * (points - 1) + 3}
    return counts.get(method, 1 << points)


def code_dtype(points: int, method: str) -> np.dtype[Any]:
    """The smallest integer type that holds every code and that NumPy and torch both compute with; float64 for `var`."""
    if method == "var":
        return np.dtype(np.float64)
    kinds = (np.uint8, np.int16, np.int32, np.int64)
    return np.dtype(next(kind for kind in kinds if np.iinfo(kind).max >= code_count(points, method) - 1))


@lru_cache(maxsize=1)
def ones_table() -> NDArray[np.int64]:
    """Number of ones in every 16-bit word."""
    words = np.arange(1 << 16)
    ones: NDArray[np.int64] = np.add.reduce([(words >> i) & 1 for i in range(16)])
    return ones


def encode(bits: Any, points: int, method: str, xp: Any, ones_of_word: Any) -> Any:
    """Codes of patterns, bit i of which is point i.

    `bits` is an int64 array of `xp`, which is NumPy or torch; `ones_of_word` is `ones_table()` as such an array.
    Ojala et al. 2002, eq. 9 and 11 (uniform, ror); Ahonen et al. 2004 (nri_uniform). As in scikit-image the last point
    and the first are not compared when changes are counted.
    """
    if method == "default":
        return bits
    if method == "ror":
        return _least_rotation(bits, points, xp)

    def count(x: Any) -> Any:
        return sum(ones_of_word[(x >> shift) & 0xFFFF] for shift in range(0, 64, 16))

    ones = count(bits)
    uniform = count((bits ^ (bits >> 1)) & ((1 << (points - 1)) - 1)) <= 2
    if method == "uniform":
        return xp.where(uniform, ones, points + 1)
    first_one, first_zero = count((bits & -bits) - 1), count((~bits & (bits + 1)) - 1)
    rotation = xp.where(first_one == 0, ones - first_zero, points - first_one)
    code = xp.where(ones == 0, 0, 1 + (ones - 1) * points + rotation)
    code = xp.where(ones == points, points * (points - 1) + 1, code)
    return xp.where(uniform, code, points * (points - 1) + 2)


def _least_rotation(bits: Any, points: int, xp: Any) -> Any:
    least = bits
    for _ in range(points - 1):
        bits = (bits >> 1) | ((bits & 1) << (points - 1))
        least = xp.minimum(least, bits)
    return least


@lru_cache(maxsize=16)
def code_table(points: int, method: str) -> NDArray[Any]:
    """The code of each of the 2^P patterns, P <= 16."""
    codes: NDArray[np.int64] = encode(np.arange(1 << points), points, method, np, ones_table())
    return codes.astype(code_dtype(points, method))
