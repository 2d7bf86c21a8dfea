"""A field of points: gradients, permutations, alpha and depth, memory, sizes, loading, bad input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError
from nearfar.scenes import points as module
from nearfar.scenes.points import PAPER, PointField, PointOptions

SMALL = PointOptions(points=60, neighbours=5, width=16, feature_dim=6, value_dim=4, head_width=8, octaves=2, heads=2)


def field(points: int = 60, **changes: Any) -> PointField:
    torch.manual_seed(3)
    return PointField(replace(SMALL, **changes), torch.rand(points, 3) - 0.5)


def rays(count: int = 20, far: float = 2.0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=1) * far
    return origins, 0.2 * torch.randn(count, 3, generator=g) - origins


@pytest.mark.parametrize("attention", ["proximity", "ray"])
def test_everything_learns(attention: Any) -> None:
    f = field(attention=attention, background="direction", points=8)
    f(*rays(200))["rgb"].square().sum().backward()
    for name, p in f.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0, name


def test_published_influence_of_zero_starves_keys_and_queries() -> None:
    f = field(influence=0.0)
    f(*rays())["rgb"].square().sum().backward()
    keys = [p.grad.abs().sum().item() for p in f.attention.key.parameters() if p.grad is not None]
    assert sum(keys) == 0 and f.influence.grad is not None and f.influence.grad.abs().sum() > 0


@pytest.mark.parametrize("attention", ["proximity", "ray"])
def test_gradients_of_influence_and_features(attention: Any) -> None:
    f = field(attention=attention).double()
    if f.attention.among is not None:
        torch.nn.init.normal_(f.attention.among.rank_code)
    origins, directions = (x.double() for x in rays(6))
    seen = f(origins, directions)
    loss = seen["rgb"].square().sum() + seen["alpha"].sum() + seen["depth"].sum()
    values = torch.autograd.grad(loss, (f.influence, f.features))
    for parameter, gradient in zip((f.influence, f.features), values, strict=True):
        step = torch.randn_like(parameter) * 1e-6
        with torch.no_grad():
            changes = []
            for sign in (1, -1):
                parameter.add_(step * sign)
                out = f(origins, directions)
                changes.append(out["rgb"].square().sum() + out["alpha"].sum() + out["depth"].sum())
                parameter.sub_(step * sign)
        assert torch.isclose((changes[0] - changes[1]) / 2, (gradient * step).sum(), rtol=1e-5)


def test_order_of_points_does_not_matter() -> None:
    f, order = field(), torch.randperm(60)
    before = f.render(*rays())
    for name in module.ROWS:
        getattr(f, name).data = getattr(f, name).data[order]
    for key, value in f.render(*rays()).items():
        assert torch.allclose(value, before[key], atol=1e-5), key


def test_alpha_and_background() -> None:
    grey = (0.2, 0.4, 0.6)
    clear = field(background_colour=grey, background_score=60.0).render(*rays())
    assert torch.allclose(clear["rgb"], torch.tensor(grey).expand(20, 3), atol=1e-4)
    assert clear["alpha"].max() < 1e-4
    solid = field(background_colour=grey, background_score=-60.0)
    assert solid.render(*rays())["alpha"].min() > 0.9999
    other = field(background_colour=(0.0, 0.0, 0.0), background_score=-60.0)
    assert torch.allclose(solid.render(*rays())["rgb"], other.render(*rays())["rgb"], atol=1e-5)


def test_background_by_direction() -> None:
    f = field(background="direction", background_score=60.0)
    origins, directions = rays()
    a, b = f.render(origins, directions), f.render(origins * 3, directions)
    assert torch.allclose(a["rgb"], b["rgb"], atol=1e-4)
    assert a["rgb"].std(dim=0).min() > 1e-3


def test_depth_is_in_world_units_whatever_the_scale_and_the_length_of_directions() -> None:
    origins, directions = torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([[0.0, 0.0, -5.0]])
    for scale in (1.0, 7.0):
        f = PointField(replace(SMALL, scale=scale), torch.randn(60, 3) * torch.tensor([0.3, 0.3, 0.0]) + 1.0)
        assert abs(f.render(origins, directions)["depth"].item() - 2.0) < 1e-4


def test_points_behind_the_camera_are_not_seen() -> None:
    f = field()
    origins, directions = torch.tensor([[0.0, 0.0, 5.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    assert f.render(origins, directions)["alpha"].item() == 0
    published = field(ahead=False).render(origins, directions)
    assert published["alpha"].item() > 1e-3 and published["depth"].item() < 0


def test_inside_the_cloud_only_the_front_counts() -> None:
    f = field(background_score=-60.0)
    origins = torch.zeros(1, 3)
    assert f.render(origins, torch.tensor([[1.0, 0.0, 0.0]]))["depth"].item() > 0


@pytest.mark.parametrize("head", ["mlp", "unet"])
def test_memory_bound_changes_nothing_but_memory(head: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    origins, directions = rays(96)
    patch = {"head": head, "patch": 8}
    free = field(**patch)
    bound = field(**patch, memory_bytes=20 * free.bytes_per_ray())
    most = 0
    original = PointField._attend

    def watch(self: PointField, table: Tensor, o: Tensor, d: Tensor) -> Any:
        nonlocal most
        most = max(most, len(o))
        return original(self, table, o, d)

    monkeypatch.setattr(PointField, "_attend", watch)
    results = []
    for f in (free, bound):
        most = 0
        seen = f(origins, directions, shape=(8, 12))
        seen["rgb"].square().sum().backward()
        results.append((most, seen["rgb"], [p.grad for p in f.parameters()]))
    assert (results[0][0], results[1][0]) == (96, 10)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-5)
    for a, b in zip(results[0][2], results[1][2], strict=True):
        assert a is not None and b is not None and torch.allclose(a, b, atol=1e-3 * max(1.0, a.abs().max().item()))
    assert torch.allclose(free.render(origins, directions, shape=(8, 12))["rgb"], results[0][1].clamp(0, 1), atol=1e-5)


def test_activations_are_about_what_is_promised() -> None:
    f = field(width=32, octaves=3)
    kept = 0

    def keep(x: Tensor) -> Tensor:
        nonlocal kept
        if x.data_ptr() not in seen:
            seen.add(x.data_ptr())
            kept += x.untyped_storage().nbytes()
        return x

    seen: set[int] = {p.data_ptr() for p in f.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        f(*rays(500))
    assert 0.6 < kept / (500 * f.bytes_per_ray()) < 1.1


def test_demo_and_published_sizes() -> None:
    assert sum(p.numel() for p in PointField(PointOptions(), torch.rand(1000, 3)).parameters()) == 106_251
    paper = PointField(PAPER, torch.rand(10_000, 3))
    assert sum(p.numel() for p in paper.parameters()) == 5_462_683


def test_pixel_features_enter_the_values() -> None:
    f = field(pixel_dim=3)
    extra = torch.randn(60, 3, requires_grad=True)
    seen = f(*rays(), pixel_features=extra)
    seen["rgb"].sum().backward()
    assert extra.grad is not None and extra.grad.abs().sum() > 0
    other = f.render(*rays(), pixel_features=torch.zeros(60, 3))
    assert torch.equal(other["alpha"], f.render(*rays(), pixel_features=extra.detach())["alpha"])
    assert not torch.allclose(other["rgb"], seen["rgb"].clamp(0, 1))
    assert f.align is not None
    with torch.no_grad():
        f.features += extra @ f.align.weight.T
    assert torch.allclose(
        f.render(*rays(), pixel_features=torch.zeros(60, 3))["rgb"], seen["rgb"].clamp(0, 1), atol=1e-5
    )


def test_a_state_brings_its_number_of_points() -> None:
    many, few = field(80), field(60)
    owner = torch.optim.Adam(few.parameters(), fused=True)
    few.load_state_dict(many.state_dict())
    assert torch.equal(few.render(*rays())["rgb"], many.render(*rays())["rgb"])
    few(*rays())["rgb"].square().sum().backward()
    before = few.points.detach().clone()
    owner.step()
    assert not torch.equal(few.points, before)
    with pytest.raises(RuntimeError, match="features"):
        few.load_state_dict({**many.state_dict(), "features": torch.zeros(80, 9)})


def test_autocast_gives_finite_gradients_near_the_full_ones() -> None:
    f = field()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = f(*rays())
        loss = seen["rgb"].float().square().mean()
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in f.parameters())
    assert (seen["rgb"] - f.render(*rays())["rgb"]).abs().max() < 1  # and no NaN
    assert (seen["alpha"] - f.render(*rays())["alpha"]).abs().max() < 0.05


def test_bad_input_is_named() -> None:
    with pytest.raises(ShapeError, match=r"\[P, 3\]"):
        PointField(SMALL, torch.rand(60, 2))
    with pytest.raises(ConfigError, match="fewer points than a ray asks"):
        PointField(SMALL, torch.rand(4, 3))
    with pytest.raises(ShapeError, match="NaN"):
        PointField(SMALL, torch.full((60, 3), torch.nan))
    with pytest.raises(ShapeError, match="features do not fit"):
        PointField(SMALL, torch.rand(60, 3), torch.rand(60, 5))
    with pytest.raises(ShapeError, match="pixel features"):
        field()(*rays(), pixel_features=torch.rand(60, 3))
    with pytest.raises(ShapeError, match="pixel features"):
        field(pixel_dim=3)(*rays())
    with pytest.raises(ShapeError, match="directions"):
        field()(torch.rand(3, 3), torch.rand(2, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neighbours": 0}, "points.neighbours"),
        ({"neighbours": 61}, "61 of 60"),
        ({"attention": "self"}, "proximity or ray"),
        ({"attention": "ray", "heads": 3}, "divide"),
        ({"head": "unet"}, "points.patch"),
    ],
)
def test_options_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **changes)
