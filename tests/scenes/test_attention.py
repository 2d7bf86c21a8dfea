"""Proximity attention: goldens, the published size, permutations, what hidden points do."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.scenes.attention import (
    Gathered,
    Neighbours,
    Norm,
    ProximityAttention,
    RaySelfAttention,
    Standardise,
    foot,
)
from nearfar.scenes.point_options import PAPER, PointOptions


def fill(module: torch.nn.Module) -> None:
    """The golden weights: sines over the root of the inputs, biases 0.01, 0.02, ..., norms untouched."""
    norms = {id(p) for m in module.modules() if isinstance(m, Norm) for p in m.parameters()}
    for p in module.parameters():
        steps = torch.arange(1, p.numel() + 1, dtype=p.dtype).reshape(p.shape)
        if id(p) not in norms:
            p.data = steps.sin() / math.sqrt(p[0].numel()) if p.ndim > 1 else 0.01 * steps


def golden(folder: Path) -> dict[str, Tensor]:
    g: dict[str, Any] = json.loads((folder / "smcl/golden.json").read_text())["proximity_attention"]
    return {k: torch.tensor(v, dtype=torch.float64) for k, v in g.items() if not isinstance(v, str)}


def test_golden(golden_dir: Path) -> None:
    g = golden(golden_dir)
    options = PointOptions(
        points=5, neighbours=3, octaves=2, width=6, key_layers=2, query_layers=2, value_layers=2, feature_dim=2,
        value_dim=3, attention="proximity",
    )  # fmt: skip
    attention = ProximityAttention(options)
    attention.key_map, attention.query_map = torch.nn.Linear(6, 4), torch.nn.Linear(6, 4)  # the golden's own size
    fill(attention.double())
    index = g["topk_sorted_by_distance"].long()
    origins = g["ray_o"].expand(2, 3)
    along, across, depth = foot(g["points"][index], origins, g["ray_d"])
    assert (along - g["s_proj"]).abs().max() < 1e-9
    assert (across - g["t_perp"]).abs().max() < 1e-9
    near = Neighbours(g["points"][index], along, across, depth, g["influence"][index], g["feats"][index])
    read = attention(near, g["ray_d"])
    expected = g["attn_with_background"]
    assert (read.background - expected[:, 3]).abs().max() < 1e-9
    assert (read.weights * (1 - read.background[:, None]) - expected[:, :3]).abs().max() < 1e-9
    assert (read.features - g["fused"]).abs().max() < 1e-9
    rgb = read.features * (1 - read.background[:, None]) + read.background[:, None]
    assert (rgb - g["rgb_no_unet_white"]).abs().max() < 1e-9


def test_published_size() -> None:
    attention = ProximityAttention(PAPER)
    assert sum(p.numel() for p in attention.parameters()) == 1_139_288


@pytest.mark.parametrize("spread", [1.0, 1e-6])
def test_norm_and_its_gradients(spread: float) -> None:
    x = (torch.randn(4, 3, 7, dtype=torch.float64) * spread).requires_grad_()
    weight, bias = (torch.randn(7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    centred = x - x.mean(dim=-1, keepdim=True)
    expected = weight * centred / (x.std(dim=-1, keepdim=True) + 1e-6) + bias
    found = Standardise.apply(x, weight, bias)
    assert (found - expected).abs().max() < 1e-12
    into = torch.randn_like(x)
    wanted = torch.autograd.grad(expected, (x, weight, bias), into)
    for a, b in zip(torch.autograd.grad(found, (x, weight, bias), into), wanted, strict=True):
        assert (a - b).abs().max() < 1e-12 * b.abs().max().clamp_min(1)


def test_norm_of_constant_rows_is_finite() -> None:
    x = torch.full((3, 5), 2.0, requires_grad=True)
    out = Norm(5)(x)
    out.square().sum().backward()
    assert torch.equal(out, torch.zeros(3, 5))
    assert x.grad is not None and torch.isfinite(x.grad).all()


SMALL = {"points": 40, "neighbours": 6, "width": 16, "feature_dim": 5, "value_dim": 4, "heads": 2}


def neighbours(rays: int = 3, k: int = 6) -> tuple[Neighbours, Tensor]:
    points, origins = torch.randn(rays, k, 3, dtype=torch.float64), torch.randn(rays, 3, dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(rays, 3, dtype=torch.float64), dim=-1)
    shapes = foot(points, origins, directions)
    features = torch.randn(rays, k, 5, dtype=torch.float64)
    return Neighbours(points, *shapes, torch.rand(rays, k, dtype=torch.float64) + 0.5, features), directions


def taken(near: Neighbours, order: Tensor) -> Neighbours:
    return Neighbours(*(None if x is None else x[:, order] for x in near))  # type: ignore[arg-type]


def same(a: Gathered, b: Gathered, order: Tensor) -> bool:
    pairs = ((a.features, b.features), (a.background, b.background), (a.weights[:, order], b.weights))
    return all(torch.allclose(x, y, atol=1e-12) for x, y in pairs)


@pytest.mark.parametrize("kind", ["proximity", "ray"])
def test_order_of_points_does_not_matter(kind: Any) -> None:
    attention = ProximityAttention(PointOptions(**SMALL, attention=kind)).double()
    if attention.among is not None:
        torch.nn.init.normal_(attention.among.rank_code)
    near, directions = neighbours()
    order = torch.randperm(6)
    assert same(attention(near, directions), attention(taken(near, order), directions), order)


@pytest.mark.parametrize("kind", ["proximity", "ray"])
def test_hidden_points_change_nothing(kind: Any) -> None:
    attention = ProximityAttention(PointOptions(**SMALL, attention=kind)).double()
    near, directions = neighbours()
    visible = torch.ones(3, 6, dtype=torch.bool)
    visible[:, 4:] = False
    other = near._replace(features=near.features.clone())
    other.features[:, 4:] = 100.0
    a, b = (attention(n._replace(visible=visible), directions) for n in (near, other))
    assert torch.allclose(a.features, b.features) and torch.allclose(a.background, b.background)
    assert (a.weights[:, 4:] == 0).all()
    assert not torch.allclose(attention(other, directions).features, a.features)


def test_all_hidden_is_background() -> None:
    near, directions = neighbours()
    attention = ProximityAttention(PointOptions(**SMALL)).double()
    read = attention(near._replace(visible=torch.zeros(3, 6, dtype=torch.bool)), directions)
    assert torch.equal(read.background, torch.ones(3, dtype=torch.float64))
    assert torch.isfinite(read.features).all()


def test_background_score_is_what_points_must_beat() -> None:
    near, directions = neighbours()
    shares = []
    for score in (-2.0, 2.0, 8.0):
        torch.manual_seed(1)
        attention = ProximityAttention(PointOptions(**SMALL, background_score=score)).double()
        shares.append(attention(near, directions).background.mean().item())
    assert shares == sorted(shares) and shares[-1] > 0.9


def test_no_gradient_reaches_positions_but_relative_ones() -> None:
    near, directions = neighbours()
    points, along = near.points.clone().requires_grad_(), near.along.clone().requires_grad_()
    read = ProximityAttention(PointOptions(**SMALL)).double()(near._replace(points=points, along=along), directions)
    read.features.sum().backward()
    assert points.grad is None and along.grad is not None


def test_self_attention_follows_the_order_of_its_tokens() -> None:
    block = RaySelfAttention(8, 2, ranks=6).double()
    tokens, depth = torch.randn(3, 6, 8, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    plain = block(tokens, depth)
    assert torch.allclose(plain[0], block(tokens, -depth)[0])  # depth alone says nothing before rank codes have learned
    torch.nn.init.normal_(block.rank_code)
    order = torch.randperm(6)
    for a, b in zip(block(tokens, depth), block(tokens[:, order], depth[:, order]), strict=True):
        assert torch.allclose(a[:, order], b, atol=1e-12)
    assert not torch.allclose(block(tokens, depth)[0], block(tokens, -depth)[0])


def test_rays_do_not_see_each_other() -> None:
    attention = ProximityAttention(PointOptions(**SMALL, attention="ray")).double()
    near, directions = neighbours()
    alone = attention(Neighbours(*(x if x is None else x[:1] for x in near)), directions[:1])  # type: ignore[arg-type]
    assert torch.allclose(attention(near, directions).features[:1], alone.features)
