"""Rays drawn from views, the published rates, a step that learns, and a scene learned in seconds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar.errors import NonFiniteError, ShapeError
from nearfar.scenes.initial import initial_points
from nearfar.scenes.point_training import (
    RayPool,
    build_optimiser,
    point_step,
    published_rate,
    rate_factor,
    set_rates,
)
from nearfar.scenes.points import PAPER, PointField, PointOptions
from nearfar.scenes.scene import Scene
from nearfar.spatial.cameras import orbit

SMALL = PointOptions(
    points=300, neighbours=5, width=32, feature_dim=16, value_dim=8, head_width=32, octaves=3, rays=256, warmup=10
)


def views(scene: Scene, split: Any = "train") -> list[Any]:
    return [(scene.frames[i].camera, *scene.image(i)) for i in scene.indices(split)]


def test_rates_golden(golden_dir: Path) -> None:
    g = json.loads((golden_dir / "smcl/golden.json").read_text())["lr"]
    for key, expected in g.items():
        name, peak, warmup = key.split("|")
        schedule = {"cosine": "cosine", "cosine-hlfperiod": "half"}[name]
        for step, rate in expected.items():
            assert abs(published_rate(schedule, float(peak), int(step), int(warmup)) - rate) < 1e-12


def test_rates_of_groups() -> None:
    f = PointField(SMALL, torch.rand(300, 3))
    optimiser = build_optimiser(f, PAPER)
    owned = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in f.parameters())
    set_rates(optimiser, PAPER, 4999, 0.0)
    rates = {group["name"]: group["lr"] for group in optimiser.param_groups}
    assert rates == pytest.approx(
        {"points": 2e-3, "influence": 5e-4, "features": 5e-4, "attention": 1.5e-4, "head": 5e-5}
    )
    set_rates(optimiser, PAPER, 249_999, 1.0)
    rates = {group["name"]: group["lr"] for group in optimiser.param_groups}
    assert rates["points"] == 0 and rates["head"] == pytest.approx(5e-5)


def test_rates_end_at_the_floor() -> None:
    assert rate_factor("cosine", 0.0) == 1 and rate_factor("cosine", 1.0, floor=0.05) == pytest.approx(0.05)
    assert rate_factor("cosine", 7.0, floor=0.05) == pytest.approx(0.05)
    assert rate_factor("half", 1.0, warm=0.5) == pytest.approx(0.25)


def test_rays_see_their_pixels(ball: Callable[..., Scene]) -> None:
    scene = ball(views=3, size=16)
    pool = RayPool(views(scene))
    camera = scene.frames[1].camera
    patch = pool.patch(5, torch.Generator().manual_seed(3))
    assert patch.shape == (5, 5) and len(patch.origins) == 25
    everything = pool.draw(4000, 0.0, torch.Generator().manual_seed(0))
    here = (everything.origins - torch.tensor(camera.origin).float()).norm(dim=1) < 1e-5
    assert here.sum() > 1000
    points = everything.origins[here] + 2 * everything.directions[here]
    uv, _ = camera.project(points.double().numpy())
    column, row = (uv - 0.5).round().astype(int).T
    assert np.allclose(scene.image(1)[0][row, column], everything.colours[here].numpy())


def test_patches_are_rectangles_of_one_view(ball: Callable[..., Scene]) -> None:
    scene = ball(views=3, size=16)
    pool = RayPool(views(scene))
    for seed in range(5):
        patch = pool.patch(6, torch.Generator().manual_seed(seed))
        assert len(torch.unique(patch.origins, dim=0)) == 1
        camera = next(f.camera for f in scene.frames if np.allclose(f.camera.origin, patch.origins[0]))
        uv, _ = camera.project((patch.origins + patch.directions).double().numpy())
        grid = uv.reshape(6, 6, 2)
        assert np.allclose(np.diff(grid[..., 0], axis=1), 1, atol=1e-3)
        assert np.allclose(np.diff(grid[..., 1], axis=0), 1, atol=1e-3)
    assert pool.patch(99, torch.Generator().manual_seed(0)).shape == (16, 16)


def test_mask_share(ball: Callable[..., Scene]) -> None:
    pool = RayPool(views(ball(views=3, size=32)))
    share = len(pool.objects) / len(pool.colours)
    drawn = pool.draw(1000, 1.0, torch.Generator().manual_seed(0))
    coloured, all_coloured = ((c != 1).any(dim=1).float().mean() for c in (drawn.colours, pool.colours))
    assert abs(coloured - all_coloured / share) < 0.06  # none of the object is missed; two pixels around it are drawn
    opaque = RayPool([(orbit(1, 3.0, width=8, height=8)[0], np.zeros((8, 8, 3)), None)])
    assert len(opaque.draw(100, 0.5, torch.Generator()).colours) == 100


def test_draws_depend_on_the_generator_alone(ball: Callable[..., Scene]) -> None:
    pool = RayPool(views(ball(views=3, size=16)))
    a, b = (pool.batch(SMALL, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(a.directions, b.directions) and torch.equal(a.colours, b.colours)


def test_a_view_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="another size"):
        RayPool([(orbit(1, 3.0, width=8, height=8)[0], np.zeros((8, 9, 3)), None)])
    with pytest.raises(ShapeError, match="no view"):
        RayPool([])


def test_a_step_that_is_not_finite_changes_nothing(ball: Callable[..., Scene]) -> None:
    rays = RayPool(views(ball(views=3, size=8))).batch(SMALL, torch.Generator())
    f = PointField(SMALL, torch.rand(300, 3))
    optimiser = build_optimiser(f, SMALL)
    before = f.points.detach().clone()
    with pytest.raises(NonFiniteError):
        point_step(f, rays._replace(colours=rays.colours * torch.nan), optimiser)
    assert torch.equal(f.points, before) and not optimiser.state


def test_perceptual_term_is_added_to_patches(ball: Callable[..., Scene]) -> None:
    rays = RayPool(views(ball(views=3, size=16))).patch(8, torch.Generator())
    options = replace(SMALL, head="unet", patch=8, head_width=4)
    f = PointField(options, torch.rand(300, 3))
    given = []

    def perceptual(seen: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        given.append((seen.shape, wanted.shape))
        return (seen - wanted).abs().mean() * 0 + 2.0

    out = point_step(f, rays, build_optimiser(f, options), perceptual=perceptual)
    assert out["loss"] == pytest.approx(out["mse"] + 2.0)
    assert given == [((1, 3, 8, 8), (1, 3, 8, 8))]
    assert out["psnr"] == pytest.approx(-10 * math.log10(out["mse"]))


def learn(scene: Scene, options: PointOptions, steps: int) -> tuple[PointField, float, float]:
    """(field, held-out PSNR, that of the mean training image)."""
    torch.manual_seed(0)
    points, _ = initial_points(scene, "hull", options.points, seed=0)
    f = PointField(options, torch.as_tensor(points))
    optimiser, generator = build_optimiser(f, options), torch.Generator().manual_seed(0)
    pool = RayPool(views(scene))
    for step in range(steps):
        set_rates(optimiser, options, step, step / steps)
        point_step(f, pool.batch(options, generator), optimiser)
    wanted = torch.stack([torch.from_numpy(rgb) for _, rgb, _ in views(scene, "test")])
    mean = torch.stack([torch.from_numpy(rgb) for _, rgb, _ in views(scene)]).mean(dim=0)
    seen = []
    for camera, rgb, _ in views(scene, "test"):
        origins, directions = (torch.from_numpy(x).float() for x in camera.rays())
        seen.append(f.render(origins, directions, shape=rgb.shape[:2])["rgb"].reshape(rgb.shape))
    return f, psnr(torch.stack(seen), wanted), psnr(mean.expand_as(wanted), wanted)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10((a - b).square().mean().item())


@pytest.mark.parametrize(
    "changes", [{}, {"attention": "ray"}, {"head": "unet", "patch": 16, "head_width": 8}], ids=["mlp", "ray", "unet"]
)
def test_learns_new_views_of_a_ball(ball: Callable[..., Scene], changes: dict[str, Any]) -> None:
    scene = ball(size=24)
    f, reached, anchor = learn(scene, replace(SMALL, **changes), 300 if changes else 400)
    assert reached > anchor + 3, (reached, anchor)
    camera, _, alpha = views(scene, "test")[0]
    seen = f.render(*(torch.from_numpy(x).float() for x in camera.rays()), shape=(24, 24))
    truth = torch.from_numpy(alpha).flatten() > 0.5
    assert seen["alpha"][truth].mean() > seen["alpha"][~truth].mean() + 0.5
    depth = seen["depth"][truth].mean()
    assert 2.4 < depth < 4.2  # the ball's middle is 3 to 4 away


def test_learning_repeats_itself_bit_by_bit(ball: Callable[..., Scene]) -> None:
    scene = ball(views=6, size=12)
    a, b = (learn(scene, SMALL, 8)[0] for _ in range(2))
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name
