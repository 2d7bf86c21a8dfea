"""Volume rendering: where rays are sampled, and how density and colour along them become a pixel.

All functions take any leading dimensions: [..., n] below are the n samples of a ray. Distances are measured along unit
rays, in world units. Without a generator nothing is drawn: middles of strata and of quantiles are taken, so that a
rendered image is always the same. Mildenhall et al., NeRF, ECCV 2020; Yu et al., pixelNeRF, CVPR 2021.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nearfar.errors import ShapeError

FLOOR = 1e-5
"""weight that every stratum has besides its own, so that none is left out for ever"""
CLEAR = 1e-10
"""added to each sample's transparency, so that a gradient passes what is opaque"""


class Composite(NamedTuple):
    """Pixels, and the weight of each sample in them."""

    rgb: Tensor
    """[..., 3]"""
    alpha: Tensor
    """[...], 1 where nothing of the background is seen"""
    depth: Tensor
    """[...], sum of distances times weights: 0 where alpha is 0"""
    weights: Tensor
    """[..., n]"""


def strata(near: Tensor, far: Tensor, count: int) -> Tensor:
    """Borders [..., count + 1] of equal parts of the way from `near` [...] to `far` [...]."""
    share = torch.linspace(0, 1, count + 1, dtype=near.dtype, device=near.device)
    return near[..., None] * (1 - share) + far[..., None] * share


def stratified(edges: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One place [..., n] in each of the strata between `edges` [..., n + 1]: uniform in it, or its middle."""
    share = _uniform(edges[..., 1:], generator)
    return edges[..., :-1] * (1 - share) + edges[..., 1:] * share


def importance(edges: Tensor, weights: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """`count` places [..., count], in rising order, where the weights are: the inverse of their cumulative sum.

    Args:
        edges: borders [..., n + 1] of the strata, rising.
        weights: [..., n], not negative; within a stratum all places are equally likely.

    Without a generator the places are the middles of `count` equal quantiles. No gradient passes. Raises ShapeError.
    """
    if edges.shape[:-1] != weights.shape[:-1] or edges.shape[-1] != weights.shape[-1] + 1:
        found = f"{tuple(edges.shape)} and {tuple(weights.shape)}"
        raise ShapeError("borders and weights of strata do not fit", found=found, expected="[..., n + 1] and [..., n]")
    density = (weights + FLOOR).detach()
    total = torch.nn.functional.pad((density / density.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
    # One draw in each of `count` equal quantiles: the same distribution, with less variance, and already in order.
    steps = torch.arange(count, dtype=edges.dtype, device=edges.device)
    quantile = (steps + _uniform(edges[..., :1].expand(*edges.shape[:-1], count), generator)) / count
    quantile = quantile * total[..., -1:]
    left = (torch.searchsorted(total.contiguous(), quantile, right=True) - 1).clamp(0, weights.shape[-1] - 1)
    low, high = total.gather(-1, left), total.gather(-1, left + 1)
    start, end = edges.gather(-1, left), edges.gather(-1, left + 1)
    return start + (end - start) * ((quantile - low) / (high - low)).clamp(0, 1)


def around(
    depth: Tensor, spread: float, count: int, near: Tensor, far: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """`count` places [..., count], normal around `depth` [...] with deviation `spread`, kept within near and far [...].

    Without a generator: the middles of equal quantiles. No gradient passes.
    """
    like = depth.detach()[..., None].expand(*depth.shape, count)
    if generator is None:
        middles = (torch.arange(count, dtype=depth.dtype, device=depth.device) + 0.5) / count
        noise = torch.special.ndtri(middles).expand_as(like)
    else:
        noise = torch.randn(like.shape, generator=generator, dtype=depth.dtype).to(depth.device)
    return torch.clamp(like + spread * noise, near[..., None], far[..., None])


def composite(distances: Tensor, density: Tensor, colours: Tensor, far: Tensor, background: Tensor) -> Composite:
    """What rays show whose samples have this density and colour.

        alpha_k = 1 - exp(-delta_k sigma_k),  w_k = alpha_k prod_{j<k} (1 - alpha_j),
        rgb = sum w_k c_k + (1 - sum w_k) b

    with delta_k the distance to the next sample, of the last one to `far`.

    Args:
        distances: [..., n], rising.
        density: [..., n], not negative, per world unit.
        colours: [..., n, 3].
        far: [...], where rays end.
        background: b, [3] or [..., 3].

    Raises ShapeError.
    """
    if colours.shape != (*distances.shape, 3) or density.shape != distances.shape or far.shape != distances.shape[:-1]:
        found = f"distances {tuple(distances.shape)}, density {tuple(density.shape)}, colours {tuple(colours.shape)}"
        raise ShapeError("samples of rays do not fit", found=found, expected="[..., n], [..., n], [..., n, 3]")
    reach = torch.diff(distances, append=far[..., None], dim=-1)
    opaque = 1 - torch.exp(-reach * density)
    seen = torch.cumprod(1 - opaque + CLEAR, -1)
    weights = opaque * torch.cat([torch.ones_like(seen[..., :1]), seen[..., :-1]], -1)
    alpha = weights.sum(-1)
    rgb = (weights[..., None] * colours).sum(-2) + (1 - alpha)[..., None] * background
    return Composite(rgb, alpha, (weights * distances).sum(-1), weights)


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return torch.full_like(like, 0.5)
    return torch.rand(like.shape, generator=generator, dtype=like.dtype).to(like.device)
