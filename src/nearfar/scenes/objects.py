"""How a conditional field learns many objects: rays drawn from their views, rates, and one step."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nearfar.encoders.mode import evaluating
from nearfar.errors import DataError, NonFiniteError
from nearfar.scenes.field import ConditionalField, Sources
from nearfar.scenes.object_options import ObjectOptions
from nearfar.scenes.rendering import FieldRays, camera_rays, render_rays
from nearfar.scenes.scene import Scene, Split
from nearfar.spatial.cameras import Camera

DILATION = 2
"""pixels around an object that count as its surroundings, where its edge is learned"""


class ObjectBatch(NamedTuple):
    """What a step learns from: source views of B objects, rays of other views, and what these rays should see."""

    images: Tensor
    """[B, V, 3, S, S], of the encoder's size"""
    cameras: list[list[Camera]]
    rays: FieldRays
    colours: Tensor
    """[B, R, 3]"""


class ObjectPool:
    """The views of one split of many objects, decoded when they are asked for; draws depend on the generator alone.

    Decoded views are kept as long as they fit in `cache_bytes`. Raises DataError where there is no object, or one has
    fewer views than the options need.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        options: ObjectOptions,
        *,
        split: Split = "train",
        device: str | torch.device = "cpu",
        cache_bytes: int = 1 << 30,
    ) -> None:
        self.scenes, self.options, self.device, self.room = list(scenes), options, torch.device(device), cache_bytes
        self.views = [scene.indices(split) for scene in self.scenes]
        if not self.scenes:
            raise DataError("there is no object to learn from", expected="1 or more")
        for scene, views in zip(self.scenes, self.views, strict=True):
            if len(views) < options.sources:
                raise DataError(
                    "an object has too few views",
                    where=scene.name,
                    found=f"{len(views)} of split {split}",
                    expected=f"{options.sources} source views",
                )
        self._kept: OrderedDict[tuple[int, int], tuple[Tensor, Tensor]] = OrderedDict()
        self._bytes = 0

    def draw(self, generator: torch.Generator, step: int = 0) -> ObjectBatch:
        """The batch of step `step`: objects with replacement, their source views, rays of their target views."""
        options = self.options
        images, cameras, parts = [], [], []
        for k in torch.randint(len(self.scenes), (options.objects,), generator=generator).tolist():
            sources = self._choose(k, options.sources, generator)
            images.append(self.sources(k, sources))
            cameras.append([self.scenes[k].frames[i].camera for i in sources])
            parts.append(self._rays(k, step, generator))
        columns = [torch.stack(column).to(self.device) for column in zip(*parts, strict=True)]
        return ObjectBatch(torch.stack(images).to(self.device), cameras, FieldRays(*columns[:4]), columns[4])

    def sources(self, k: int, views: Sequence[int]) -> Tensor:
        """Views of object k as the encoder takes them, [V, 3, S, S]."""
        return torch.stack([_encoder_sized(self._view(k, i)[0], self.options.encoder_size) for i in views])

    def _choose(self, k: int, count: int, generator: torch.Generator) -> list[int]:
        order = torch.randperm(len(self.views[k]), generator=generator)[:count]
        return [self.views[k][i] for i in order.tolist()]

    def _rays(self, k: int, step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Origins, directions, near, far and colours of the rays of one object, a like number from each target view."""
        options = self.options
        targets = self._choose(k, options.targets, generator)
        parts = []
        for share, view in zip(np.array_split(np.arange(options.rays), len(targets)), targets, strict=True):
            rgb, focus = self._view(k, view)
            camera = self.scenes[k].frames[view].camera
            pixels = _pixels(len(share), focus, camera, options, step, generator)
            columns, rows = pixels % camera.width, pixels // camera.width
            rays = camera_rays(camera, options, torch.stack([columns, rows], dim=-1).numpy())
            parts.append((*rays, rgb[:, rows, columns].T))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _view(self, k: int, i: int) -> tuple[Tensor, Tensor]:
        """rgb [3, H, W] of a view, and the numbers of the pixels that rays of the object are drawn from."""
        if (k, i) in self._kept:
            self._kept.move_to_end((k, i))
            return self._kept[k, i]
        rgb, alpha = self.scenes[k].image(i)
        picture = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))
        made = picture, _focus(alpha, self.options.focus)
        self._bytes += _size(made)
        self._kept[k, i] = made
        while self._bytes > self.room and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return made


def build_optimiser(field: ConditionalField) -> torch.optim.Adam:
    """Adam over what learns, with the rate of the options as `peak`."""
    rate = field.options.rate
    params = [p for p in field.parameters() if p.requires_grad]
    return torch.optim.Adam([{"params": params, "lr": rate, "peak": rate, "name": "field"}], fused=True)


def set_rates(optimiser: torch.optim.Optimizer, options: ObjectOptions, step: int, progress: float) -> None:
    """The rates of step `step` (from 0), when `progress` (0 to 1) of the budget of steps or seconds is spent."""
    factor = min(1.0, (step + 1) / max(1, options.warmup))
    if options.schedule == "cosine":
        middle = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        factor *= options.floor + (1 - options.floor) * middle
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def object_step(
    field: ConditionalField,
    batch: ObjectBatch,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator | None = None,
) -> dict[str, float]:
    """One step on the mean squared error of colours, of coarse and fine samples; returns loss, mse and psnr before it.

    mse and psnr are those of the samples that count. The generator places samples within their strata.
    Raises NonFiniteError, before anything changes but the encoder's running statistics.
    """
    sources = field.encode(batch.images, batch.cameras)
    seen = render_rays(field, sources, batch.rays, generator)
    mse = F.mse_loss(seen.final.rgb.float(), batch.colours)
    loss = mse if seen.fine is None else mse + F.mse_loss(seen.coarse.rgb.float(), batch.colours)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise NonFiniteError(
            "the loss of a step is not finite", found=value, fix="Lower the rate, or check the images."
        )
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    if field.options.clip:
        torch.nn.utils.clip_grad_norm_(field.parameters(), field.options.clip)
    optimiser.step()
    error = float(mse.detach())
    return {"loss": value, "mse": error, "psnr": -10 * math.log10(max(error, 1e-10))}


@torch.no_grad()
def describe(field: ConditionalField, scene: Scene, views: Sequence[int]) -> Sources:
    """What these views of a scene show of its object, as `render_view` takes it; the encoder in evaluation mode."""
    size = field.options.encoder_size
    images = [torch.from_numpy(scene.image(i)[0].transpose(2, 0, 1).copy()) for i in views]
    stack = torch.stack([_encoder_sized(image, size) for image in images])[None]
    with evaluating(field):
        return field.encode(stack.to(field.get_buffer("background").device), [[scene.frames[i].camera for i in views]])


def _pixels(
    count: int, focus: Tensor, camera: Camera, options: ObjectOptions, step: int, generator: torch.Generator
) -> Tensor:
    """Numbers of `count` pixels, `focus_share` of them out of `focus` while that lasts, the rest anywhere."""
    focused = len(focus) > 0 and (options.focus_steps == 0 or step < options.focus_steps)
    inside = int(count * options.focus_share) if focused else 0
    anywhere = torch.randint(camera.width * camera.height, (count - inside,), generator=generator)
    if not inside:
        return anywhere
    return torch.cat([focus[torch.randint(len(focus), (inside,), generator=generator)], anywhere])


def _focus(alpha: NDArray[np.float32] | None, kind: str) -> Tensor:
    """The numbers of the pixels of the dilated object, or of the box around it; none without a mask."""
    if alpha is None or not (alpha > 0).any():
        return torch.zeros(0, dtype=torch.int64)
    if kind == "mask":
        solid = torch.from_numpy(np.ascontiguousarray(alpha))[None, None]
        grown = F.max_pool2d(solid, 2 * DILATION + 1, 1, DILATION)[0, 0] > 0
    else:
        rows, columns = (np.flatnonzero((alpha > 0).any(axis)) for axis in (1, 0))
        grown = torch.zeros(alpha.shape, dtype=torch.bool)
        grown[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return grown.flatten().nonzero()[:, 0]


def _encoder_sized(image: Tensor, side: int) -> Tensor:
    """[3, H, W] -> [3, side, side], as the encoder itself would resize it."""
    if image.shape[1:] == (side, side):
        return image
    return F.interpolate(image[None], (side, side), mode="bilinear", antialias=True, align_corners=False)[0]


def _size(view: tuple[Tensor, Tensor]) -> int:
    return sum(part.numel() * part.element_size() for part in view)
