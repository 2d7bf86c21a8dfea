"""Proximity attention: a ray asks the points beside it, each of which it sees at a place, a distance and an angle.

Formulae: SMCL's released renderer (the attention of PAPR, NeurIPS 2023), and the ray-based multi-head self-attention
that SMCL's figure draws and its code lacks.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.scenes.point_options import PointOptions
from nearfar.scenes.positional import code_size, coordinate_code

EPSILON = 1e-6
HIDDEN = -1e4
"""score of a point that the ray must not see; finite in half precision"""


class Neighbours(NamedTuple):
    """The K points of each of R rays, in the units of the renderer."""

    points: Tensor
    """[R, K, 3]"""
    along: Tensor
    """[R, K, 3], from the ray's origin to the foot of the perpendicular"""
    across: Tensor
    """[R, K, 3], from that foot to the point"""
    depth: Tensor
    """[R, K], signed length of `along`"""
    influence: Tensor
    """[R, K]"""
    features: Tensor
    """[R, K, D]"""
    visible: Tensor | None = None
    """[R, K] bool, or None: all are"""


class Gathered(NamedTuple):
    """What each ray read."""

    features: Tensor
    """[R, value_dim]"""
    weights: Tensor
    """[R, K], sum 1"""
    background: Tensor
    """[R], weight of the background, 0 to 1"""


def foot(points: Tensor, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(along [R, K, 3], across [R, K, 3], depth [R, K]) of points [R, K, 3] as rays [R, 3] see them."""
    offset = points - origins[:, None]
    scale = (directions * directions).sum(dim=-1) + EPSILON
    depth = (offset * directions[:, None]).sum(dim=-1) / scale[:, None]
    along = depth[..., None] * directions[:, None]
    return along, offset - along, depth


class Standardise(torch.autograd.Function):
    """weight (x - mean) / (deviation + 1e-6) + bias over the last dimension, with the unbiased deviation.

    Backward leaves out what the constant beside the deviation does to the gradient where it is below the square root
    of the precision (in single precision at deviations above 0.003); forward is exact.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        size = x.shape[-1]
        unbiased = math.sqrt(size / (size - 1))
        scaled = weight / unbiased
        out, mean, inverse = torch.native_layer_norm(x, (size,), scaled, bias, torch.finfo(x.dtype).tiny)
        less = EPSILON * inverse / (unbiased + EPSILON * inverse)
        ctx.save_for_backward(x, mean, inverse, scaled, bias, less)
        return out.lerp_(bias, less)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, mean, inverse, scaled, bias, less = ctx.saved_tensors
        (gradient,), size = gradients, x.shape[-1]
        unbiased = math.sqrt(size / (size - 1))
        plain, all_three = torch.ops.aten.native_layer_norm_backward, (True, True, True)
        if bool(less.max() < math.sqrt(torch.finfo(x.dtype).eps)):
            to_x, to_scaled, to_bias = plain(gradient, x, (size,), mean, inverse, scaled, bias, all_three)
            return to_x, to_scaled / unbiased, to_bias
        to_x, to_scaled, _ = plain(gradient * (1 - less), x, (size,), mean, inverse, scaled, bias, all_three)
        standard = (x - mean) * inverse
        slope = unbiased * EPSILON * (inverse / (unbiased + EPSILON * inverse)) ** 2 / size
        share = (gradient * scaled * standard).sum(dim=-1, keepdim=True) * slope
        return to_x + standard * share, to_scaled / unbiased, gradient.flatten(0, -2).sum(dim=0)


class Norm(nn.Module):
    """Layer normalisation as published: unbiased deviation, 1e-6 added to it (not to the variance)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = Standardise.apply(_full(x), self.weight, self.bias)
        return out


class Perceptron(nn.Sequential):
    """Linear layers with ReLU between them, and `Norm` before and after if asked for."""

    def __init__(self, size: int, width: int, out: int, layers: int, norm: bool = False) -> None:
        modules: list[nn.Module] = [Norm(size)] if norm else []
        for i in range(layers):
            last = i == layers - 1
            linear = nn.Linear(size if i == 0 else width, out if last else width)
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
            modules += [linear] if last else [linear, nn.ReLU(inplace=True)]
        super().__init__(*modules, *([Norm(out)] if norm else []))


class RaySelfAttention(nn.Module):
    """R-MSA: the points of a ray, ordered by depth, attend to each other in several heads; residual, normalisation.

    The order enters as a learned code of a point's rank, zero at first. Tokens [R, K, width] and depth [R, K] may come
    in any order, the result follows it.
    """

    def __init__(self, width: int, heads: int, ranks: int) -> None:
        super().__init__()
        self.heads = heads
        self.rank_code = nn.Parameter(torch.zeros(ranks, width))
        self.project, self.join, self.norm = nn.Linear(width, 3 * width), nn.Linear(width, width), Norm(width)
        for layer in (self.project, self.join):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, depth: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(tokens after residual and norm, what the attention added), both [R, K, width]."""
        ranks = depth.argsort(dim=1, stable=True).argsort(dim=1)
        coded = tokens + self.rank_code[ranks]
        parts = self.project(coded).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        hidden = None if visible is None else (~visible)[:, None, None].to(parts.dtype) * HIDDEN
        read = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=hidden)
        added = self.join(read.transpose(1, 2).flatten(2))
        return self.norm(tokens + added), added


class ProximityAttention(nn.Module):
    """One query a ray, one key and one value a point; published sizes have 1,139,288 parameters.

    score = ReLU(<W_q q, W_k k> / sqrt(width)) influence; against it stands the fixed score of the background.
    """

    def __init__(self, options: PointOptions) -> None:
        super().__init__()
        code, width = code_size(3, options.octaves), options.width
        value_size = 2 * code + options.feature_dim
        self.octaves, self.background_score = options.octaves, options.background_score
        self.key = Perceptron(3 * code, width, width, options.key_layers, norm=True)
        self.query = Perceptron(code, width, width, options.query_layers, norm=True)
        self.value = Perceptron(value_size, width, options.value_dim, options.value_layers)
        self.key_map, self.query_map = nn.Linear(width, width), nn.Linear(width, width)
        for layer in (self.key_map, self.query_map):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.among: RaySelfAttention | None = None
        if options.attention == "ray":
            self.among = RaySelfAttention(width, options.heads, options.neighbours)
            self.among_value = nn.Linear(width, options.value_dim)

    def forward(self, near: Neighbours, directions: Tensor) -> Gathered:
        """`directions` are unit vectors [R, 3]. No gradient reaches `near.points`, only the places relative to rays."""
        code = coordinate_code(torch.cat([near.points.detach(), near.along, near.across], dim=-1), self.octaves)
        keys = self.key(code)
        values = self.value(torch.cat([code[..., code.shape[-1] // 3 :], near.features], dim=-1))
        if self.among is not None:
            keys, added = self.among(keys, near.depth, near.visible)
            values = values + self.among_value(added)
        scores = self._scores(keys, directions) * near.influence
        if near.visible is not None:
            scores = torch.where(near.visible, scores, HIDDEN)
        weights = scores.softmax(dim=-1)
        background = torch.sigmoid(self.background_score - scores.logsumexp(dim=-1))
        return Gathered((values * weights[..., None]).sum(dim=1), weights, background)

    def _scores(self, keys: Tensor, directions: Tensor) -> Tensor:
        query = self.query_map(self.query(coordinate_code(directions, self.octaves)))
        # <W_q q, W_k k + b> = <W_k' W_q q, k> + <W_q q, b>: the map of the keys costs once a ray, not once a point
        back = query @ self.key_map.weight
        products = (keys @ back[..., None])[..., 0] + (query @ self.key_map.bias)[:, None]
        return F.relu(_full(products)) / math.sqrt(self.key_map.out_features)


def _full(x: Tensor) -> Tensor:
    """float32 where autocast has chosen less."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
