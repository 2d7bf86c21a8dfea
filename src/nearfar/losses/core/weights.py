"""The other way: from gradients of the sums to the gradient of a tile of s."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from nearfar.losses.core import bodies
from nearfar.losses.core.exponentials import exponential
from nearfar.losses.core.layout import Layout, Spots, Tile
from nearfar.losses.core.sums import Masks, Wanted, nothing, raised, regular

Far = Callable[[Tensor, Tile], Tensor]


class Side(NamedTuple):
    """Log-sum-exps [2 + P, n] of one side's rows and the gradients of the loss in them."""

    lse: Tensor
    grad: Tensor


class Weights(Protocol):
    """`tile` turns a tile of s into the gradient of the loss in it."""

    def tile(self, s: Tensor, t: Tile, layout: Layout) -> Tensor:
        """[i1 - i0, j1 - j0]; s is overwritten."""


class ConstantWeights:
    """exp(p (s - m)) times a factor of the row plus a factor of the column: one exponential serves both sides."""

    def __init__(self, rows: Side, columns: Side | None, wanted: Wanted, shift: float) -> None:
        self.wanted, self.shift = wanted, shift
        self.rows = self._factors(rows)
        self.columns = self.rows if columns is rows else None if columns is None else self._factors(columns)
        self._buffers: dict[int, Tensor] = {}

    def _factors(self, side: Side) -> Tensor:
        powers = side.lse.new_tensor([0.0, 1.0, *(p.exponent for p in self.wanted.powers)])[:, None]
        slopes = side.lse.new_tensor([1.0, 1.0, *(p.slope for p in self.wanted.powers)])[:, None]
        scale = (powers * self.shift - side.lse).exp()
        scale[0] = 1.0
        return torch.where(side.lse > nothing(side.lse.dtype) / 2, side.grad * slopes * scale, 0.0)

    def _factor(self, k: int, t: Tile) -> Tensor:
        """[h, 1], or [h, w] in a buffer that the next call with k fills again: fresh memory costs more than the sum."""
        rows = self.rows[k, t.i0 : t.i1, None]
        if self.columns is None:
            return rows
        height, width = t.i1 - t.i0, t.j1 - t.j0
        buffer = self._buffers.get(k)
        if buffer is None or len(buffer) < height * width:
            buffer = self._buffers[k] = rows.new_empty(height * width)
        return torch.add(rows, self.columns[k, None, t.j0 : t.j1], out=buffer[: height * width].view(height, width))

    def tile(self, s: Tensor, t: Tile, layout: Layout) -> Tensor:
        if regular(self.wanted.powers):
            return self.of_exponentials(exponential(s, self.shift), t, layout)
        if self.shift:
            s.sub_(self.shift)
        if t.kind == "far":
            return self._raised(s, t)
        if t.kind == "near":
            return self._near(exponential(s), t)
        return self._mixed(s, t, layout.spots(t), self._raised, torch.exp)

    def of_exponentials(self, u: Tensor, t: Tile, layout: Layout) -> Tensor:
        """`tile` from exp(s - m), which is overwritten, where the powers are regular."""
        if t.kind == "far":
            return self._far(u, t)
        return self._near(u, t) if t.kind == "near" else self._mixed(u, t, layout.spots(t), self._far, torch.clone)

    def _mixed(self, u: Tensor, t: Tile, spots: Spots, far: Far, exponentials: Callable[[Tensor], Tensor]) -> Tensor:
        near = [self._near(exponentials(u[r, c]), _part(t, r, c)) for r, c in spots.rectangles]
        pairs = self._pairs(exponentials(u.view(-1)[spots.near]), t, spots.near)
        w = far(u, t)
        for (r, c), values in zip(spots.rectangles, near, strict=True):
            w[r, c] = values
        flat = w.view(-1)
        flat[spots.near] = pairs
        flat[spots.twins] = 0.0
        return w

    def _pairs(self, u: Tensor, t: Tile, where: Tensor) -> Tensor:
        """The gradient at single near pairs."""
        i, j = where // (t.j1 - t.j0) + t.i0, where % (t.j1 - t.j0) + t.j0
        factors = self.rows[:, i] if self.columns is None else self.rows[:, i] + self.columns[:, j]
        return factors[0] + u * factors[1] if self.wanted.near else factors[0]

    def _near(self, u: Tensor, t: Tile) -> Tensor:
        if not self.wanted.near:
            return self._factor(0, t).expand_as(u).clone(memory_format=torch.contiguous_format)
        u = u.mul_(self._factor(1, t))
        return u.add_(self._factor(0, t)) if self.wanted.linear else u

    def _far(self, u: Tensor, t: Tile) -> Tensor:
        first, *second = (p.slope != 0 for p in self.wanted.powers)
        if not any(second):
            return self._times(u, 2, t) if first else u.zero_()
        if not first:
            return self._times(u.square_(), 3, t)
        slopes = self._factor(3, t)
        slopes = slopes.mul(u) if self.columns is None else slopes.mul_(u)
        return u.mul_(slopes.add_(self._factor(2, t)))

    def _times(self, u: Tensor, k: int, t: Tile) -> Tensor:
        if self.columns is not None and bodies.backend(u.device):
            rows, columns = self.rows[k, t.i0 : t.i1], self.columns[k, t.j0 : t.j1]
            return cast(Tensor, bodies.run(bodies.weigh, u, rows, columns))
        return u.mul_(self._factor(k, t))

    def _raised(self, s: Tensor, t: Tile) -> Tensor:
        sloped = [k for k, p in enumerate(self.wanted.powers, 2) if p.slope]
        if len(sloped) == 1:
            (k,) = sloped
            return exponential(s, power=self.wanted.powers[k - 2].exponent).mul_(self._factor(k, t))
        total = torch.zeros_like(s)
        for k, e in enumerate(raised(s, self.wanted.powers), 2):
            if k in sloped:
                total.addcmul_(e, self._factor(k, t).expand_as(e))
        return total


def _part(t: Tile, r: slice, c: slice) -> Tile:
    return Tile(t.i0 + r.start, t.i0 + r.stop, t.j0 + c.start, t.j0 + c.stop, "near")


class OnlineWeights:
    """exp(p s - lse) of the row times the row's gradient, and the same of the column: no exponent above zero."""

    def __init__(self, rows: Side, columns: Side | None, wanted: Wanted) -> None:
        self.rows, self.columns, self.wanted = rows, columns, wanted

    def tile(self, s: Tensor, t: Tile, layout: Layout) -> Tensor:
        masks = layout.masks(t) if t.kind == "mixed" else None
        total = self._side(self.rows, s, slice(t.i0, t.i1), t, masks)
        if self.columns is not None:
            turned = None if masks is None else (masks[0].T, masks[1].T)
            total += self._side(self.columns, s.T, slice(t.j0, t.j1), t, turned).T
        return total

    def _side(self, side: Side, s: Tensor, where: slice, t: Tile, masks: Masks | None) -> Tensor:
        lse, grad = side.lse[:, where, None], side.grad[:, where, None]
        total = torch.zeros_like(s)
        if t.kind != "far":
            near = grad[0].expand_as(s)
            if self.wanted.near:
                near = near + (s - lse[1]).exp_().mul_(grad[1])
            total += near if masks is None else near.masked_fill(~masks[0], 0.0)
        if t.kind != "near":
            for k, power in enumerate(self.wanted.powers, 2):
                far = (s * power.exponent).sub_(lse[k]).exp_().mul_(grad[k] * power.slope)
                total += far if masks is None else far.masked_fill_(~masks[1], 0.0)
        return total
