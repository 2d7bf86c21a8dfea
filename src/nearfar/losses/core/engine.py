"""The sweep over tiles: sums forward, the same tiles recomputed backward, no N x N tensor alive at any time.

With N rows of d numbers and products counted in units of 2 N^2 d operations, forward and backward take
2 units when the layout is symmetric (half a unit forward, half recomputed, one for the gradient), 4 when rows and
columns differ, 2 for columns without a gradient in one pass (`bank`). The dense form takes 3, bound by its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from itertools import zip_longest
from typing import Any, cast

import torch
from torch import Tensor

from nearfar.losses.core.fused import fused_or
from nearfar.losses.core.kept import Kept, keep_freed_memory, taken
from nearfar.losses.core.layout import Layout
from nearfar.losses.core.once import first_derivative
from nearfar.losses.core.products import add_columns, add_rows, outer, turned_zeros
from nearfar.losses.core.ring import Ring
from nearfar.losses.core.sums import ConstantSums, OnlineSums, Sums, UnderflowError, Wanted, regular, shift_for
from nearfar.losses.core.weights import ConstantWeights, OnlineWeights, Side, Weights

Counts = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Plan:
    """One layout a block of columns (one block, unless keys travel round a ring), and what is wanted of it."""

    layouts: tuple[Layout, ...]
    wanted: Wanted
    two_sided: bool = False
    ring: Ring | None = None

    @property
    def symmetric(self) -> bool:
        return self.layouts[0].symmetric

    def counts(self) -> Counts:
        """Near and far columns of each row over all blocks."""
        parts = [layout.counts for layout in self.layouts]
        return sum(p[0] for p in parts), sum(p[1] for p in parts)  # type: ignore[return-value]

    def column_counts(self) -> Counts:
        """Near and far rows of each column of a single block."""
        a = self.layouts[0]
        return Layout(a.columns, a.rows, a.column_numbers, a.row_numbers, False, a.size).counts


def uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Leave function(x, ...) to eager mode, where torch.compile would unroll its loop over tiles, outside autocast."""

    @wraps(function)
    def run(x: Tensor, *others: Any) -> Any:
        with torch.autocast(x.device.type, enabled=False):
            return function(x, *others)

    return cast(Callable[..., Any], torch.compiler.disable(run))  # type: ignore[no-untyped-call]


def sweep(x: Tensor, y: Tensor | None, plan: Plan) -> tuple[Tensor, Tensor]:
    """Sums [2 + P, n] of s = x y^T for rows x [n, D], and of columns y [m, D] where two-sided (else [2 + P, 0]).

    x and y are sorted as the plan's layouts; y is None where symmetric. Row 0 holds the sum of s over near columns,
    row 1 their log-sum-exp, the rest one log-sum-exp of far columns a power. Differentiable in x and y.
    """
    return cast(tuple[Tensor, Tensor], _eager_sweep(x, y, plan))


@uncompiled
def _eager_sweep(x: Tensor, y: Tensor | None, plan: Plan) -> Any:
    return fused_or(_Sweep.apply, x, y, plan)


class _Sweep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, plan: Plan) -> tuple[Tensor, Tensor]:
        keep_freed_memory()
        x, y = x.detach().contiguous(), None if y is None else y.detach().contiguous()
        shift = _shift(x, x if y is None else y, plan)
        kept = _kept(x, y, plan) if shift is not None and any(ctx.needs_input_grad) else None
        try:
            rows, columns = _forward(x, y, plan, shift, kept)
        except UnderflowError:
            if kept:
                kept.release()
            shift = kept = None
            rows, columns = _forward(x, y, plan, shift)
        ctx.plan, ctx.shift, ctx.kept = plan, shift, kept
        ctx.save_for_backward(x, y, rows, columns)
        return rows, columns

    @staticmethod
    @first_derivative
    def backward(ctx: Any, row_grad: Tensor, column_grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, rows, columns = ctx.saved_tensors
        needs_y = y is not None and ctx.needs_input_grad[1]
        mine = Side(rows, row_grad)
        theirs = mine if ctx.plan.symmetric else Side(columns, column_grad) if ctx.plan.two_sided else None
        if ctx.shift is None:
            weights: Weights = OnlineWeights(mine, theirs, ctx.plan.wanted)
        else:
            weights = ConstantWeights(mine, theirs, ctx.plan.wanted, ctx.shift)
        with torch.autocast(x.device.type, enabled=False):  # backward may be called where the loss was not
            dx, dy = _backward(x, y, ctx.plan, weights, needs_y, ctx.kept)
        return dx, dy, None


def _shift(x: Tensor, y: Tensor, plan: Plan) -> float | None:
    """The constant shift of exponents; None: online at once."""
    if plan.ring:  # all ranks must go round the same number of times, whatever their sums
        return None
    shift = shift_for(x, y, plan.wanted)
    # What keeps large exponentials small makes their inverses larger.
    return None if shift and any(p.exponent < 0 for p in plan.wanted.powers) else shift


def _kept(x: Tensor, y: Tensor | None, plan: Plan) -> Kept | None:
    pairs = len(x) * (len(x) if y is None else len(y))
    return Kept(x, pairs) if plan.ring is None and regular(plan.wanted.powers) else None


def _forward(
    x: Tensor, y: Tensor | None, plan: Plan, shift: float | None, kept: Kept | None = None
) -> tuple[Tensor, Tensor]:
    other = x if plan.symmetric else y if plan.two_sided else None
    sums: Sums
    sums = OnlineSums(x, other, plan.wanted) if shift is None else ConstantSums(x, other, plan.wanted, shift)
    for layout, block, _ in _blocks(x if y is None else y, plan):
        for t in layout.tiles():
            room = kept.room(t.i1 - t.i0, t.j1 - t.j0) if kept else None
            sums.add(outer(x[t.i0 : t.i1], block[t.j0 : t.j1]), t, layout, room)
    rows = sums.result(plan.counts())
    return rows, sums.result(plan.column_counts(), True) if plan.two_sided else rows.new_empty(len(rows), 0)


def _backward(
    x: Tensor, y: Tensor | None, plan: Plan, weights: Weights, needs_y: bool, kept: Kept | None
) -> tuple[Tensor, Tensor | None]:
    dx = torch.zeros_like(x)
    dy = dx if y is None else None
    if y is not None and needs_y:  # a ring passes its parts on, as they lie
        dy = torch.zeros_like(y) if plan.ring else turned_zeros(y)
    with taken(kept) as tiles:
        for layout, block, d_block in _blocks(x if y is None else y, plan, dy):
            turned, first = x.T, -1
            for t, u in zip_longest(layout.tiles(), tiles):
                if u is None or not isinstance(weights, ConstantWeights):
                    w = weights.tile(outer(x[t.i0 : t.i1], block[t.j0 : t.j1]), t, layout)
                else:
                    w = weights.of_exponentials(u.view(t.i1 - t.i0, t.j1 - t.j0), t, layout)
                add_rows(dx[t.i0 : t.i1], w, block[t.j0 : t.j1])
                if d_block is not None and not (layout.symmetric and t.i0 == t.j0):
                    if t.i0 != first:
                        turned, first = x[t.i0 : t.i1].T.contiguous(), t.i0
                    add_columns(d_block[t.j0 : t.j1], w, turned)
    return dx, None if y is None or dy is None else dy.contiguous()


def _blocks(y: Tensor, plan: Plan, dy: Tensor | None = None) -> Iterator[tuple[Layout, Tensor, Tensor | None]]:
    """Each layout with its columns and where their gradient goes."""
    if plan.ring is None:
        yield plan.layouts[0], y, dy
        return
    for source, (block, d_block) in plan.ring.rotate(y, dy):
        yield plan.layouts[source], block, d_block
