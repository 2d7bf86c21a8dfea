"""Rays and whole pictures of a conditional field."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError
from nearfar.scenes.field import ConditionalField, Sources
from nearfar.scenes.object_options import ObjectOptions
from nearfar.scenes.volume import Composite, around, composite, importance, strata, stratified
from nearfar.spatial.cameras import Camera

LAYERS = 8
"""activations of a network's width that are alive at once without gradients"""


class FieldRays(NamedTuple):
    """R rays of each of B objects."""

    origins: Tensor
    """[B, R, 3]"""
    directions: Tensor
    """unit vectors [B, R, 3]"""
    near: Tensor
    """where a ray begins and ends, distances along it, [B, R]"""
    far: Tensor


class Seen(NamedTuple):
    """What rays show by the coarse samples, and by all where the field has fine ones."""

    coarse: Composite
    fine: Composite | None

    @property
    def final(self) -> Composite:
        """The one that counts."""
        return self.coarse if self.fine is None else self.fine


class View(TypedDict):
    """A rendered picture, on the field's device."""

    rgb: Tensor
    """[H, W, 3], 0..1"""
    alpha: Tensor
    """[H, W], 0..1"""
    depth: Tensor
    """[H, W], mean distance along the ray of what is seen, world units; says something where alpha is high"""


def camera_rays(
    camera: Camera, options: ObjectOptions, pixels: NDArray[np.int64] | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Origins [R, 3], unit directions [R, 3], near and far [R] of rays through (column, row) pixels, None: all.

    Near and far of the options, or where they are 0 of the camera, are distances along its axis; a slanted ray is
    longer.
    """
    origins, directions = camera.rays(pixels)
    slant = 1 / np.maximum(directions @ camera.axis, 1e-3)
    near, far = options.near or camera.near, options.far or camera.far
    if not near < far:
        raise ConfigError("distances must increase", where="objects.near", found=f"{near:g} to {far:g}")
    found = (origins, directions, near * slant, far * slant)
    return tuple(torch.from_numpy(part).float() for part in found)  # type: ignore[return-value]


def render_rays(
    field: ConditionalField, sources: Sources, rays: FieldRays, generator: torch.Generator | None = None
) -> Seen:
    """What rays of B objects show, with gradients. Samples are jittered by the generator, or stand still without."""
    options, background = field.options, field.get_buffer("background")
    edges = strata(rays.near, rays.far, options.coarse)
    distances = stratified(edges, generator)
    coarse = composite(distances, *_ask(field, sources, rays, distances, fine=False), rays.far, background)
    if field.fine is None:
        return Seen(coarse, None)
    depth = coarse.depth / coarse.alpha.clamp(min=1e-6)
    more = [
        importance(edges, coarse.weights, options.fine, generator),
        around(depth, options.depth_std, options.fine_depth, rays.near, rays.far, generator),
    ]
    distances = torch.cat([distances, *more], dim=-1).sort(dim=-1).values
    return Seen(coarse, composite(distances, *_ask(field, sources, rays, distances, fine=True), rays.far, background))


@torch.no_grad()
def render_view(field: ConditionalField, sources: Sources, camera: Camera, chunk: int | None = None) -> View:
    """The picture that `camera` takes of the one object that `sources` describe.

    `chunk` rays at a time; None: as many as `memory_bytes` of the options allow. Pictures do not depend on it.
    Raises ShapeError for more than one object.
    """
    if len(sources.w2c) != 1:
        raise ShapeError("one object a picture", found=f"{len(sources.w2c)} objects", expected=1)
    size = chunk or max(1, field.options.memory_bytes // bytes_per_ray(field.options, sources.w2c.shape[1]))
    device = field.get_buffer("background").device
    whole = camera_rays(camera, field.options)
    parts = [
        render_rays(field, sources, FieldRays(*(one[None].to(device) for one in some))).final
        for some in zip(*(torch.split(part, size) for part in whole), strict=True)
    ]
    rgb, alpha, depth = (torch.cat([part[k][0] for part in parts]) for k in range(3))
    shape = (camera.height, camera.width)
    return {
        "rgb": rgb.clamp(0, 1).reshape(*shape, 3),
        "alpha": alpha.clamp(0, 1).reshape(shape),
        "depth": (depth / alpha.clamp(min=1e-6)).reshape(shape),
    }


def bytes_per_ray(options: ObjectOptions, views: int = 1) -> int:
    """What the activations of a ray take without gradients, about, where `views` source views describe the object."""
    samples = options.coarse + options.fine + options.fine_depth
    # Only what differs by source view is held once a view.
    wide = LAYERS * options.width * views + 2 * 3 * (1 + 2 * options.octaves)
    if options.conditioning == "pixel":
        wide += 4 * options.latent * views
    return 4 * samples * wide


def _ask(
    field: ConditionalField, sources: Sources, rays: FieldRays, distances: Tensor, *, fine: bool
) -> tuple[Tensor, Tensor]:
    """Density [B, R, n] and colours [B, R, n, 3] at distances [B, R, n] along rays."""
    points = rays.origins[..., None, :] + distances[..., None] * rays.directions[..., None, :]
    ways = rays.directions[..., None, :].expand_as(points)
    colours, density = field(points.flatten(1, 2), ways.flatten(1, 2), sources, fine=fine)
    return density.unflatten(1, distances.shape[1:]), colours.unflatten(1, distances.shape[1:])
