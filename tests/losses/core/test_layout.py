"""Tiles, blocks and counts against all pairs, enumerated."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import ConfigError
from nearfar.losses.core.layout import Layout, blocks, slabs, tile, tile_rows

groups = st.lists(st.integers(-3, 6), max_size=40).map(lambda g: torch.tensor(sorted(g), dtype=torch.int64))
sizes = st.integers(1, 9)


def brute(rows: torch.Tensor, columns: torch.Tensor, twins: bool) -> tuple[torch.Tensor, torch.Tensor]:
    near = rows[:, None] == columns[None]
    far = ~near
    if twins:
        near = near & ~torch.eye(len(rows), len(columns), dtype=torch.bool)
    return near, far


def covered(layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """How often each pair is near and far in the tiles of a layout."""
    near = torch.zeros(len(layout.rows), len(layout.columns), dtype=torch.int64)
    far = near.clone()
    for t in layout.tiles():
        block = slice(t.i0, t.i1), slice(t.j0, t.j1)
        shape = (t.i1 - t.i0, t.j1 - t.j0)
        if t.kind == "mixed":
            masks = layout.masks(t)
        else:
            masks = torch.full(shape, t.kind == "near"), torch.full(shape, t.kind == "far")
        for total, mask in zip((near, far), masks, strict=True):
            total[block] += mask
            if layout.symmetric and t.i0 != t.j0:
                total[block[1], block[0]] += mask.T
    return near, far


@settings(max_examples=60, deadline=None)
@given(rows=groups, columns=groups, size=sizes)
def test_tiles_cover_every_pair_once(rows: torch.Tensor, columns: torch.Tensor, size: int) -> None:
    layout = Layout(rows, columns, None, None, False, size)
    near, far = brute(rows, columns, twins=False)
    got = covered(layout)
    assert torch.equal(got[0], near.long()) and torch.equal(got[1], far.long())
    counts = layout.counts
    assert torch.equal(counts[0], near.sum(1)) and torch.equal(counts[1], far.sum(1))


@settings(max_examples=60, deadline=None)
@given(rows=groups, size=sizes)
def test_a_symmetric_layout_leaves_out_each_row_itself(rows: torch.Tensor, size: int) -> None:
    numbers = torch.arange(len(rows)) + 5
    layout = Layout(rows, rows, numbers, numbers, True, size)
    near, far = brute(rows, rows, twins=True)
    got = covered(layout)
    assert torch.equal(got[0], near.long()) and torch.equal(got[1], far.long())
    assert torch.equal(layout.counts[0], near.sum(1))
    for b in blocks(rows, rows) + blocks(rows, rows, size):
        assert torch.equal(layout.near(b), near[b.i0 : b.i1, b.j0 : b.j1])


@settings(max_examples=60, deadline=None)
@given(rows=groups, size=sizes)
def test_tiles_are_at_most_half_as_large_again(rows: torch.Tensor, size: int) -> None:
    layout = Layout(rows, rows, None, None, False, size)
    assert all(t.i1 - t.i0 <= max(1, 1.5 * size) for t in layout.tiles())


@settings(max_examples=60, deadline=None)
@given(rows=groups, columns=groups, size=st.none() | sizes)
def test_blocks_hold_every_near_pair_once(rows: torch.Tensor, columns: torch.Tensor, size: int | None) -> None:
    seen = torch.zeros(len(rows), len(columns), dtype=torch.int64)
    for b in blocks(rows, columns, size):
        assert size is None or b.j1 - b.j0 <= size
        seen[b.i0 : b.i1, b.j0 : b.j1] += 1
    assert bool((seen <= 1).all())
    assert bool((seen[rows[:, None] == columns[None]] == 1).all())


def test_large_groups_make_blocks_of_their_own() -> None:
    rows = torch.arange(4).repeat_interleave(300)
    assert all(b.j1 - b.j0 == 300 for b in blocks(rows, rows))


def test_slabs_keep_images_whole() -> None:
    cut = slabs(0, 700, 0, 2**14, whole=7)
    assert cut[0].i0 == 0 and cut[-1].i1 == 700 and all(b.i0 % 7 == 0 for b in cut) and len(cut) > 1


def test_tile_is_set_for_a_block_of_code(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    usual = tile_rows(cpu)
    with tile(5):
        assert tile_rows(cpu) == 5
    assert tile_rows(cpu) == usual
    monkeypatch.setenv("NEARFAR_TILE", "77")
    assert tile_rows(cpu) == 77
    for wrong in ("-1", "large", "nan"):
        monkeypatch.setenv("NEARFAR_TILE", wrong)
        with pytest.raises(ConfigError, match="NEARFAR_TILE"):
            tile_rows(cpu)
    with pytest.raises(ConfigError, match="rows"), tile(0):
        pass
