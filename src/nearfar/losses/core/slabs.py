"""Sums over chosen pairs of a row, by any kernel: slabs of rows, recomputed backward with autograd inside the slab."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.losses.core.engine import uncompiled
from nearfar.losses.core.layout import Block
from nearfar.losses.core.once import first_derivative
from nearfar.losses.core.products import add_columns, add_rows, outer, room
from nearfar.losses.core.ring import Ring

Kernel = Callable[[Tensor, Tensor, Block, int], Tensor]
"""kernel(s [h, w], level [L, h], block, source) -> [Q, h]: numbers of rows block.i0:i1 from their s with columns
block.j0:j1 of rank `source` (0 without a ring) and from `level`, numbers known of each row"""


Slope = Callable[[Tensor, Block, int], tuple[Tensor, Tensor]]
"""slope(columns, block, source) -> gradients in the s of a slab and in the level of its rows"""


@dataclass(frozen=True)
class SlabPlan:
    """The slabs of each block of columns, and the kernel, whose results add up over blocks of columns."""

    blocks: tuple[list[Block], ...]
    kernel: Kernel
    outputs: int
    ring: Ring | None = None


def slab_sums(x: Tensor, y: Tensor | None, level: Tensor, plan: SlabPlan) -> Tensor:
    """[Q, n]: the kernel over all slabs of s = x y^T (y None: x itself), differentiable in x, y and level [L, n].

    Rows outside every slab get zeros. Extra memory: a slab and the kernel's temporaries.
    """
    return cast(Tensor, _eager(x, y, level, plan))


@uncompiled
def _eager(x: Tensor, y: Tensor | None, level: Tensor, plan: SlabPlan) -> Any:
    return _Slabs.apply(x, y, level, plan)


def added_up(x: Tensor, y: Tensor | None, level: Tensor, plan: SlabPlan) -> Tensor:
    """[Q, n]: what `slab_sums` returns, without a graph."""
    out = x.new_zeros(plan.outputs, len(x))
    for source, columns, _ in sources(x if y is None else y, None, plan.ring):
        for b in plan.blocks[source]:
            out[:, b.i0 : b.i1] += plan.kernel(product(x, columns, b), level[:, b.i0 : b.i1], b, source)
    return out


class _Slabs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, level: Tensor, plan: SlabPlan) -> Tensor:
        x, y = x.detach().contiguous(), None if y is None else y.detach().contiguous()
        ctx.plan = plan
        ctx.save_for_backward(x, y, level)
        return added_up(x, y, level, plan)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, level = ctx.saved_tensors
        plan, needs_y = ctx.plan, y is None or ctx.needs_input_grad[1]

        def slope(columns: Tensor, b: Block, source: int) -> tuple[Tensor, Tensor]:
            rows = slice(b.i0, b.i1)
            return _slab_gradient(product(x, columns, b), level[:, rows], grad[:, rows], b, source, plan.kernel)

        with torch.autocast(x.device.type, enabled=False):  # backward may be called where the loss was not
            dx, dy, dlevel = gradients(x, y, level, slope, plan.blocks, plan.ring, needs_y)
        return dx, None if y is None else dy, dlevel, None


def gradients(
    x: Tensor,
    y: Tensor | None,
    level: Tensor,
    slope: Slope,
    blocks: tuple[list[Block], ...],
    ring: Ring | None,
    needs_y: bool,
) -> tuple[Tensor, Tensor | None, Tensor]:
    dx, dlevel = torch.zeros_like(x), torch.zeros_like(level)
    dy = dx if y is None else torch.zeros_like(y) if needs_y else None
    for source, columns, dcolumns in sources(x if y is None else y, dy, ring):
        for b in blocks[source]:
            ds, dl = slope(columns, b, source)
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


def product(x: Tensor, y: Tensor, b: Block) -> Tensor:
    i1, j1 = _ends(x, y, b)
    return outer(x[b.i0 : i1], y[b.j0 : j1])[: b.i1 - b.i0, : b.j1 - b.j0]


def _slab_gradient(
    s: Tensor, level: Tensor, grad: Tensor, block: Block, source: int, kernel: Kernel
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        s, level = s.requires_grad_(), level.detach().requires_grad_()
        out = kernel(s, level, block, source)
        if not out.requires_grad:
            return torch.zeros_like(s), torch.zeros_like(level)
        ds, dl = torch.autograd.grad(out, (s, level), grad, allow_unused=True, materialize_grads=True)
    return ds, dl


def sources(y: Tensor, dy: Tensor | None, ring: Ring | None) -> Any:
    if ring is None:
        yield 0, y, dy
        return
    for source, (block, d_block) in ring.rotate(y, dy):
        yield source, block, d_block
