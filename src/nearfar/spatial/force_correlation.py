"""Cross-correlation of two pixel masks on the CPU: exact from run lengths for crisp masks, by FFT for grey ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Mask = NDArray[Any]
Floats = NDArray[np.float64]


class Correlation(NamedTuple):
    """counts[y + up, x + right] = mass of the pixel pairs with a - b = (x to the right, y up)."""

    counts: Floats
    up: int
    right: int

    @property
    def longest(self) -> int:
        """The longest displacement along either axis (Chebyshev)."""
        rows, columns = self.counts.shape
        return int(max(self.up, rows - 1 - self.up, self.right, columns - 1 - self.right))


def _crop(mask: Mask) -> tuple[Mask, int, int]:
    """The bounding box of a mask that is not empty, and the row and column where it begins."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], int(rows[0]), int(columns[0])


def _edges(mask: Mask) -> tuple[Any, Any]:
    """(row, column) of every run's first pixel, and of the pixel after its last."""
    steps = np.zeros((mask.shape[0], mask.shape[1] + 1), np.int8)
    steps[:, :-1] = mask
    steps[:, 1:] -= mask.astype(np.int8)
    return np.nonzero(steps > 0), np.nonzero(steps < 0)


def _pairs(a: Any, b: Any, up: int, right: int, stride: int) -> NDArray[np.int64]:
    """Where in the flattened table each pair of edges falls."""
    from_a = (up - a[0]) * stride + a[1] + right + 1
    from_b = b[0] * stride - b[1]
    return np.asarray(np.add.outer(from_a, from_b).ravel())


def _by_runs(a_edges: Any, b_edges: Any, shape: tuple[int, int], up: int, right: int) -> Floats:
    """Two runs of one row correlate to a trapezium: its second difference is an impulse for each pair of ends."""
    stride = shape[1] + 2
    size = shape[0] * stride
    (a0, a1), (b0, b1) = a_edges, b_edges
    same = np.concatenate([_pairs(p, q, up, right, stride) for p, q in ((a0, b0), (a1, b1))])
    other = np.concatenate([_pairs(p, q, up, right, stride) for p, q in ((a0, b1), (a1, b0))])
    impulses = np.bincount(other, minlength=size) - np.bincount(same, minlength=size)
    # Both sums are 0 again at the end of every row, so they may run on into the next one, which is quicker.
    return np.cumsum(np.cumsum(impulses)).reshape(shape[0], stride)[:, :-2].astype(float)


def _by_fft(a: Mask, b: Mask, crisp: bool) -> Floats:
    shape = [p + q - 1 for p, q in zip(a.shape, b.shape, strict=True)]
    padded = [scipy.fft.next_fast_len(n, True) for n in shape]
    both = np.zeros((2, *padded))
    both[0, : a.shape[0], : a.shape[1]] = a
    both[1, : b.shape[0], : b.shape[1]] = b[::-1, ::-1]
    one, other = scipy.fft.rfft2(both)
    counts = scipy.fft.irfft2(one * other, padded)[: shape[0], : shape[1]][::-1]
    if crisp:
        return np.asarray(np.rint(counts))
    # Rounding of the transform, about eps |a| |b|, must not pass for mass next to the origin, where rho^-r is huge.
    norms = np.linalg.norm(both.reshape(2, -1), axis=1)
    return np.where(counts > 1e-14 * norms[0] * norms[1], counts, 0.0)


def _as_bool(mask: Mask) -> Mask:
    """The mask as booleans, which are quicker to search, if it holds only 0 and 1; else as it is."""
    if mask.dtype == np.bool_:
        return mask
    ones = mask != 0
    return ones if bool((mask == ones).all()) else mask


def correlate(a: Mask, b: Mask) -> Correlation:
    """Correlate two masks [H, W] that are not empty; exact integers where both hold only 0 and 1.

    Crisp masks go by pairs of run ends, except very ragged ones, for which the FFT is quicker (and rounds to the same).
    """
    a, b = _as_bool(a), _as_bool(b)
    crisp = a.dtype == b.dtype == np.bool_
    (a, a_row, a_column), (b, b_row, b_column) = _crop(a), _crop(b)
    shape = (a.shape[0] + b.shape[0] - 1, a.shape[1] + b.shape[1] - 1)
    up, right = a.shape[0] - 1, b.shape[1] - 1
    counts: Floats | None = None
    if crisp:
        a_edges, b_edges = _edges(a), _edges(b)
        if a_edges[0][0].size * b_edges[0][0].size < 4 * shape[0] * shape[1] + 4096:
            counts = _by_runs(a_edges, b_edges, shape, up, right)
    if counts is None:
        counts = _by_fft(a, b, crisp)
    return Correlation(counts, up + a_row - b_row, right - a_column + b_column)
