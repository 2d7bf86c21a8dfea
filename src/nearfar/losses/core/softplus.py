"""Sums of weighted softpluses over chosen pairs of a row, which is what attraction comes to: slabs without autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from nearfar.losses.core.engine import uncompiled
from nearfar.losses.core.kept import Kept, keep_freed_memory, taken
from nearfar.losses.core.layout import Block
from nearfar.losses.core.once import first_derivative
from nearfar.losses.core.ring import Ring
from nearfar.losses.core.slabs import SlabPlan, added_up, gradients, product


class Terms(NamedTuple):
    """What a slab adds to its rows: the weights' sum, and that of weights times min(softplus(x), most).

    x falls by one where s rises by one, and rises with the first number known of the row (level[0]); weights have no
    gradient.
    """

    weights: Tensor
    """[h, w], 0 where a pair does not count"""
    x: Tensor
    """[h, w], may be overwritten"""


TermsOf = Callable[[Tensor, Tensor, Block, int], Terms]
"""terms(s, level, block, source), as a `Kernel`"""
PULLS = 4
"""a quarter of what tiles may keep is for slabs: their derivatives, which cost more than those of tiles"""


@dataclass(frozen=True)
class TermsPlan:
    """The slabs of each block of columns, and their terms."""

    blocks: tuple[list[Block], ...]
    terms: TermsOf
    most: float
    ring: Ring | None = None

    def pairs(self) -> int:
        """Entries of all slabs."""
        return sum((b.i1 - b.i0) * (b.j1 - b.j0) for blocks in self.blocks for b in blocks)


def softplus_sums(x: Tensor, y: Tensor | None, level: Tensor, plan: TermsPlan) -> Tensor:
    """[2, n]: sums of the `Terms` of all slabs of s = x y^T (y None: x itself), differentiable as `Terms` says.

    Derivatives of slabs are kept for the backward pass as far as a budget goes, and others computed again.
    """
    return cast(Tensor, _eager_softplus(x, y, level, plan))


@uncompiled
def _eager_softplus(x: Tensor, y: Tensor | None, level: Tensor, plan: TermsPlan) -> Any:
    return _SoftplusSums.apply(x, y, level, plan)


class _SoftplusSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, level: Tensor, plan: TermsPlan) -> Tensor:
        keep_freed_memory()
        x, y = x.detach().contiguous(), None if y is None else y.detach().contiguous()
        ctx.plan, ctx.kept = plan, None
        if plan.ring is None and any(ctx.needs_input_grad[:3]):
            ctx.kept = Kept(x, plan.pairs(), PULLS)
        ctx.save_for_backward(x, y, level)

        def kernel(s: Tensor, level: Tensor, b: Block, source: int) -> Tensor:
            room = ctx.kept.room(b.i1 - b.i0, b.j1 - b.j0) if ctx.kept else None
            return _add_up(plan.terms(s, level, b, source), plan.most, room)

        return added_up(x, y, level, SlabPlan(plan.blocks, kernel, 2, plan.ring))

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, level = ctx.saved_tensors
        plan, needs_y = ctx.plan, y is None or ctx.needs_input_grad[1]

        def slope(columns: Tensor, b: Block, source: int) -> tuple[Tensor, Tensor]:
            pull = next(kept, None)
            if pull is None:
                terms = plan.terms(product(x, columns, b), level[:, b.i0 : b.i1], b, source)
                pull = _pull(terms, plan.most)
            pull = pull.view(b.i1 - b.i0, b.j1 - b.j0).mul_(grad[1, b.i0 : b.i1, None])
            dlevel = level.new_zeros(len(level), b.i1 - b.i0)
            dlevel[0] = pull.sum(1)
            return pull.neg_(), dlevel

        with (
            torch.autocast(x.device.type, enabled=False),  # backward may be called where the loss was not
            taken(ctx.kept) as tiles,
        ):
            kept = iter(tiles)
            dx, dy, dlevel = gradients(x, y, level, slope, plan.blocks, plan.ring, needs_y)
        return dx, None if y is None else dy, dlevel, None


def _add_up(terms: Terms, most: float, room: Tensor | None) -> Tensor:
    """[2, h] sums; the derivative is left in `room`."""
    # logaddexp has softplus's digits, also far below zero, and is faster on a CPU.
    values = torch.logaddexp(terms.x, terms.x.new_zeros(()))
    if room is not None:
        torch.mul(terms.weights, _slope(terms.x, values, most), out=room)
    values = values.clamp_(max=most) if most < math.inf else values
    return torch.stack([terms.weights.sum(1), values.mul_(terms.weights).sum(1)])


def _pull(terms: Terms, most: float) -> Tensor:
    values = torch.logaddexp(terms.x, terms.x.new_zeros(())) if most < math.inf else terms.x
    return _slope(terms.x, values, most).mul_(terms.weights)


def _slope(x: Tensor, values: Tensor, most: float) -> Tensor:
    clamped = values > most if most < math.inf else None
    slope = x.sigmoid_()
    return slope if clamped is None else slope.masked_fill_(clamped, 0.0)
