"""Ranks by packed sorting are the ranks of a stable sort."""

from __future__ import annotations

import pytest
import torch

from nearfar.losses._published_tiled import _rising_ranks, ranks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_go_by_column_and_infinity_comes_last(dtype: torch.dtype) -> None:
    x = (torch.rand(50, 37, dtype=dtype) * 8).floor() / 8
    x[torch.rand(50, 37) < 0.2] = torch.inf
    x[:, 5] = 0.0
    assert torch.equal(_rising_ranks(x), ranks(-x))
    assert torch.equal(_rising_ranks(x).sort(1).values, torch.arange(37, dtype=dtype).expand(50, 37))
