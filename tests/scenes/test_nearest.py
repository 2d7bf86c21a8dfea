"""Nearest points of rays: equal to brute force in every chunking, near and far, all around or ahead."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError
from nearfar.scenes import nearest
from nearfar.scenes.nearest import nearest_points


def world(rays: int, points: int, seed: int = 0, far: float = 4.0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    cloud = torch.rand(points, 3, generator=g, dtype=torch.float64) * 2 - 1
    origins = torch.nn.functional.normalize(torch.randn(rays, 3, generator=g, dtype=torch.float64), dim=1) * far
    directions = torch.randn(rays, 3, generator=g, dtype=torch.float64) * 0.3 - origins / far
    return origins, directions, cloud


def brute(origins: Tensor, directions: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """(distance [R, P] to each line, depth [R, P])."""
    unit = directions / directions.norm(dim=-1, keepdim=True)
    offset = points - origins[:, None]
    depth = (offset * unit[:, None]).sum(-1)
    return (offset - depth[..., None] * unit[:, None]).norm(dim=-1), depth


@given(st.integers(1, 9), st.integers(1, 700), st.integers(1, 12), st.integers(1, 40_000), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_equals_brute_force_in_any_chunks(rays: int, points: int, k: int, chunk: int, seed: int) -> None:
    k = min(k, points)
    case = world(rays, points, seed)
    expected = brute(*case)[0].topk(k, largest=False).indices
    assert torch.equal(nearest_points(*case, k, chunk_bytes=chunk), expected)


@pytest.mark.parametrize("points", [600, 2_000, 12_000, 50_000])
def test_groups_of_every_size(points: int) -> None:
    case = world(6, points)
    expected = brute(*case)[0].topk(9, largest=False).indices
    assert torch.equal(nearest_points(*case, 9), expected)


@pytest.mark.parametrize("far", [4.0, 1000.0])
def test_single_precision_of_far_cameras(far: float) -> None:
    origins, directions, points = world(50, 1000, far=far)
    directions = -origins / far + torch.randn(50, 3, dtype=torch.float64) * 0.5 / far
    distances = brute(origins, directions, points)[0]
    found = nearest_points(origins.float(), directions.float(), points.float(), 8)
    best = distances.topk(8, largest=False).values
    assert (distances.gather(1, found) - best).abs().max() < 1e-4


def test_ahead_only_where_enough_are() -> None:
    _, directions, points = world(40, 300)
    origins = torch.zeros_like(directions)
    found = nearest_points(origins, directions, points, 8, ahead=True)
    distances, depth = brute(origins, directions, points)
    expected = distances.masked_fill(depth < 0, 9.0).topk(8, largest=False).indices
    assert torch.equal(found, expected)
    assert not torch.equal(found, nearest_points(origins, directions, points, 8))
    outside = torch.tensor([[0.0, 0.0, 5.0]], dtype=torch.float64)
    away = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    assert len(set(nearest_points(outside, away, points, 300, ahead=True)[0].tolist())) == 300


def test_permuted_points_are_the_same_points() -> None:
    origins, directions, points = world(20, 500)
    order = torch.randperm(500)
    found = nearest_points(origins, directions, points[order], 7)
    assert torch.equal(order[found], nearest_points(origins, directions, points, 7))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    original = nearest._smallest

    def watch(values: Tensor, k: int) -> Tensor:
        nonlocal largest
        largest = max(largest, values.numel() * values.element_size())
        return original(values, k)

    monkeypatch.setattr(nearest, "_smallest", watch)
    origins, directions, points = (x.float() for x in world(400, 1000))
    nearest_points(origins, directions, points, 5, chunk_bytes=100_000)
    assert 50_000 < largest <= 100_000


def test_selects_in_full_precision_under_autocast() -> None:
    case = tuple(x.float() for x in world(30, 400))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nearest_points(*case, 6)
    assert torch.equal(found, nearest_points(*case, 6))


def test_wrong_shapes_and_numbers() -> None:
    origins, directions, points = world(4, 5)
    with pytest.raises(ConfigError, match=r"k = 6, expected 1 to 5"):
        nearest_points(origins, directions, points, 6)
    with pytest.raises(ShapeError, match=r"\(4, 3\) and \(3, 3\)"):
        nearest_points(origins, directions[:3], points, 2)
    with pytest.raises(ShapeError, match="three coordinates"):
        nearest_points(origins, directions, points[:, :2], 2)
