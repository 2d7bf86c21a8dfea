"""How a conditional field learns objects: draws, steps, rates, and one object learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar.data.synthetic.objects import generate_objects
from nearfar.errors import DataError, NonFiniteError
from nearfar.scenes.field import PAPER, ConditionalField, ObjectOptions
from nearfar.scenes.formats import open_objects
from nearfar.scenes.object_options import DEMO
from nearfar.scenes.objects import ObjectPool, build_optimiser, describe, object_step, set_rates
from nearfar.scenes.rendering import render_view
from nearfar.scenes.scene import Scene

SMALL = replace(DEMO, width=16, latent=8, encoder_size=16, encoder_pool=1, coarse=8, rays=10, objects=3)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Scene]:
    root = generate_objects(tmp_path_factory.mktemp("world") / "objects", n=3, size=16, shares=(1, 0, 0))
    return open_objects(root, split="train", hold_out=8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rays_see_what_their_pixels_show(scenes: Sequence[Scene]) -> None:
    """Each ray, projected back into the view that it was drawn from, has the colour of that pixel."""
    options = replace(SMALL, objects=1, rays=40)
    pool = ObjectPool(scenes[:1], options)
    batch = pool.draw(generator())
    origin = batch.rays.origins[0, 0].numpy()
    frames = scenes[0].frames
    view = min(range(24), key=lambda i: float(np.linalg.norm(frames[i].camera.origin - origin)))
    assert view not in scenes[0].indices("test")
    ahead = batch.rays.origins[0] + 2 * batch.rays.directions[0]
    uv, _ = frames[view].camera.project(ahead.double().numpy())
    assert np.abs(uv % 1 - 0.5).max() < 1e-3  # pixel centres
    columns, rows = np.floor(uv).astype(int).T
    assert np.allclose(scenes[0].image(view)[0][rows, columns], batch.colours[0].numpy())


def test_held_out_views_are_neither_sources_nor_targets(scenes: Sequence[Scene]) -> None:
    pool = ObjectPool(scenes, SMALL)
    held = {tuple(scenes[0].frames[i].camera.origin.astype(np.float32)) for i in scenes[0].indices("test")}
    assert len(held) == 3
    drawn, seen = generator(), set()
    for step in range(30):
        batch = pool.draw(drawn, step)
        seen |= {tuple(camera.origin.astype(np.float32)) for views in batch.cameras for camera in views}
        seen |= {tuple(origin) for origin in batch.rays.origins[:, 0].numpy()}
    assert not held & seen
    assert len(seen) == 21  # all the others come up


def test_draws_depend_on_the_generator_alone(scenes: Sequence[Scene]) -> None:
    whole, tight = ObjectPool(scenes, SMALL), ObjectPool(scenes, SMALL, cache_bytes=1)
    assert torch.equal(whole.draw(generator(1)).images, whole.draw(generator(1)).images)
    for seed in range(4):  # also not on what the cache holds
        a, b = whole.draw(generator(seed)), tight.draw(generator(seed))
        assert torch.equal(a.colours, b.colours) and torch.equal(a.rays.directions, b.rays.directions)
    assert not torch.equal(whole.draw(generator(1)).colours, whole.draw(generator(2)).colours)


def test_the_cache_stays_within_its_bound(scenes: Sequence[Scene]) -> None:
    one = 16 * 16 * (3 * 4 + 8)  # the picture, and at most all pixels' numbers
    pool = ObjectPool(scenes, SMALL, cache_bytes=3 * one)
    drawn = generator()
    for step in range(5):
        pool.draw(drawn, step)
    held = sum(part.numel() * part.element_size() for view in pool._kept.values() for part in view)
    assert held == pool._bytes <= 3 * one


@pytest.mark.parametrize("focus", ["mask", "box"])
def test_rays_keep_to_the_object_while_they_should(scenes: Sequence[Scene], focus: str) -> None:
    options = replace(SMALL, focus=focus, focus_share=1.0, focus_steps=5, rays=200, objects=1)
    pool = ObjectPool(scenes, options)

    def hits(step: int) -> float:
        batch = pool.draw(generator(3), step)
        return float((batch.colours[0] < 0.99).any(dim=-1).float().mean())

    assert hits(0) > 1.4 * hits(5)
    assert hits(5) == hits(50)


def test_targets_share_the_rays(scenes: Sequence[Scene]) -> None:
    batch = ObjectPool(scenes, replace(SMALL, objects=1, rays=12, targets=4)).draw(generator())
    places, counts = np.unique(batch.rays.origins[0].numpy().round(4), axis=0, return_counts=True)
    assert len(places) == 4 and counts.tolist() == [3, 3, 3, 3]


def test_images_of_other_sizes_are_brought_to_the_encoders(scenes: Sequence[Scene]) -> None:
    options = replace(SMALL, encoder_size=20, sources=2)
    pool = ObjectPool(scenes, options)
    assert pool.draw(generator()).images.shape == (3, 2, 3, 20, 20)
    field = ConditionalField(options)
    raw = torch.from_numpy(scenes[0].image(3)[0].transpose(2, 0, 1).copy())[None]
    with torch.no_grad():
        resized = field.encoder.eval()(pool.sources(0, [3]))
        assert torch.allclose(resized, field.encoder(raw), atol=1e-5)  # as the encoder itself resizes


def test_too_few_views_are_named(scenes: Sequence[Scene]) -> None:
    with pytest.raises(DataError, match="too few views"):
        ObjectPool(scenes, replace(SMALL, sources=4), split="test")
    with pytest.raises(DataError, match="no object"):
        ObjectPool([], SMALL)


@pytest.mark.slow
def test_training_lowers_the_loss_and_returns_what_it_says(scenes: Sequence[Scene]) -> None:
    options = replace(SMALL, objects=4, rays=48, coarse=12, warmup=10, encoder_pool=2)
    field, pool, drawn = ConditionalField(options), ObjectPool(scenes[:1], options), generator()
    optimiser = build_optimiser(field)
    shown = scenes[0].indices("test")[1]
    truth = torch.from_numpy(scenes[0].image(shown)[0])
    camera = scenes[0].frames[shown].camera

    def error() -> float:
        return float((render_view(field, describe(field, scenes[0], [3]), camera)["rgb"] - truth).square().mean())

    start = error()
    for step in range(120):
        set_rates(optimiser, options, step, step / 120)
        said = object_step(field, pool.draw(drawn, step), optimiser, drawn)
        assert said["loss"] == said["mse"]
    assert error() < 0.5 * start
    assert error() < float((1 - truth).square().mean())  # better than a white picture
    assert field.training


def test_published_form_counts_both_errors(scenes: Sequence[Scene]) -> None:
    options = replace(
        PAPER, width=16, latent=8, coarse=6, fine=4, fine_depth=2, rays=12, objects=2, encoder_size=32, encoder_pool=2
    )
    field, pool = ConditionalField(options), ObjectPool(scenes, options)
    optimiser = build_optimiser(field)
    set_rates(optimiser, options, 0, 0.0)
    assert {group["lr"] for group in optimiser.param_groups} == {1e-4}
    before = {name: value.clone() for name, value in field.named_parameters()}
    said = object_step(field, pool.draw(generator()), optimiser, generator())
    assert said["loss"] > said["mse"] > 0
    moved = {name.split(".")[0] for name, value in field.named_parameters() if not torch.equal(value, before[name])}
    assert moved >= {"coarse", "fine"}


def test_gradients_are_clipped_before_they_count(scenes: Sequence[Scene]) -> None:
    options = replace(SMALL, clip=1e-3)
    field, pool = ConditionalField(options), ObjectPool(scenes, options)
    object_step(field, pool.draw(generator()), build_optimiser(field))
    length = torch.stack([p.grad.norm() for p in field.parameters() if p.grad is not None]).norm()
    assert float(length) == pytest.approx(1e-3, rel=1e-2)


def test_rates_warm_up_and_fall() -> None:
    options = ObjectOptions(rate=1.0, warmup=10, floor=0.1)
    optimiser = build_optimiser(ConditionalField(replace(SMALL, rate=1.0)))

    def rate(step: int, progress: float) -> float:
        set_rates(optimiser, options, step, progress)
        return float(optimiser.param_groups[0]["lr"])

    assert rate(4, 0.0) == pytest.approx(0.5)
    assert rate(100, 0.5) == pytest.approx(0.55)
    assert rate(100, 1.0) == pytest.approx(0.1)


def test_a_frozen_encoder_is_not_optimised() -> None:
    field = ConditionalField(replace(SMALL, freeze_encoder=True))
    ours = {id(p) for group in build_optimiser(field).param_groups for p in group["params"]}
    assert not ours & {id(p) for p in field.encoder.parameters()}


def test_a_broken_step_changes_no_parameter(scenes: Sequence[Scene]) -> None:
    field, pool = ConditionalField(SMALL), ObjectPool(scenes, SMALL)
    batch = pool.draw(generator())
    before = [p.clone() for p in field.parameters()]
    with pytest.raises(NonFiniteError):
        object_step(field, batch._replace(colours=batch.colours * torch.nan), build_optimiser(field))
    assert all(torch.equal(a, b) for a, b in zip(before, field.parameters(), strict=True))


def test_describing_leaves_the_mode_and_the_statistics(scenes: Sequence[Scene], tmp_path: Path) -> None:
    field = ConditionalField(SMALL).train()
    before = {name: value.clone() for name, value in field.state_dict().items()}
    one, two = (describe(field, scenes[0], views) for views in ([3], [3, 9]))
    assert one.latent is not None and two.latent is not None
    assert one.latent.shape == (1, 1, 8) and torch.allclose(two.latent[:, :1], one.latent, atol=1e-6)
    assert field.training
    assert all(torch.equal(before[name], value) for name, value in field.state_dict().items())
