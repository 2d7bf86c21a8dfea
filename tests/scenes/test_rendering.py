"""Rays and pictures of a conditional field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nearfar.errors import ConfigError, ShapeError
from nearfar.scenes.field import ConditionalField, ObjectOptions, Sources
from nearfar.scenes.rendering import FieldRays, bytes_per_ray, camera_rays, render_rays, render_view
from nearfar.spatial.cameras import Camera, orbit

SMALL = ObjectOptions(width=16, latent=8, encoder_size=16, encoder_pool=1, coarse=6, near=1.5, far=4.0)
CAMERAS = orbit(4, 2.7, 30.0, width=16, height=12, fov=40.0)


def described(**changes: Any) -> tuple[ConditionalField, Sources]:
    field = ConditionalField(replace(SMALL, **changes)).eval()
    return field, field.encode(torch.rand(1, 1, 3, 16, 16), [[CAMERAS[0]]])


class Ball(torch.nn.Module):
    """A field of which the answer is known: an opaque red ball of radius 0.5 round the origin."""

    def __init__(self, options: ObjectOptions) -> None:
        super().__init__()
        self.options, self.fine = options, None
        self.register_buffer("background", torch.ones(3))

    def forward(self, points: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        red = torch.tensor([1.0, 0.0, 0.0]).expand_as(points)
        return red, 1000.0 * (points.norm(dim=-1) < 0.5)


def nothing(objects: int = 1) -> Sources:
    return Sources(torch.zeros(objects, 1, 3, 4), torch.zeros(objects, 1, 4), None, None)


def test_a_ball_is_seen_where_it_is() -> None:
    camera = orbit(1, 2.7, 30.0, width=33, height=33, fov=40.0)[0]
    view = render_view(Ball(replace(SMALL, coarse=200)), nothing(), camera)  # type: ignore[arg-type]
    assert torch.allclose(view["rgb"][16, 16], torch.tensor([1.0, 0.0, 0.0]), atol=1e-3)
    assert torch.equal(view["rgb"][0, 0], torch.ones(3))
    assert abs(float(view["depth"][16, 16]) - 2.2) < 0.02  # along the ray, to the ball's near side
    # Its outline: rays that pass the origin closer than the radius.
    origins, directions = camera.rays()
    passing = np.linalg.norm(np.cross(origins, directions), axis=1).reshape(33, 33) < 0.5
    assert ((view["alpha"].numpy() > 0.5) == passing).mean() > 0.98


def test_slanted_rays_reach_as_deep_as_straight_ones() -> None:
    camera = replace(CAMERAS[0], near=1.0, far=5.0)
    origins, directions, near, far = camera_rays(camera, replace(SMALL, near=0.0, far=0.0))
    axis = torch.from_numpy(camera.axis.copy()).float()
    for bound, depth in ((near, 1.0), (far, 5.0)):
        reached = ((origins + bound[:, None] * directions - origins) * axis).sum(dim=-1)
        assert torch.allclose(reached, torch.full_like(reached, depth), atol=1e-5)
    _, _, near, _ = camera_rays(camera, SMALL)
    assert float(near.min()) == pytest.approx(1.5, abs=5e-3)  # the options' own


def test_half_given_distances_that_do_not_fit_the_camera_are_named() -> None:
    with pytest.raises(ConfigError, match="distances must increase"):
        camera_rays(replace(CAMERAS[0], near=0.1, far=1.0), replace(SMALL, near=2.0, far=0.0))


@pytest.mark.parametrize("samples", [{}, {"fine": 5, "fine_depth": 3}])
def test_pictures_do_not_depend_on_the_chunk(samples: dict[str, int]) -> None:
    field, sources = described(**samples)
    whole = render_view(field, sources, CAMERAS[1], chunk=10_000)
    parts = render_view(field, sources, CAMERAS[1], chunk=7)
    assert whole["rgb"].shape == (12, 16, 3) and whole["depth"].shape == (12, 16)
    for name in ("rgb", "alpha", "depth"):
        assert torch.allclose(whole[name], parts[name], atol=1e-5)


def test_memory_bounds_how_many_rays_go_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    field, sources = described(memory_bytes=40 * bytes_per_ray(SMALL))
    rows: list[int] = []
    forward = field.coarse.forward
    monkeypatch.setattr(field.coarse, "forward", lambda x, z: rows.append(x.shape[2]) or forward(x, z))
    render_view(field, sources, CAMERAS[1])
    assert max(rows) == 40 * SMALL.coarse
    assert sum(rows) == 12 * 16 * SMALL.coarse


def test_rendering_draws_nothing_and_training_jitters() -> None:
    field, sources = described(fine=4, fine_depth=2)
    rays = FieldRays(*(part[None] for part in camera_rays(CAMERAS[0], field.options)))
    still = [render_rays(field, sources, rays).final.rgb for _ in range(2)]
    assert torch.equal(*still)
    drawn = [render_rays(field, sources, rays, torch.Generator().manual_seed(k)).final.rgb for k in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_the_fine_network_sees_all_samples_in_order() -> None:
    field, sources = described(fine=5, fine_depth=3)
    rays = FieldRays(*(part[None] for part in camera_rays(CAMERAS[0], field.options)))
    seen = render_rays(field, sources, rays, torch.Generator().manual_seed(0))
    assert seen.fine is not None and seen.final is seen.fine
    assert seen.coarse.weights.shape[-1] == 6
    assert seen.fine.weights.shape[-1] == 6 + 5 + 3
    assert (seen.fine.weights >= 0).all() and (seen.fine.alpha <= 1 + 1e-5).all()


def test_objects_are_rendered_side_by_side_as_one_by_one() -> None:
    field, _ = described(conditioning="pixel")
    shown, cameras = torch.rand(2, 1, 3, 16, 16), [[CAMERAS[0]], [CAMERAS[2]]]
    parts = [camera_rays(camera, field.options) for camera in (CAMERAS[1], CAMERAS[3])]
    rays = FieldRays(*(torch.stack(column) for column in zip(*parts, strict=True)))
    both = render_rays(field, field.encode(shown, cameras), rays).final.rgb
    for k in range(2):
        alone = render_view(field, field.encode(shown[k : k + 1], cameras[k : k + 1]), (CAMERAS[1], CAMERAS[3])[k])
        assert torch.allclose(both[k].reshape(12, 16, 3), alone["rgb"], atol=1e-5)


def test_one_object_a_picture() -> None:
    field, _ = described()
    with pytest.raises(ShapeError, match="one object a picture"):
        render_view(field, nothing(2), CAMERAS[0])


def test_the_background_of_the_options_is_seen() -> None:
    options = replace(SMALL, background=(0.0, 1.0, 0.0))
    ball = Ball(options)
    ball.background = torch.tensor(options.background)
    camera: Camera = orbit(1, 2.7, 30.0, width=9, height=9, fov=60.0)[0]
    assert torch.equal(render_view(ball, nothing(), camera)["rgb"][0, 0], torch.tensor([0.0, 1.0, 0.0]))  # type: ignore[arg-type]
