"""Attention maps as pure functions: last block, rollout, and similarity to a chosen patch.

They take what `ImageEncoder.attention` and `ImageEncoder.dense` return and give maps [B, rows, columns].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nearfar.errors import ConfigError, ShapeError


def last_block(maps: Sequence[Tensor], grid: tuple[int, int], prefix_tokens: int = 1) -> Tensor:
    """Attention of the class token to the patches in the last block, mean over heads: [B, rows, columns].

    maps: [B, heads, T, T] a block. Without a class token (`prefix_tokens` 0) the mean over all querying patches.
    Rows sum to at most 1: what the class token gives to itself and to registers is left out.
    """
    _check(maps, grid, prefix_tokens)
    return _to_patches(maps[-1].mean(1), grid, prefix_tokens)


def rollout(maps: Sequence[Tensor], grid: tuple[int, int], prefix_tokens: int = 1) -> Tensor:
    """Attention rollout (Abnar and Zuidema 2020, section 3): how much of each patch reaches the class token.

    The product over the blocks of (A + I) / 2, A the mean over heads; maps and result as in `last_block`.
    """
    _check(maps, grid, prefix_tokens)
    return _to_patches(rollout_matrix(maps), grid, prefix_tokens)


def rollout_matrix(maps: Sequence[Tensor]) -> Tensor:
    """The whole rollout [B, T, T]; every row sums to 1 where the rows of `maps` do."""
    identity = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype, device=maps[0].device)
    product = identity.expand(maps[0].shape[0], -1, -1)
    for attention in maps:
        product = (attention.mean(1) + identity) / 2 @ product
    return product


def similarity(features: Tensor, row: int, column: int) -> Tensor:
    """Cosine of every cell of dense features [B, D, h, w] with the cell (row, column): [B, h, w], -1 to 1."""
    rows, columns = features.shape[-2:]
    if not (0 <= row < rows and 0 <= column < columns):
        raise ConfigError(
            "the chosen patch lies outside the map", found=f"({row}, {column})", expected=f"below ({rows}, {columns})"
        )
    unit = F.normalize(features.float(), dim=1)
    return (unit * unit[:, :, row, column, None, None]).sum(1)


def _to_patches(attention: Tensor, grid: tuple[int, int], prefix_tokens: int) -> Tensor:
    queries = attention[:, 0] if prefix_tokens else attention.mean(1)
    return queries[:, prefix_tokens:].reshape(-1, *grid)


def _check(maps: Sequence[Tensor], grid: tuple[int, int], prefix_tokens: int) -> None:
    tokens = prefix_tokens + grid[0] * grid[1]
    for block, attention in enumerate(maps):
        if attention.ndim != 4 or attention.shape[-2:] != (tokens, tokens):
            raise ShapeError(
                f"attention of block {block} does not fit the patches",
                found=tuple(attention.shape),
                expected=f"[B, heads, {tokens}, {tokens}] for {grid[0]} x {grid[1]} patches and {prefix_tokens} more",
            )
    if not maps:
        raise ShapeError("there is no attention map", expected="one a block")
