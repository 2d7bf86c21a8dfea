"""How much of every cell of a square grid a box, a polygon or a mask covers, exactly; COCO's run lengths.

A grid is `size` x `size` cells over the square [0, side]^2 of the plane, x to the right, y down, pixel (row i, column
j) being [j, j + 1] x [i, i + 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import DataError

Grey = NDArray[np.float32]
Box = tuple[float, float, float, float]


def box_coverage(box: Box, side: float, size: int) -> Grey:
    """Share of each cell [size, size] inside a box (x0, y0, x1, y1); parts outside the grid are cut off."""
    x0, y0, x1, y1 = box
    columns, rows = _overlap(x0, x1, side, size), _overlap(y0, y1, side, size)
    return np.asarray(np.outer(rows, columns), np.float32)


def mask_coverage(mask: NDArray[Any], left: float, top: float, side: float, size: int) -> Grey:
    """Area average [size, size] of a mask [H, W] over the square that begins at (left, top) and is `side` pixels wide.

    Outside the mask is 0. Cells smaller than a pixel repeat it.
    """
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not rows.size:
        return np.zeros((size, size), np.float32)
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    down = _averages(rows[0] - top, part.shape[0], side, size)
    across = _averages(columns[0] - left, part.shape[1], side, size)
    return np.asarray(down @ part @ across.T, np.float32)


def polygon_coverage(polygons: Sequence[NDArray[Any]], side: float, size: int) -> Grey:
    """Share of each cell [size, size] inside the union of polygons, each [n, 2] of (x, y); disjoint parts add.

    Exact for polygons that do not cross themselves (otherwise by winding number), by the signed areas that their edges
    cut off to the right (the accumulation that font rasterisers use).
    """
    total = np.zeros((size, size))
    for corners in polygons:
        total += np.minimum(np.abs(_signed(np.asarray(corners, float) * (size / side), size)), 1)
    return np.minimum(total, 1).astype(np.float32)


def decode_runs(counts: str | Sequence[int], height: int, width: int, where: object = None) -> NDArray[np.bool_]:
    """The mask bool [height, width] of COCO run lengths, a list or the compressed text; runs go down the columns.

    Raises DataError where they do not fill the mask.
    """
    runs = _decompress(counts, where) if isinstance(counts, str) else np.asarray(counts, np.int64)
    if (runs < 0).any() or runs.sum() != height * width:
        raise DataError(
            "the run lengths do not fill the mask",
            where=where,
            found=f"{int(runs.sum())} pixels",
            expected=f"{height} x {width} = {height * width}",
            fix="Check `size` ([height, width]) and `counts`.",
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.asarray(np.repeat(values, runs).reshape(width, height).T)


def encode_runs(mask: NDArray[np.bool_]) -> list[int]:
    """The run lengths of a mask [H, W] down its columns, beginning with those of False: `decode_runs` undoes it."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(ends, prepend=0, append=flat.size).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def _overlap(start: float, stop: float, side: float, size: int) -> NDArray[np.float64]:
    """Share of each of `size` cells of [0, side] inside [start, stop]."""
    edges = np.clip(np.linspace(0, side, size + 1), min(start, stop), max(start, stop))
    return np.diff(edges) * (size / side)


def _averages(offset: float, count: int, side: float, size: int) -> NDArray[np.float32]:
    """Weight [size, count] of each of `count` pixels, the first of which begins at `offset`, in each cell."""
    cell = np.arange(size)[:, None] * (side / size)
    pixel = offset + np.arange(count)[None]
    shared = np.minimum(cell + side / size, pixel + 1) - np.maximum(cell, pixel)
    return np.asarray(np.clip(shared, 0, None) * (size / side), np.float32)


def _signed(corners: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Winding number times covered share [size, size] of one polygon in units of cells."""
    start, stop = _pieces(corners, size)
    dy = stop[:, 1] - start[:, 1]
    middle = (start + stop) / 2
    row = np.floor(middle[:, 1]).astype(np.int64)
    kept = (row >= 0) & (row < size) & (dy != 0)
    x, row, dy = np.clip(middle[kept, 0], 0, size), row[kept], dy[kept]
    column = np.minimum(np.floor(x), size - 1).astype(np.int64)
    right = x - column
    # Two spare columns: what lies right of the last cell covers nothing.
    flat = np.bincount(row * (size + 2) + column, dy * (1 - right), size * (size + 2))
    flat += np.bincount(row * (size + 2) + column + 1, dy * right, size * (size + 2))
    return np.asarray(np.cumsum(flat.reshape(size, size + 2), 1)[:, :size])


def _pieces(corners: NDArray[np.float64], size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The edges cut at every line of the grid: starts and ends, each [pieces, 2]."""
    start, step = corners, np.roll(corners, -1, axis=0) - corners
    lines = np.arange(size + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cuts = (lines[None, None] - start[..., None]) / step[..., None]  # [edges, 2, lines]
    cuts = np.where(np.isfinite(cuts), np.clip(cuts, 0, 1), 0).reshape(len(corners), -1)
    ends = np.tile([0.0, 1.0], (len(corners), 1))
    along = np.sort(np.concatenate([cuts, ends], 1), axis=1)
    edge, piece = np.nonzero(np.diff(along, axis=1) > 0)
    points = [start[edge] + along[edge, piece + k, None] * step[edge] for k in (0, 1)]
    return points[0], points[1]


def _decompress(text: str, where: object) -> NDArray[np.int64]:
    """COCO's text form: 5 bits a character from 48 on, the sixth says that more follow; differences after the third."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise DataError("not COCO run lengths", where=where, found=repr(character), fix="Check `counts`.")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return np.array(runs, np.int64)
