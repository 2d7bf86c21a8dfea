"""The Triton kernels of `fused`: sums of a row over all columns, and the gradient in a row, each in one launch.

A program holds one block of rows and walks over all columns, so nothing is written but its own result and no order of
additions depends on timing. Importing this module needs triton.
"""

# Triton compiles the annotations of a kernel too, so its arguments have none.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
import triton
import triton.language as tl
from torch import Tensor

from nearfar.losses.core.layout import Layout
from nearfar.losses.core.sums import Wanted, nothing
from nearfar.losses.core.weights import Side

OUTPUTS = 3
"""numbers a row: sum of near s, their log-sum-exp, that of far s"""
OPTIONS = {"num_warps": 8, "num_stages": 2}
"""chosen by the compiler's report, not by time: with these and `_block` the gradient spills no registers (sums spill 0
to 5 KB, most at width 256), and both fit the shared memory of small GPUs (99 KiB)"""
# Row counts change from batch to batch; a kernel for each kind of count would be compiled, and trusted, unseen.
jit = cast(Any, triton.jit(do_not_specialize=["n", "m"]))


@triton.jit
def _load(x, at, some, WIDTH: tl.constexpr, PADDED: tl.constexpr):  # noqa: N803
    """Rows `at` of x [., WIDTH], zeros where not `some` and beyond the width."""
    d = tl.arange(0, PADDED)
    # 64 bits: rows times width may pass 2**31.
    place = at.to(tl.int64)[:, None] * WIDTH + d[None, :]
    return tl.load(x + place, mask=some[:, None] & (d < WIDTH)[None, :], other=0.0)


@triton.jit
def _near_far(
    groups_i, numbers, i, in_i, groups, own, j, in_j,
    TWINS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Masks of a tile: same group, other group; one thing with itself is neither."""
    both = in_i[:, None] & in_j[None, :]
    equal = groups_i[:, None] == tl.load(groups + j, mask=in_j, other=0)[None, :]
    near = both & equal
    if TWINS:
        number_i = tl.load(numbers + i, mask=in_i, other=-1)
        number_j = tl.load(own + j, mask=in_j, other=-2)
        near = near & (number_i[:, None] != number_j[None, :])
    return near, both & (equal == 0)


@triton.jit
def _online(top, total, s, mask):
    """The running maximum and the sum relative to it, with the masked s of a tile added."""
    higher = tl.maximum(top, tl.max(tl.where(mask, s, -1e38), axis=1))
    u = tl.exp(tl.where(mask, s - higher[:, None], float("-inf")))
    return higher, total * tl.exp(top - higher) + tl.sum(u, axis=1)


@jit
def _sum_kernel(
    x, y, row_groups, column_groups, row_numbers, column_numbers,
    out, n, m, floor,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803
    TWINS: tl.constexpr, LINEAR: tl.constexpr, NEAR: tl.constexpr,  # noqa: N803
):  # fmt: skip
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    in_i = i < n
    a = _load(x, i, in_i, WIDTH, PADDED)
    groups_i = tl.load(row_groups + i, mask=in_i, other=0)
    linear = tl.zeros([BLOCK], tl.float32)
    near_total = tl.zeros([BLOCK], tl.float32)
    far_total = tl.zeros([BLOCK], tl.float32)
    near_top = tl.full([BLOCK], -1e38, tl.float32)
    far_top = tl.full([BLOCK], -1e38, tl.float32)
    for j0 in range(0, m, BLOCK):
        j = j0 + tl.arange(0, BLOCK)
        in_j = j < m
        b = _load(y, j, in_j, WIDTH, PADDED)
        s = tl.dot(a, tl.trans(b), input_precision="ieee")
        near, far = _near_far(groups_i, row_numbers, i, in_i, column_groups, column_numbers, j, in_j, TWINS)
        if LINEAR:
            linear += tl.sum(tl.where(near, s, 0.0), axis=1)
        if NEAR:
            near_top, near_total = _online(near_top, near_total, s, near)
        far_top, far_total = _online(far_top, far_total, s, far)
    tl.store(out + i, linear, mask=in_i)
    near_lse = tl.where(near_total > 0, tl.log(tl.maximum(near_total, 1e-30)) + near_top, floor)
    far_lse = tl.where(far_total > 0, tl.log(tl.maximum(far_total, 1e-30)) + far_top, floor)
    tl.store(out + n + i, near_lse, mask=in_i)
    tl.store(out + 2 * n + i, far_lse, mask=in_i)


@triton.jit
def _pull(
    s, near, far, lse, grad, i, some, length,
    AXIS: tl.constexpr, LINEAR: tl.constexpr, NEAR: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """What the sums of one side (AXIS 1: the rows, 0: the columns) contribute to the gradient in a tile of s."""
    far_lse = tl.expand_dims(tl.load(lse + 2 * length + i, mask=some, other=0.0), AXIS)
    far_grad = tl.expand_dims(tl.load(grad + 2 * length + i, mask=some, other=0.0), AXIS)
    w = tl.exp(tl.where(far, s - far_lse, float("-inf"))) * far_grad
    if NEAR:
        near_lse = tl.expand_dims(tl.load(lse + length + i, mask=some, other=0.0), AXIS)
        near_grad = tl.expand_dims(tl.load(grad + length + i, mask=some, other=0.0), AXIS)
        w += tl.exp(tl.where(near, s - near_lse, float("-inf"))) * near_grad
    if LINEAR:
        w += tl.where(near, tl.expand_dims(tl.load(grad + i, mask=some, other=0.0), AXIS), 0.0)
    return w


@jit
def _gradient_kernel(
    x, y, row_groups, column_groups, row_numbers, column_numbers,
    row_lse, row_grad, column_lse, column_grad, out, n, m,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr, TWINS: tl.constexpr,  # noqa: N803
    LINEAR: tl.constexpr, NEAR: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    in_i = i < n
    a = _load(x, i, in_i, WIDTH, PADDED)
    groups_i = tl.load(row_groups + i, mask=in_i, other=0)
    total = tl.zeros([BLOCK, PADDED], tl.float32)
    for j0 in range(0, m, BLOCK):
        j = j0 + tl.arange(0, BLOCK)
        in_j = j < m
        b = _load(y, j, in_j, WIDTH, PADDED)
        s = tl.dot(a, tl.trans(b), input_precision="ieee")
        near, far = _near_far(groups_i, row_numbers, i, in_i, column_groups, column_numbers, j, in_j, TWINS)
        w = tl.zeros([BLOCK, BLOCK], tl.float32)
        if ROWS:
            w += _pull(s, near, far, row_lse, row_grad, i, in_i, n, 1, LINEAR, NEAR)
        if COLUMNS:
            w += _pull(s, near, far, column_lse, column_grad, j, in_j, m, 0, LINEAR, NEAR)
        total += tl.dot(w, b, input_precision="ieee")
    d = tl.arange(0, PADDED)
    place = i.to(tl.int64)[:, None] * WIDTH + d[None, :]
    tl.store(out + place, total, mask=in_i[:, None] & (d < WIDTH)[None, :])


def sums(x: Tensor, y: Tensor, layout: Layout, wanted: Wanted) -> Tensor:
    """[3, n] for rows x [n, D] and columns y [m, D]: as `engine.sweep`, for the one power 1."""
    out = x.new_empty(OUTPUTS, len(x))
    numbers = len(x), len(y), nothing(x.dtype)
    with _device(x):
        _sum_kernel[_grid(x)](*_pairs(x, y, layout), out, *numbers, **_constants(x, layout, wanted), **OPTIONS)
    return out


def gradient(x: Tensor, y: Tensor, layout: Layout, wanted: Wanted, rows: Side | None, columns: Side | None) -> Tensor:
    """[n, D]: the gradient in x of what depends on sums of rows, of columns, or of both."""
    out = torch.empty_like(x)
    sides = [x if t is None else t.contiguous() for side in (rows, columns) for t in (side or (None, None))]
    flags = {"ROWS": rows is not None, "COLUMNS": columns is not None, **_constants(x, layout, wanted)}
    with _device(x):
        _gradient_kernel[_grid(x)](*_pairs(x, y, layout), *sides, out, len(x), len(y), **flags, **OPTIONS)
    return out


def _device(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device, which need not be that of x."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def _pairs(x: Tensor, y: Tensor, layout: Layout) -> list[Tensor]:
    """The arguments that say what is paired; numbers that no kernel reads are replaced by groups."""
    numbers = [layout.row_numbers, layout.column_numbers]
    groups = [layout.rows.contiguous(), layout.columns.contiguous()]
    return [x, y, *groups, *(groups[0] if t is None else t.contiguous() for t in numbers)]


def _block(width: int) -> int:
    return 64 if width <= 64 else 32


def _grid(x: Tensor) -> tuple[int]:
    return (triton.cdiv(len(x), _block(x.shape[1])),)


def _constants(x: Tensor, layout: Layout, wanted: Wanted) -> dict[str, int | bool]:
    width = x.shape[1]
    return {
        "WIDTH": width,
        "PADDED": max(16, triton.next_power_of_2(width)),
        "BLOCK": _block(width),
        "TWINS": layout.row_numbers is not None and layout.column_numbers is not None,
        "LINEAR": wanted.linear,
        "NEAR": wanted.near,
    }
