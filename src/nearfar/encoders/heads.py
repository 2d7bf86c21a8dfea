"""Projection heads: what stands between the features and a contrastive loss in training, and nowhere after it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

from nearfar.errors import ConfigError

Norm = Literal["batch", "layer", "none"]


def projection_head(in_dim: int, widths: Sequence[int], norm: Norm = "batch") -> nn.Module:
    """A perceptron [B, in_dim] -> [B, widths[-1]]; ReLU between layers, the last one linear (Chen et al. 2020, SimCLR).

    `norm` stands after every layer but the last: "batch" as in SimCLR's code, "none" as in SupCon's and MoCo v2's;
    "layer" is independent of the batch, so a two-pass step is exact with it. No widths: the identity.
    """
    if norm not in ("batch", "layer", "none"):
        raise ConfigError("unknown norm of the projection head", found=norm, expected="batch, layer or none")
    if any(width < 1 for width in widths):
        raise ConfigError("widths of a projection head are positive", where="method.projection", found=tuple(widths))
    sizes = [in_dim, *widths]
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        hidden = i < len(widths)
        layers.append(nn.Linear(inputs, outputs, bias=not hidden or norm == "none"))
        if hidden:
            layers += [*_norm(norm, outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def _norm(norm: Norm, width: int) -> list[nn.Module]:
    if norm == "none":
        return []
    return [nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width)]
