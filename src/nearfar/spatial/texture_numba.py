"""The two inner loops of local binary patterns compiled by numba: a block stays in cache from pixels to bits.

The same operations in the same order as in `texture_blocks`, without fast-math, which would fuse and reorder them. One
thread, the interpreter lock released: several threads or data workers run side by side. Compiled code is kept on disk
where a folder can be written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from nearfar.spatial.texture_blocks import Backend, Block


def _compile(function: Callable[..., None]) -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(**options)(function)


@_compile
def _across(values: Any, low: int, high: int, near: Any, far: Any, lines: Any) -> None:
    height, width = lines.shape
    for r in range(height):
        left, right, line = values[r, low : low + width], values[r, high : high + width], lines[r]
        for c in range(width):
            line[c] = left[c] * near[c] + right[c] * far[c]


@_compile
def _patterns(
    values: Any, order: Any, offsets: Any, near: Any, far: Any, columns_near: Any, columns_far: Any, bits: Any
) -> None:
    height, width = bits.shape
    margin = (values.shape[0] - height) // 2
    lines = np.empty((values.shape[0], width))
    current = -1
    for i, group in order:
        if group != current:
            current = group
            low, high = margin + offsets[2, i], margin + offsets[3, i]
            _across(values, low, high, columns_near[i], columns_far[i], lines)
        bit = np.int64(1) << i
        for r in range(height):
            upper, lower = lines[margin + r + offsets[0, i]], lines[margin + r + offsets[1, i]]
            up, down = near[i, r, 0], far[i, r, 0]
            centre, word = values[margin + r, margin : margin + width], bits[r]
            for c in range(width):
                word[c] |= bit if upper[c] * up + lower[c] * down >= centre[c] else np.int64(0)


@_compile
def _variance(
    values: Any, order: Any, offsets: Any, near: Any, far: Any, columns_near: Any, columns_far: Any, result: Any
) -> None:
    height, width = result.shape
    margin = (values.shape[0] - height) // 2
    points = order.shape[0]
    lines = np.empty((values.shape[0], width))
    squares = np.zeros((height, width))
    for i in range(points):
        _across(values, margin + offsets[2, i], margin + offsets[3, i], columns_near[i], columns_far[i], lines)
        for r in range(height):
            upper, lower = lines[margin + r + offsets[0, i]], lines[margin + r + offsets[1, i]]
            up, down = near[i, r, 0], far[i, r, 0]
            for c in range(width):
                value = upper[c] * up + lower[c] * down
                result[r, c] += value
                squares[r, c] += value * value
    for r in range(height):
        for c in range(width):
            total = result[r, c]
            value = (squares[r, c] - total * total / points) / points
            result[r, c] = value if value != 0 else np.nan


def _run(kernel: Any, block: Block, result: Any) -> Any:
    plan = block.plan
    order = np.array([(i, group) for group, members in enumerate(plan.groups) for i in members], dtype=np.int64)
    offsets = np.array([plan.rows.floor, plan.rows.ceil, plan.columns.floor, plan.columns.ceil], dtype=np.int64)
    kernel(block.values, order, offsets, *block.rows[2:], *block.columns[2:], result)
    return result


def backend() -> Backend:
    """NumPy arrays, compiled loops."""
    return Backend(
        np,
        lambda array: array,
        np.zeros,
        block_size=1 << 15,
        patterns=lambda block, _: _run(_patterns, block, np.zeros(block.centre.shape, np.int64)),
        variance=lambda block, _: _run(_variance, block, np.zeros(block.centre.shape)),
    )
