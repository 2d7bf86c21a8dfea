"""Sums over chosen pairs of a row, by any kernel: slabs of rows, recomputed backward with autograd inside the slab."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from nearfar.losses.core.engine import uncompiled
from nearfar.losses.core.layout import Block
from nearfar.losses.core.products import add_columns, add_rows, outer, room
from nearfar.losses.core.ring import Ring

Kernel = Callable[[Tensor, Tensor, Block, int], Tensor]
"""kernel(s [h, w], level [L, h], block, source) -> [Q, h]: numbers of rows block.i0:i1 from their s with columns
block.j0:j1 of rank `source` (0 without a ring) and from `level`, numbers known of each row"""

Derivative = Callable[[Tensor, Tensor, Tensor, Block, int], tuple[Tensor, Tensor]]
"""derivative(s, level, grad [Q, h], block, source) -> gradients in s (which may be overwritten) and in level"""


@dataclass(frozen=True)
class SlabPlan:
    """The slabs of each block of columns, and the kernel, whose results add up over blocks of columns.

    derivative: the kernel's, written out; without one autograd finds it, at the price of a second run of the kernel.
    """

    blocks: tuple[list[Block], ...]
    kernel: Kernel
    outputs: int
    ring: Ring | None = None
    derivative: Derivative | None = None


def slab_sums(x: Tensor, y: Tensor | None, level: Tensor, plan: SlabPlan) -> Tensor:
    """[Q, n]: the kernel over all slabs of s = x y^T (y None: x itself), differentiable in x, y and level [L, n].

    Rows outside every slab get zeros. Extra memory: a slab and the kernel's temporaries.
    """
    return cast(Tensor, _eager(x, y, level, plan))


@uncompiled
def _eager(x: Tensor, y: Tensor | None, level: Tensor, plan: SlabPlan) -> Any:
    return _Slabs.apply(x, y, level, plan)


class _Slabs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, level: Tensor, plan: SlabPlan) -> Tensor:
        x, y = x.detach().contiguous(), None if y is None else y.detach().contiguous()
        ctx.plan = plan
        ctx.save_for_backward(x, y, level)
        out = x.new_zeros(plan.outputs, len(x))
        for source, columns, _ in _sources(x if y is None else y, None, plan):
            for b in plan.blocks[source]:
                s = _product(x, columns, b)
                out[:, b.i0 : b.i1] += plan.kernel(s, level[:, b.i0 : b.i1], b, source)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, level = ctx.saved_tensors
        plan, needs_y = ctx.plan, y is None or ctx.needs_input_grad[1]
        with torch.autocast(x.device.type, enabled=False):  # backward may be called where the loss was not
            dx, dy, dlevel = _gradients(x, y, level, grad, plan, needs_y)
        return dx, None if y is None else dy, dlevel, None


def _gradients(
    x: Tensor, y: Tensor | None, level: Tensor, grad: Tensor, plan: SlabPlan, needs_y: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    dx, dlevel = torch.zeros_like(x), torch.zeros_like(level)
    dy = dx if y is None else torch.zeros_like(y) if needs_y else None
    for source, columns, dcolumns in _sources(x if y is None else y, dy, plan):
        for b in plan.blocks[source]:
            s = _product(x, columns, b)
            ds, dl = _slab_gradient(s, level[:, b.i0 : b.i1], grad[:, b.i0 : b.i1], b, source, plan)
            dlevel[:, b.i0 : b.i1] += dl
            i1, j1 = _ends(x, columns, b)
            ds = F.pad(ds, (0, j1 - b.j1, 0, i1 - b.i1)) if (i1, j1) != (b.i1, b.j1) else ds.contiguous()
            add_rows(dx[b.i0 : i1], ds, columns[b.j0 : j1])
            if dcolumns is not None:
                add_columns(dcolumns[b.j0 : j1], ds, x[b.i0 : i1].T.contiguous())
    return dx, dy, dlevel


def _ends(x: Tensor, y: Tensor, b: Block) -> tuple[int, int]:
    """Where the product of a block ends: some rows and columns further for a shape that is met often."""
    return room(x, b.i0, b.i1), room(y, b.j0, b.j1)


def _product(x: Tensor, y: Tensor, b: Block) -> Tensor:
    i1, j1 = _ends(x, y, b)
    return outer(x[b.i0 : i1], y[b.j0 : j1])[: b.i1 - b.i0, : b.j1 - b.j0]


def _slab_gradient(
    s: Tensor, level: Tensor, grad: Tensor, block: Block, source: int, plan: SlabPlan
) -> tuple[Tensor, Tensor]:
    if plan.derivative is not None:
        return plan.derivative(s, level, grad, block, source)
    with torch.enable_grad():
        s, level = s.requires_grad_(), level.detach().requires_grad_()
        out = plan.kernel(s, level, block, source)
        if not out.requires_grad:
            return torch.zeros_like(s), torch.zeros_like(level)
        ds, dl = torch.autograd.grad(out, (s, level), grad, allow_unused=True, materialize_grads=True)
    return ds, dl


def _sources(y: Tensor, dy: Tensor | None, plan: SlabPlan) -> Any:
    if plan.ring is None:
        yield 0, y, dy
        return
    for source, (block, d_block) in plan.ring.rotate(y, dy):
        yield source, block, d_block
