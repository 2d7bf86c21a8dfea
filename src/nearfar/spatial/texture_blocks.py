"""Local binary patterns block by block, with the same operations in NumPy and in torch.

A block is a few whole planes, or some rows of one, as large as fits the cache. Its planes lie side by side in one wide
picture [rows, planes * (W + margin)] with zeros between them: a shift to the side is then one slice, every inner loop
runs over all planes, and the weights of a row are one number each.

Multiplications and additions stay apart: a fused multiply-add rounds once where scikit-image rounds twice, and at ties
the code changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from nearfar.spatial.texture_plan import TABLE_POINTS, Axis, Plan, code_table, encode, ones_table


class Backend(NamedTuple):
    """Where the arrays live."""

    xp: Any
    """numpy or torch"""
    array: Callable[[Any], Any]
    """a NumPy array as an array of this backend, on its device"""
    zeros: Callable[[tuple[int, int]], Any]
    """float64, on that device"""
    block_size: int
    """pixels worked on at a time"""
    patterns: Callable[[Block, Backend], Any] | None = None
    """compiled replacement of `patterns`"""
    variance: Callable[[Block, Backend], Any] | None = None
    """compiled replacement of `variance`"""


class Block(NamedTuple):
    """Some rows of some planes."""

    values: Any
    """[h + 2 margin, width + 2 margin] float64, zero outside the image"""
    rows: Axis
    """weights [P, h, 1]"""
    columns: Axis
    """weights [P, width]"""
    plan: Plan

    @property
    def centre(self) -> Any:
        """[h, width]: the pixels themselves"""
        m = self.plan.margin
        return self.values[m : self.values.shape[0] - m, m : self.values.shape[1] - m]


def numpy_backend() -> Backend:
    """NumPy arrays; a block's temporaries fit a second-level cache."""
    return Backend(np, lambda array: array, np.zeros, block_size=1 << 16)


def across(block: Block, i: int, xp: Any) -> Any:
    """Interpolated along the rows at point i: [h + 2 margin, width]."""
    m, width = block.plan.margin, block.values.shape[1] - 2 * block.plan.margin
    low, high = block.columns.floor[i] + m, block.columns.ceil[i] + m
    left = block.values[:, low : low + width]
    if low == high:
        return left
    value = left * block.columns.near[i]
    value += block.values[:, high : high + width] * block.columns.far[i]
    return value


def down(block: Block, i: int, lines: Any) -> Any:
    """`lines` = across(block, i) interpolated along the columns at point i: [h, width]."""
    m, height = block.plan.margin, block.values.shape[0] - 2 * block.plan.margin
    low, high = block.rows.floor[i] + m, block.rows.ceil[i] + m
    upper = lines[low : low + height]
    if low == high:
        return upper
    value = upper * block.rows.near[i]
    value += lines[high : high + height] * block.rows.far[i]
    return value


def patterns(block: Block, backend: Backend) -> Any:
    """Which points are at least as bright as their centre: bits [h, width] int64."""
    xp, plan, centre = backend.xp, block.plan, block.centre
    words = [xp.zeros_like(centre, dtype=xp.uint8) for _ in range(0, plan.points, 8)]
    for group in plan.groups:
        lines = across(block, group[0], xp)
        for i in group:
            words[i // 8] |= (down(block, i, lines) >= centre).view(xp.uint8) * (1 << i % 8)
    bits = xp.zeros_like(centre, dtype=xp.int64)
    for word in words[::-1]:
        bits <<= 8
        bits += word
    return bits


def variance(block: Block, backend: Backend) -> Any:
    """Population variance of the points [h, width]; NaN where it is exactly zero, as in scikit-image."""
    xp, plan = backend.xp, block.plan
    lines = {i: x for group in plan.groups for x in [across(block, group[0], xp)] for i in group}
    total, squares = xp.zeros_like(block.centre), xp.zeros_like(block.centre)
    for i in range(plan.points):  # in this order: a sum of floats depends on it
        value = down(block, i, lines[i])
        total += value
        squares += value * value
    result = (squares - total * total / plan.points) / plan.points
    return xp.where(result != 0, result, float("nan"))


def _blocks(count: int, height: int, width: int, size: int, margin: int) -> Iterator[tuple[slice, slice]]:
    """Slices of planes and of rows that cover all, about `size` pixels each.

    Never fewer rows than 8 margins, or interpolating the margins above and below would cost more than a cache miss.
    """
    planes = max(1, size // (height * width))
    rows = height if planes > 1 else max(8 * margin, size // width)
    for n in range(0, count, planes):
        for r in range(0, height, rows):
            yield slice(n, min(n + planes, count)), slice(r, min(r + rows, height))


def _cut(images: Any, planes: slice, rows: slice, plan: Plan, columns: Axis, backend: Backend) -> Block:
    """The block of these planes and rows; `columns` has the weights of as many planes as a block can have."""
    height, width = images.shape[-2:]
    m, n, h = plan.margin, planes.stop - planes.start, rows.stop - rows.start
    wide = n * (width + m)
    values = backend.zeros((h + 2 * m, wide + 2 * m))
    top, bottom = max(0, rows.start - m), min(height, rows.stop + m)
    at = top - (rows.start - m)
    inside = values[at : at + bottom - top, m : m + wide].reshape(bottom - top, n, width + m)
    inside[:, :, :width] = images[planes, top:bottom].swapaxes(0, 1)
    near, far = (backend.array(w[:, rows, None]) for w in (plan.rows.near, plan.rows.far))
    across_columns = Axis(columns.floor, columns.ceil, columns.near[:, :wide], columns.far[:, :wide])
    return Block(values, Axis(plan.rows.floor, plan.rows.ceil, near, far), across_columns, plan)


def _tiled(plan: Plan, planes: int, backend: Backend) -> Axis:
    """Column weights of planes side by side; between planes they do not matter."""
    near, far = (
        backend.array(np.tile(np.pad(w, ((0, 0), (0, plan.margin))), planes))
        for w in (plan.columns.near, plan.columns.far)
    )
    return Axis(plan.columns.floor, plan.columns.ceil, near, far)


def _coder(points: int, method: str, backend: Backend) -> Callable[[Any], Any]:
    """Maps what a block measured to what is asked for."""
    if method == "var":
        return lambda variances: variances
    if points <= TABLE_POINTS:
        table = backend.array(code_table(points, method))
        return lambda bits: table[bits]
    words = backend.array(ones_table())
    return lambda bits: encode(bits, points, method, backend.xp, words)


def texture_of_planes(images: Any, out: Any, plan: Plan, method: str, backend: Backend) -> None:
    """Fill `out` [N, H, W] with the texture of `images` [N, H, W], both arrays of the backend."""
    count, height, width = images.shape
    across_planes = max(1, backend.block_size // (height * width))
    columns = _tiled(plan, min(count, across_planes), backend)
    measure = (backend.variance or variance) if method == "var" else (backend.patterns or patterns)
    code = _coder(plan.points, method, backend)
    for planes, rows in _blocks(count, height, width, backend.block_size, plan.margin):
        block = _cut(images, planes, rows, plan, columns, backend)
        result = code(measure(block, backend))
        h, n = rows.stop - rows.start, planes.stop - planes.start
        out[planes, rows] = result.reshape(h, n, width + plan.margin)[:, :, :width].swapaxes(0, 1)
