"""Which pairs belong together, and how rows sorted by group fall into tiles and blocks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearfar.errors import ConfigError

Kind = Literal["far", "near", "mixed"]
PACK_ROWS = 128
"""rows up to which small groups share a block: fewer blocks, at the price of pairs that are computed for nothing"""
SLAB_ELEMENTS = 2**18
"""elements of a slab of rows; with its temporaries it stays in the cache of one core"""
RECTANGLES = 8
"""near rectangles of a tile up to which each is treated by itself"""
_TILE: ContextVar[int] = ContextVar("tile", default=0)


@contextmanager
def tile(rows: int) -> Iterator[None]:
    """Use tiles of `rows` x `rows` inside the block; for measuring, and for tests with few rows."""
    if rows < 1:
        raise ConfigError("a tile needs rows", found=rows)
    token = _TILE.set(rows)
    try:
        yield
    finally:
        _TILE.reset(token)


def tile_rows(device: torch.device) -> int:
    """Rows of a tile: what `tile` set, else NEARFAR_TILE, else what fits a core's cache."""
    return _TILE.get() or int(environment("NEARFAR_TILE", 0)) or (768 if device.type == "cpu" else 4096)


def environment(name: str, usual: float) -> float:
    """A variable of the environment that is a number, not below zero; ConfigError where it is something else."""
    text = os.environ.get(name, "")
    try:
        number = float(text) if text else usual
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ConfigError("a variable of the environment must be a number, 0 or more", where=name, found=text)
    return number


class Tile(NamedTuple):
    """Rows i0:i1 against columns j0:j1; kind: no pair, every pair or some pairs are of one group."""

    i0: int
    i1: int
    j0: int
    j1: int
    kind: Kind


class Spots(NamedTuple):
    """Where a mixed tile is not far: rectangles (rows, columns) of near pairs where those are few and large, else flat
    indices of near pairs; and flat indices of pairs that are one thing, which lie in the rectangles too."""

    rectangles: list[tuple[slice, slice]]
    near: Tensor
    twins: Tensor


class Block(NamedTuple):
    """Rows i0:i1 and all columns j0:j1 that share a group with any of them."""

    i0: int
    i1: int
    j0: int
    j1: int


@dataclass(frozen=True)
class Layout:
    """Groups of sorted rows [n] and columns [m], and the number each has in the world (None: no pair is of one thing).

    Two rows of one group are near, two of different groups far; a row and a column of the same number are one thing
    and neither. `symmetric`: columns are the rows, and a tile stands for its mirror image too.
    """

    rows: Tensor
    columns: Tensor
    row_numbers: Tensor | None
    column_numbers: Tensor | None
    symmetric: bool
    size: int

    def tiles(self) -> Iterator[Tile]:
        """All tiles; of a symmetric layout those on and above the diagonal."""
        rows = _spans_of(self.rows, self.size)
        columns = rows if self.symmetric else _spans_of(self.columns, self.size)
        for i, (i0, i1, first, last) in enumerate(rows):
            for j0, j1, low, high in columns[i if self.symmetric else 0 :]:
                yield Tile(i0, i1, j0, j1, self._kind(i0 == j0, first, last, low, high))

    def _kind(self, corner: bool, first: int, last: int, low: int, high: int) -> Kind:
        if last < low or high < first:
            return "far"
        twins = self.row_numbers is not None and (corner or not self.symmetric)
        return "near" if first == last == low == high and not twins else "mixed"

    def spots(self, t: Tile) -> Spots:
        """The pairs of a mixed tile that are not far."""
        starts, ends, first, last = self._runs
        near = slice(np.searchsorted(ends, t.i0, side="right"), np.searchsorted(starts, t.i1))
        r0, r1 = np.maximum(starts[near], t.i0) - t.i0, np.minimum(ends[near], t.i1) - t.i0
        c0, c1 = np.maximum(first[near], t.j0) - t.j0, np.minimum(last[near], t.j1) - t.j0
        some = c1 > c0
        cut = np.stack([r0, r1, c0, c1])[:, some]
        twins = self._twins_of(t)
        if cut.shape[1] <= RECTANGLES:
            found = [(slice(a, b), slice(c, d)) for a, b, c, d in cut.T.tolist()]
            return Spots(found, twins[:0], twins)
        pairs = torch.from_numpy(_inside(cut, t.j1 - t.j0))
        return Spots([], pairs[~torch.isin(pairs, twins.cpu())].to(self.rows.device), twins)

    @cached_property
    def _runs(self) -> tuple[Any, ...]:
        """Of each group of rows: where its rows start and end, and where its columns do; NumPy, [groups] each."""
        groups, sizes = self.rows.unique_consecutive(return_counts=True)  # type: ignore[no-untyped-call]
        ends = sizes.cumsum(0)
        places = ends - sizes, ends, *(torch.searchsorted(self.columns, groups, right=r) for r in (False, True))
        return tuple(p.cpu().numpy() for p in places)

    @cached_property
    def _own(self) -> Tensor | None:
        """The column that is one thing with each row, int64 [n]; -1: none."""
        if self.row_numbers is None or self.column_numbers is None or not len(self.column_numbers):
            return None
        numbers, order = self.column_numbers.sort()
        place = torch.searchsorted(numbers, self.row_numbers).clamp(max=len(numbers) - 1)
        return torch.where(numbers[place] == self.row_numbers, order[place], -1)

    def _twins_of(self, t: Tile) -> Tensor:
        if self.symmetric:
            diagonal = t.i1 - t.i0 if t.i0 == t.j0 and self.row_numbers is not None else 0
            return torch.arange(diagonal, device=self.rows.device) * (diagonal + 1)
        if self._own is None:
            return self.rows[:0]
        own = self._own[t.i0 : t.i1]
        rows = ((own >= t.j0) & (own < t.j1)).nonzero()[:, 0]
        return rows * (t.j1 - t.j0) + own[rows] - t.j0

    def masks(self, t: Tile) -> tuple[Tensor, Tensor]:
        """near and far of a tile, bool; one thing with itself is neither."""
        equal = self.rows[t.i0 : t.i1, None] == self.columns[None, t.j0 : t.j1]
        if self.row_numbers is None or self.column_numbers is None:
            return equal, ~equal
        twin = self.row_numbers[t.i0 : t.i1, None] == self.column_numbers[None, t.j0 : t.j1]
        return equal & ~twin, ~equal

    def near(self, b: Block) -> Tensor:
        """`masks(...)[0]` of a block; of one group in a symmetric layout that is everything but a diagonal."""
        groups = self.rows[[b.i0, b.i1 - 1, b.j0, b.j1 - 1]].tolist() if self.symmetric else []
        if len(set(groups)) == 1:
            near = torch.ones(b.i1 - b.i0, b.j1 - b.j0, dtype=torch.bool, device=self.rows.device)
            near.diagonal(b.i0 - b.j0).fill_(False)
            return near
        return self.masks(Tile(*b, "mixed"))[0]

    @cached_property
    def counts(self) -> tuple[Tensor, Tensor]:
        """Columns that are near and far of each row, int64 [n]. One thing must be in its own group on both sides."""
        if self.symmetric:
            _, group, sizes = self.rows.unique_consecutive(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
            return sizes[group] - int(self.row_numbers is not None), len(self.rows) - sizes[group]
        equal = _count(self.columns, self.rows)
        if self.row_numbers is None or self.column_numbers is None:
            return equal, len(self.columns) - equal
        twin = _count(self.column_numbers.sort().values, self.row_numbers)
        return equal - twin, len(self.columns) - equal


def _count(values: Tensor, wanted: Tensor) -> Tensor:
    """How often each of `wanted` is in the sorted `values`."""
    return torch.searchsorted(values, wanted, right=True) - torch.searchsorted(values, wanted)


def spans(n: int, size: int) -> list[tuple[int, int]]:
    """0..n cut into pieces of `size`, the last one shorter."""
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def _spans_of(groups: Tensor, size: int) -> list[tuple[int, int, int, int]]:
    """Spans of `size` sorted rows, the last one shorter, with the first and last group of each."""
    cuts = spans(len(groups), size)
    ends = groups[[i for i0, i1 in cuts for i in (i0, i1 - 1)]].tolist()
    return [(i0, i1, ends[2 * k], ends[2 * k + 1]) for k, (i0, i1) in enumerate(cuts)]


def _inside(cut: Any, width: int) -> Any:
    """Flat indices in a tile of that width of all pairs in the rectangles (r0, r1, c0, c1) [4, k]."""
    r0, r1, c0, c1 = cut
    wide = np.repeat(c1 - c0, r1 - r0)  # pairs in each row of each rectangle
    heads = np.repeat(c0 + r0 * width, r1 - r0) + (_ramp(r1 - r0) * width)
    return np.repeat(heads, wide) + _ramp(wide)


def _ramp(counts: Any) -> Any:
    """0..c for each c of counts, one after another."""
    return np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)


def blocks(rows: Tensor, columns: Tensor, size: int | None = None) -> list[Block]:
    """Slabs of rows [n] with their near columns [m], both sorted by group; small groups share a slab.

    size: cut the columns too, into spans of at most this many. Otherwise a slab has all columns of its groups.
    """
    groups, sizes = rows.unique_consecutive(return_counts=True)  # type: ignore[no-untyped-call]
    row_ends = sizes.cumsum(0).cpu().numpy()
    starts = torch.searchsorted(columns, groups).cpu().numpy()
    ends = torch.searchsorted(columns, groups, right=True).cpu().numpy()
    found: list[Block] = []
    first, row = 0, 0
    while first < len(row_ends):
        by_rows = int(np.searchsorted(row_ends, row + PACK_ROWS, side="right"))
        by_columns = int(np.searchsorted(ends, starts[first] + PACK_ROWS, side="right"))
        last = max(first + 1, min(by_rows, by_columns))
        a, b = int(starts[first]), int(ends[last - 1])
        pieces = max(1, math.ceil((b - a) / size)) if size else 1
        for j0, j1 in spans(b - a, max(1, math.ceil((b - a) / pieces))):
            found += slabs(row, int(row_ends[last - 1]), a + j0, a + j1)
        first, row = last, int(row_ends[last - 1])
    return found


def slabs(i0: int, i1: int, j0: int, j1: int, whole: int = 1) -> list[Block]:
    """Rows i0:i1 in slabs that see all columns j0:j1."""
    height = max(32, SLAB_ELEMENTS // max(j1 - j0, 1))
    height = height // 64 * 64 if height >= 64 else height  # few shapes
    height = max(1, height // whole) * whole  # rows that belong together, as patches of an image
    return [Block(i0 + a, i0 + b, j0, j1) for a, b in spans(i1 - i0, height)]
