"""The core as the losses use it: rows of this rank against those of the world, near by group, in tiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nearfar import parallel
from nearfar.losses.core.engine import Plan, sweep
from nearfar.losses.core.layout import Block, Layout, blocks, tile_rows
from nearfar.losses.core.ring import Ring
from nearfar.losses.core.rows import in_order, inverse_order
from nearfar.losses.core.slabs import SlabPlan, slab_sums
from nearfar.losses.core.softplus import Terms, TermsPlan, softplus_sums
from nearfar.losses.core.sums import Power, Wanted

Exchange = Literal["gather", "ring"]


class Pairs(NamedTuple):
    """The pairs of a slab. rows [h]: this rank's row numbers; columns [w]: numbers in rank order, then keys."""

    near: Tensor
    """[h, w] bool: same group, not one thing"""
    rows: Tensor
    columns: Tensor


PairKernel = Callable[[Tensor, Tensor, Pairs], Tensor]
"""kernel(s [h, w], level [L, h], pairs) -> [Q, h], a sum over the columns of the slab"""
PairTerms = Callable[[Tensor, Tensor, Pairs], Terms]
"""terms(s, level, pairs) -> weights and x of the pairs, see `Terms`"""


class _Columns(NamedTuple):
    """Columns sorted by group in one or, round a ring, several blocks; `numbers` as in `Pairs`."""

    y: Tensor | None
    layouts: tuple[Layout, ...]
    numbers: tuple[Tensor, ...]
    ring: Ring | None


class Contrast:
    """Rows x [n, D] of this rank against all columns, which fall into near (same group) and far (another).

    Args:
        x: rows; groups [n] int64 tell across ranks what belongs together.
        y: [n, D], the columns, where they are not the rows themselves; row i of y has x's group i. Then a row and its
            own column are a pair like any other, otherwise a row is neither near to nor far from itself.
        keys, key_groups: [K, D] and [K], further columns, the same on every rank.
        exchange: "gather" holds the columns of all ranks at once, "ring" those of one other rank at a time.
    """

    def __init__(
        self,
        x: Tensor,
        groups: Tensor,
        *,
        y: Tensor | None = None,
        keys: Tensor | None = None,
        key_groups: Tensor | None = None,
        exchange: Exchange = "gather",
    ) -> None:
        self.size = tile_rows(x.device)
        self.counts = parallel.sizes(len(x))
        self.order = groups.argsort(stable=True)
        self.groups = groups[self.order]
        self.x = x
        self._rows: dict[tuple[float, bool], Tensor] = {}
        self.world = parallel.gather(groups, self.counts)
        first = parallel.offset(len(x), self.counts)
        self.row_numbers = self.order + first if y is None else None
        self.parts = [self._ranks(x if y is None else y, exchange)]
        if keys is not None and key_groups is not None:
            self.parts.append(self._keys(keys, key_groups))

    def _ranks(self, y: Tensor, exchange: Exchange) -> _Columns:
        if len(self.counts) == 1:
            alone = y is None or self.row_numbers is not None
            layout = Layout(self.groups, self.groups, self.row_numbers, self.row_numbers, alone, self.size)
            return _Columns(None if alone else in_order(y, self.order), (layout,), (self.order,), None)
        if exchange == "ring":
            starts = [sum(self.counts[:r]) for r in range(len(self.counts))]
            local = [self.world[a : a + n].argsort(stable=True) for a, n in zip(starts, self.counts, strict=True)]
            numbers = tuple(a + order for a, order in zip(starts, local, strict=True))
            return _Columns(in_order(y, self.order), tuple(map(self._layout, numbers)), numbers, Ring(self.counts))
        order = self.world.argsort(stable=True)
        columns = in_order(parallel.gather(y, self.counts), order)
        return _Columns(columns, (self._layout(order),), (order,), None)

    def _layout(self, order: Tensor) -> Layout:
        numbers = order if self.row_numbers is not None else None
        return Layout(self.groups, self.world[order], self.row_numbers, numbers, False, self.size)

    def _keys(self, keys: Tensor, key_groups: Tensor) -> _Columns:
        order = key_groups.argsort(stable=True)
        layout = Layout(self.groups, key_groups[order], None, None, False, self.size)
        return _Columns(keys[order].to(self.x), (layout,), (order + len(self.world),), None)

    @cached_property
    def numbers(self) -> tuple[Tensor, Tensor]:
        """Near and far columns of each row, int64 [n], over ranks and keys."""
        parts = [Plan(p.layouts, Wanted(False, False, ())).counts() for p in self.parts]
        return self._restore(torch.stack([sum(p[0] for p in parts), sum(p[1] for p in parts)])).unbind(0)  # type: ignore[list-item, return-value]

    def most_near(self) -> int:
        """The largest number of near columns that any row of any rank has."""
        everything = torch.cat([self.world, *(p.layouts[0].columns for p in self.parts[1:])])
        counts = everything.unique(return_counts=True)[1]  # type: ignore[no-untyped-call]
        largest = int(counts.max()) if len(everything) else 0
        return largest - (self.row_numbers is not None)

    def sums(self, scale: float, powers: tuple[Power, ...] = (), *, linear: bool = False, near: bool = False) -> Tensor:
        """[2 + P, n] of s = scale x y^T: sum and log-sum-exp over near columns, log-sum-exp over far ones a power."""
        wanted = Wanted(linear, near, powers)
        total, *others = (self._part_sums(part, scale, wanted) for part in self.parts)
        for rows in others:
            total = torch.cat([total[:1] + rows[:1], torch.logaddexp(total[1:], rows[1:])])
        return self._restore(total)

    def _part_sums(self, part: _Columns, scale: float, wanted: Wanted) -> Tensor:
        x, y = self._scaled(part, scale)
        return sweep(x, y, Plan(part.layouts, wanted, False, part.ring))[0]

    def _scaled(self, part: _Columns, scale: float) -> tuple[Tensor, Tensor | None]:
        factor = math.sqrt(scale) if part.y is None else scale
        key = factor, torch.is_grad_enabled()  # rows made without a graph must not serve where one is wanted
        if key not in self._rows:  # kept, since every sweep saves them for its backward pass
            self._rows[key] = in_order(self.x, self.order, factor)
        return self._rows[key], part.y

    def pair_sums(
        self,
        kernel: PairKernel,
        level: Tensor,
        outputs: int,
        scale: float,
        *,
        whole: bool = False,
    ) -> Tensor:
        """[Q, n]: the kernel's sums over near columns of all kinds, with level [L, n] known of each row.

        The kernel sees tiles of the columns of a group, or, where it must rank or compare them, the `whole` group at
        once; and pairs of other groups that share its slab.
        """

        def part_sums(part: _Columns, x: Tensor, y: Tensor | None, level: Tensor) -> Tensor:
            def run(s: Tensor, level: Tensor, b: Block, source: int) -> Tensor:
                return kernel(s, level, self._pairs(part, b, source))

            return slab_sums(x, y, level, SlabPlan(self._slabs(part, whole), run, outputs, part.ring))

        return self._over_parts(part_sums, level, scale)

    def softplus_sums(
        self, terms: PairTerms, level: Tensor, scale: float, *, most: float = math.inf, whole: bool = False
    ) -> Tensor:
        """[2, n]: over near columns of all kinds, sums of weights and of weights times min(softplus(x), most).

        As `pair_sums` with a kernel of that form, without autograd: `terms` gives weights [h, w] without a gradient and
        x [h, w], which must be level[0] of the row minus s plus what has no gradient.
        """

        def part_sums(part: _Columns, x: Tensor, y: Tensor | None, level: Tensor) -> Tensor:
            def run(s: Tensor, level: Tensor, b: Block, source: int) -> Terms:
                return terms(s, level, self._pairs(part, b, source))

            return softplus_sums(x, y, level, TermsPlan(self._slabs(part, whole), run, most, part.ring))

        return self._over_parts(part_sums, level, scale)

    def _over_parts(
        self, sums: Callable[[_Columns, Tensor, Tensor | None, Tensor], Tensor], level: Tensor, scale: float
    ) -> Tensor:
        """`sums(part, x, y, level)` of all kinds of columns added up, on sorted rows; the result in the rows' order."""
        level = level[:, self.order]
        found = [sums(part, *self._scaled(part, scale), level) for part in self.parts]
        return self._restore(found[0] if len(found) == 1 else torch.stack(found).sum(0))

    def _slabs(self, part: _Columns, whole: bool) -> tuple[list[Block], ...]:
        size = None if whole else self.size
        return tuple(blocks(self.groups, layout.columns, size) for layout in part.layouts)

    def _pairs(self, part: _Columns, b: Block, source: int) -> Pairs:
        near = part.layouts[source].near(b)
        return Pairs(near, self.order[b.i0 : b.i1], part.numbers[source][b.j0 : b.j1])

    def _restore(self, sums: Tensor) -> Tensor:
        return sums[:, inverse_order(self.order)]


def two_sided(x: Tensor, y: Tensor, groups: Tensor | None = None, near: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of s = x y^T over all ranks, of rows and of columns [3, n] each, and near columns [n]; x and y are [n, D].

    Row 0 is the sum over near pairs, row 1 their log-sum-exp, row 2 that of far ones. Row i of x and row i of y have
    groups[i], compared across ranks (default: one each, so that near is s_ii alone). near: whether rows 0 and 1 are
    wanted. Both sides come from one pass over this rank's rows and the columns of all ranks: 4 units where two
    one-sided passes take 8. What other ranks' rows add to a column comes from those ranks, at most 5 numbers each.
    """
    counts = parallel.sizes(len(x))
    first = parallel.offset(len(x), counts)
    wanted = Wanted(near, near and groups is not None, (Power(1.0, 1.0),))
    y = parallel.gather(y, counts)
    if groups is None:
        world = torch.arange(len(y), device=x.device)
        layout = Layout(world[first : first + len(x)], world, None, None, False, tile_rows(x.device))
        rows, columns = sweep(x, y, Plan((layout,), wanted, two_sided=True))
        return rows, _own_columns(columns, wanted, counts), torch.ones_like(layout.rows)
    world = parallel.gather(groups, counts)
    order, turned = groups.argsort(stable=True), world.argsort(stable=True)
    layout = Layout(groups[order], world[turned], None, None, False, tile_rows(x.device))
    plan, back = Plan((layout,), wanted, two_sided=True), inverse_order(order)
    rows, columns = sweep(in_order(x, order), in_order(y, turned), plan)
    return rows[:, back], _own_columns(columns[:, inverse_order(turned)], wanted, counts), plan.counts()[0][back]


def _own_columns(columns: Tensor, wanted: Wanted, counts: parallel.Sizes) -> Tensor:
    """[3, n]: sums [3, N] over the rows of each rank put together; of the columns in rank order, this rank's own."""
    if len(counts) == 1:
        return columns
    # A rank that has no such pair adds exp(nothing - top) = 0, without a gradient; -inf would make it NaN.
    kept = 1 if wanted.near else 2
    top = parallel.global_max(columns[kept:])
    terms = torch.cat([columns[:1], (columns[kept:] - top).exp()])
    sums = parallel.scatter_sum(terms.T, counts).T
    first = parallel.offset(sums.shape[1], counts)
    own = slice(first, first + sums.shape[1])
    return torch.cat([sums[:1], columns[1:kept, own], sums[1:].log() + top[:, own]])
