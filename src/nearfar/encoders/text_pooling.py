"""From features of tokens to features of a caption."""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError, did_you_mean

Pool = Literal["mean", "last"]


def pooled(tokens: Tensor, mask: Tensor, pool: Pool) -> Tensor:
    """tokens [B, L, D], mask bool [B, L] -> [B, D]: the mean over True, or the last True. A row has one at least."""
    if pool == "last":
        positions = torch.arange(mask.shape[1], device=mask.device)
        last = torch.where(mask, positions, 0).amax(1)
        return tokens[torch.arange(len(tokens), device=tokens.device), last]
    weight = mask.to(tokens.dtype)[..., None]
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


def pooling(name: str) -> Pool:
    """The name, where it is one. ConfigError otherwise."""
    if name in get_args(Pool):
        return cast(Pool, name)
    fix = did_you_mean(name, get_args(Pool), quote="'")
    raise ConfigError("unknown pooling of tokens", where="text.pool", found=name, expected="mean or last", fix=fix)


def check_tokens(ids: Tensor, mask: Tensor, length: int) -> None:
    """ShapeError unless ids and mask are [B, L] with L at most `length`."""
    if ids.dim() != 2 or ids.shape != mask.shape or mask.dtype != torch.bool or ids.shape[1] > length:
        raise ShapeError(
            "tokens do not fit the text encoder",
            found=f"ids {tuple(ids.shape)}, mask {mask.dtype} {tuple(mask.shape)}",
            expected=f"[B, L] both, bool the mask, L at most {length}",
        )
