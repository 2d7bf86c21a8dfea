"""Sums of exponentials over tiles: with one constant shift for rows of bounded length, online for any others.

Both keep [2 + P, n] numbers for n rows: the sum of s over near columns, their log-sum-exp, and one log-sum-exp of far
columns a power. A tile may add to its columns too, which are other rows or, in a symmetric layout, the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nearfar.losses.core import bodies
from nearfar.losses.core.exponentials import exponential
from nearfar.losses.core.layout import Layout, Spots, Tile

LIMIT = {torch.float32: 60.0, torch.float64: 600.0}
"""exponents up to which a sum of many exponentials, or one of their inverses, is a normal number"""
TINY = {torch.float32: 1e-28, torch.float64: 1e-250}
"""a shifted sum below this may have lost terms that count"""
Masks = tuple[Tensor, Tensor]
"""near and far of a mixed tile, bool"""


class Power(NamedTuple):
    """log sum of exp(exponent * s), whose derivative in s is taken as slope * softmax(exponent * s).

    The true slope is the exponent. With slope 1 and exponent 1 + g it is the derivative of LSE(s + g stop(s)), and
    with slope 0 the sum is a constant: the two halves of negatives that are reweighted without a gradient.
    """

    exponent: float
    slope: float


@dataclass(frozen=True)
class Wanted:
    """What is computed of each row: the sum of near s, their log-sum-exp, the powers of far s. Others stay zero."""

    linear: bool
    near: bool
    powers: tuple[Power, ...]

    @property
    def outputs(self) -> int:
        """Numbers a row."""
        return 2 + len(self.powers)


class UnderflowError(ArithmeticError):
    """The constant shift has lost a row; the sweep must start again, online."""


class Sums(Protocol):
    """Running sums of rows, and of columns where wanted."""

    def add(self, s: Tensor, t: Tile, layout: Layout, room: Tensor | None = None) -> None:
        """Add the tile s, which is overwritten. room: leave there what `ConstantWeights.of_exponentials` takes."""

    def result(self, counts: tuple[Tensor, Tensor], of_columns: bool = False) -> Tensor:
        """[2 + P, n] for rows (or columns) with that many near and far partners."""


def shift_for(x: Tensor, y: Tensor, wanted: Wanted) -> float:
    """m such that exp(p (s - m)), p > 0, does not overflow for any |s| <= |x| |y| (Cauchy-Schwarz); 0: none needed."""
    if not len(x) or not len(y):
        return 0.0
    bound = float(x.norm(dim=1).max() * y.norm(dim=1).max())
    return max(0.0, bound - LIMIT[x.dtype] / max([abs(p.exponent) for p in wanted.powers] + [1.0]))


def nothing(dtype: torch.dtype) -> float:
    """The log-sum-exp of no terms: half the most negative number, whose gradient is not NaN as that of -inf."""
    return torch.finfo(dtype).min / 2


def raised(u: Tensor, powers: tuple[Power, ...]) -> Iterator[Tensor]:
    """exp(p u) a power; consumes u. An inverse is cheaper than an exponential."""
    exponents = [p.exponent for p in powers]
    if exponents == [1.0, -1.0]:
        yield exponential(u)
        yield u.reciprocal_()
    else:
        for exponent in exponents:
            yield exponential(u, power=exponent, out=torch.empty_like(u))


def regular(powers: tuple[Power, ...]) -> bool:
    """Whether exp(s - m) is all that is needed of a tile: its square is cheaper than another exponential."""
    return [p.exponent for p in powers] in ([1.0], [1.0, 2.0])


def _plain(powers: tuple[Power, ...]) -> bool:
    return [p.exponent for p in powers] == [1.0]


class Hidden:
    """The near entries of a tile, zero in it until they are restored."""

    def __init__(self, u: Tensor, spots: Spots) -> None:
        self.u, self.spots = u, spots
        self.rectangles = [u[r, c].clone() for r, c in spots.rectangles]
        self.near = u.view(-1)[spots.near]
        blank(u, spots)

    def restore(self) -> None:
        """Put them back in; pairs that are one thing stay zero."""
        for (r, c), values in zip(self.spots.rectangles, self.rectangles, strict=True):
            self.u[r, c] = values
        self.u.view(-1)[self.spots.near] = self.near


def blank(u: Tensor, spots: Spots) -> None:
    """Zero at all pairs that are not far, in place."""
    for r, c in spots.rectangles:
        u[r, c] = 0.0
    u.view(-1)[spots.near] = 0.0
    u.view(-1)[spots.twins] = 0.0


class ConstantSums:
    """exp(p (s - m)) summed as it is: one pass over a tile serves its rows and its columns."""

    def __init__(self, rows: Tensor, columns: Tensor | None, wanted: Wanted, shift: float) -> None:
        self.wanted, self.shift = wanted, shift
        self._squares: Tensor | None = None
        self.rows = rows.new_zeros(wanted.outputs, len(rows))
        symmetric = columns is rows
        self.columns = (
            self.rows if symmetric else None if columns is None else rows.new_zeros(wanted.outputs, len(columns))
        )

    def add(self, s: Tensor, t: Tile, layout: Layout, room: Tensor | None = None) -> None:
        spots = layout.spots(t) if t.kind == "mixed" else None
        if t.kind != "far" and self.wanted.linear:
            self._linear(s, t, spots)
        if t.kind == "far" and _plain(self.wanted.powers) and bodies.backend(s.device):
            self._compiled(s, t, s if room is None else room)
            return
        if regular(self.wanted.powers):
            self._exponentials(exponential(s, self.shift, out=room), t, spots, room is not None)
        else:
            self._others(s.sub_(self.shift) if self.shift else s, t, spots)

    def _compiled(self, s: Tensor, t: Tile, room: Tensor) -> None:
        of_rows, of_columns = bodies.run(bodies.exponential_sums, s, s.new_full((), self.shift), room)
        self.rows[2, t.i0 : t.i1].add_(of_rows)
        if self.columns is not None:  # never a corner of a symmetric layout, which holds a row and itself
            self.columns[2, t.j0 : t.j1].add_(of_columns)

    def _linear(self, s: Tensor, t: Tile, spots: Spots | None) -> None:
        if spots is not None:
            s.view(-1)[spots.twins] = 0.0
        self._near(0, s, t, spots)

    def _exponentials(self, u: Tensor, t: Tile, spots: Spots | None, keep: bool) -> None:
        """Add u = exp(s - m), which is left as it is where to `keep`."""
        if spots is not None:
            u.view(-1)[spots.twins] = 0.0
        if t.kind != "far" and self.wanted.near:
            self._near(1, u, t, spots)
        if t.kind == "near":
            return
        hidden = Hidden(u, spots) if spots is not None else None
        self._put(2, u, t)
        if len(self.wanted.powers) == 2:
            self._put(3, torch.square(u, out=self._square(u)) if keep else u.square_(), t)
        if hidden is not None and keep:
            hidden.restore()

    def _square(self, u: Tensor) -> Tensor:
        if self._squares is None or self._squares.numel() < u.numel():
            self._squares = torch.empty_like(u).view(-1)
        return self._squares[: u.numel()].view(u.shape)

    def _others(self, s: Tensor, t: Tile, spots: Spots | None) -> None:
        if t.kind != "far" and self.wanted.near:
            if spots is not None:
                s.view(-1)[spots.twins] = -math.inf
            self._near(1, exponential(s, out=torch.empty_like(s)), t, spots)
        if t.kind == "near":
            return
        for k, e in enumerate(raised(s, self.wanted.powers), 2):
            if spots is not None:
                blank(e, spots)
            self._put(k, e, t)

    def _near(self, k: int, u: Tensor, t: Tile, spots: Spots | None) -> None:
        """Add the near entries of u."""
        if spots is None:
            self._put(k, u, t)
            return
        for r, c in spots.rectangles:
            within = t._replace(i0=t.i0 + r.start, i1=t.i0 + r.stop, j0=t.j0 + c.start, j1=t.j0 + c.stop)
            self._put(k, u[r, c], within, t.i0 == t.j0)
        if len(spots.near):
            values, width = u.view(-1)[spots.near], u.shape[1]
            self.rows[k].index_add_(0, spots.near // width + t.i0, values)
            if self.columns is not None and not (self.columns is self.rows and t.i0 == t.j0):
                self.columns[k].index_add_(0, spots.near % width + t.j0, values)

    def _put(self, k: int, u: Tensor, t: Tile, corner: bool | None = None) -> None:
        corner = t.i0 == t.j0 if corner is None else corner
        self.rows[k, t.i0 : t.i1].add_(u.sum(1))
        if self.columns is not None and not (self.columns is self.rows and corner):
            self.columns[k, t.j0 : t.j1].add_(u.sum(0))

    def result(self, counts: tuple[Tensor, Tensor], of_columns: bool = False) -> Tensor:
        sums = self.columns if of_columns and self.columns is not None else self.rows
        out = sums.log()
        out[0] = sums[0]
        for k in range(1, len(sums)):
            some = counts[0 if k == 1 else 1] > 0
            if self.shift and _wanted(self.wanted, k) and bool((some & (sums[k] < TINY[sums.dtype])).any()):
                raise UnderflowError
            exponent = 1.0 if k == 1 else self.wanted.powers[k - 2].exponent
            out[k] = torch.where(some, out[k] + exponent * self.shift, nothing(sums.dtype))
        return out


def _wanted(wanted: Wanted, k: int) -> bool:
    return wanted.near if k == 1 else True


class OnlineSums:
    """A running maximum and the sum relative to it, a row and power: right for any s, at twice the exponentials."""

    def __init__(self, rows: Tensor, columns: Tensor | None, wanted: Wanted) -> None:
        self.wanted = wanted
        self.rows = self._empty(rows)
        self.columns = self.rows if columns is rows else None if columns is None else self._empty(columns)

    def _empty(self, x: Tensor) -> tuple[Tensor, Tensor]:
        sums = x.new_zeros(self.wanted.outputs, len(x))
        return sums, torch.full_like(sums, torch.finfo(x.dtype).min / 4)

    def add(self, s: Tensor, t: Tile, layout: Layout, room: Tensor | None = None) -> None:
        masks = layout.masks(t) if t.kind == "mixed" else None
        self._side(self.rows, s, slice(t.i0, t.i1), t, masks)
        if self.columns is not None and not (self.columns is self.rows and t.i0 == t.j0):
            turned = None if masks is None else (masks[0].T, masks[1].T)
            self._side(self.columns, s.T, slice(t.j0, t.j1), t, turned)

    def _side(self, state: tuple[Tensor, Tensor], s: Tensor, where: slice, t: Tile, masks: Masks | None) -> None:
        sums, _ = state
        if t.kind != "far":
            near = None if masks is None else ~masks[0]
            if self.wanted.linear:
                sums[0, where] += (s if near is None else s.masked_fill(near, 0.0)).sum(1)
            if self.wanted.near:
                self._online(state, 1, where, s.clone() if near is None else s.masked_fill(near, -math.inf))
        if t.kind != "near":
            for k, power in enumerate(self.wanted.powers, 2):
                u = s * power.exponent
                self._online(state, k, where, u if masks is None else u.masked_fill_(~masks[1], -math.inf))

    def _online(self, state: tuple[Tensor, Tensor], k: int, where: slice, u: Tensor) -> None:
        sums, top = state[0][k], state[1][k]
        higher = torch.maximum(top[where], u.amax(1))
        sums[where] *= (top[where] - higher).exp_()
        sums[where] += exponential(u.sub_(higher[:, None])).sum(1)
        top[where] = higher

    def result(self, counts: tuple[Tensor, Tensor], of_columns: bool = False) -> Tensor:
        sums, top = self.columns if of_columns and self.columns is not None else self.rows
        out = sums.log() + top
        out[0] = sums[0]
        out[1] = torch.where(counts[0] > 0, out[1], nothing(sums.dtype))
        out[2:] = torch.where(counts[1] > 0, out[2:], nothing(sums.dtype))
        return out
