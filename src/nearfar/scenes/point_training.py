"""How a field of points learns: rays drawn from the views, rates, and one step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from nearfar.errors import NonFiniteError, ShapeError
from nearfar.scenes.point_options import PointOptions
from nearfar.scenes.points import PointField
from nearfar.spatial.cameras import Camera

DILATION = 2
"""pixels around an object that count as its surroundings, where its edge is learned"""


class Rays(NamedTuple):
    """Rays and what they should see; `shape` where they form a patch, row by row."""

    origins: Tensor
    directions: Tensor
    colours: Tensor
    shape: tuple[int, int] | None = None


class RayPool:
    """All pixels of all training views as rays; 36 bytes a pixel.

    `views` are (camera, rgb [H, W, 3] in 0..1, alpha [H, W] or None). Draws depend on the generator alone.
    """

    def __init__(self, views: Sequence[tuple[Camera, ArrayLike, ArrayLike | None]], device: str | torch.device = "cpu"):
        if not views:
            raise ShapeError("there is no view to learn from", found=0, expected="1 or more")
        self.sizes = [(camera.height, camera.width) for camera, _, _ in views]
        self.starts = np.cumsum([0, *(height * width for height, width in self.sizes)])
        rays = [camera.rays() for camera, _, _ in views]
        self.origins = _joined([origins for origins, _ in rays], device)
        self.directions = _joined([directions for _, directions in rays], device)
        self.colours = _joined([_flat(rgb, camera, 3) for camera, rgb, _ in views], device)
        masks = [_around_object(alpha, camera) for camera, _, alpha in views]
        self.objects = torch.cat(masks).nonzero()[:, 0].to(device)

    def draw(self, count: int, mask_share: float, generator: torch.Generator) -> Rays:
        """`count` rays of all views, `mask_share` of them on objects or their edges, the rest anywhere."""
        inside = int(count * mask_share) if len(self.objects) else 0
        anywhere = torch.randint(len(self.colours), (count - inside,), generator=generator).to(self.colours.device)
        if inside:
            chosen = torch.randint(len(self.objects), (inside,), generator=generator).to(self.objects.device)
            anywhere = torch.cat([self.objects[chosen], anywhere])
        return Rays(self.origins[anywhere], self.directions[anywhere], self.colours[anywhere])

    def patch(self, side: int, generator: torch.Generator) -> Rays:
        """A random square of one random view, or as much of it as the view has."""
        view = int(torch.randint(len(self.sizes), (1,), generator=generator))
        height, width = self.sizes[view]
        rows, columns = min(side, height), min(side, width)
        top = int(torch.randint(height - rows + 1, (1,), generator=generator))
        left = int(torch.randint(width - columns + 1, (1,), generator=generator))
        grid = (torch.arange(top, top + rows)[:, None] * width + torch.arange(left, left + columns)).flatten()
        index = (grid + int(self.starts[view])).to(self.colours.device)
        return Rays(self.origins[index], self.directions[index], self.colours[index], (rows, columns))

    def batch(self, options: PointOptions, generator: torch.Generator) -> Rays:
        """What a step of these options learns from."""
        if options.patch:
            return self.patch(options.patch, generator)
        return self.draw(options.rays, options.mask_share, generator)


def build_optimiser(field: PointField, options: PointOptions) -> torch.optim.Adam:
    """Adam with one named group a kind of parameter, each with its rate as `peak`."""
    networks = [field.attention, *(part for part in (field.align, field.sky) if part is not None)]
    groups = {
        "points": ([field.points], options.rate_points),
        "influence": ([field.influence], options.rate_influence),
        "features": ([field.features], options.rate_features),
        "attention": ([p for network in networks for p in network.parameters()], options.rate_attention),
        "head": (list(field.head.parameters()), options.rate_head),
    }
    return torch.optim.Adam(
        [{"params": params, "lr": rate, "peak": rate, "name": name} for name, (params, rate) in groups.items()],
        fused=True,
    )


def rate_factor(schedule: str, progress: float, warm: float = 1.0, floor: float = 0.0) -> float:
    """Share of the peak rate after `progress` (0 to 1) of the time behind the warm-up, of which `warm` is done.

    cosine ends at `floor`, half at the middle between 1 and `floor` (published as cosine-hlfperiod).
    """
    angle = math.pi * min(max(progress, 0.0), 1.0) * (0.5 if schedule == "half" else 1.0)
    return min(warm, 1.0) * (floor + (1 - floor) * 0.5 * (1 + math.cos(angle)))


def published_rate(schedule: str, peak: float, step: int, warmup: int, total: int = 250_000) -> float:
    """The published schedules by step (from 0): a linear warm-up, then `rate_factor` over the rest."""
    if step < warmup:
        return peak * step / warmup
    return peak * rate_factor(schedule, (step - warmup) / (total - warmup))


def set_rates(optimiser: torch.optim.Optimizer, options: PointOptions, step: int, progress: float) -> None:
    """The rates of step `step` (from 0), when `progress` (0 to 1) of the budget of steps or seconds is spent."""
    warm = (step + 1) / max(1, options.warmup)
    for group in optimiser.param_groups:
        place = group["name"] == "points"
        schedule = "cosine" if place else options.schedule
        ready = 1.0 if place and not options.warmup_points else warm
        group["lr"] = group["peak"] * rate_factor(schedule, progress, ready, options.floor)


def point_step(
    field: nn.Module,
    rays: Rays,
    optimiser: torch.optim.Optimizer,
    *,
    pixel_features: Tensor | None = None,
    perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> dict[str, float]:
    """One step on the mean squared error of colours; returns loss, mse and psnr before it.

    `field` is a `PointField` or what wraps one. `perceptual(seen, wanted)` on pictures [1, 3, H, W], weighted by the
    caller, is added where the rays form a patch. Raises NonFiniteError, before anything changes.
    """
    seen = field(rays.origins, rays.directions, shape=rays.shape, pixel_features=pixel_features)["rgb"].float()
    mse = F.mse_loss(seen, rays.colours)
    loss = mse
    if perceptual is not None and rays.shape is not None:
        loss = loss + perceptual(_picture(seen, rays.shape), _picture(rays.colours, rays.shape))
    value = float(loss.detach())
    if not math.isfinite(value):
        raise NonFiniteError(
            "the loss of a step is not finite", found=value, fix="Lower the rates, or check the images."
        )
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimiser.step()
    error = float(mse.detach())
    return {"loss": value, "mse": error, "psnr": -10 * math.log10(max(error, 1e-10))}


def _picture(pixels: Tensor, shape: tuple[int, int]) -> Tensor:
    return pixels.reshape(1, *shape, 3).permute(0, 3, 1, 2)


def _joined(arrays: Sequence[ArrayLike], device: str | torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate([np.asarray(array, dtype=np.float32) for array in arrays])).to(device)


def _flat(image: ArrayLike, camera: Camera, channels: int) -> ArrayLike:
    values = np.asarray(image, dtype=np.float32)
    if values.shape[:2] != (camera.height, camera.width) or values.shape[2:] != (channels,):
        expected = (camera.height, camera.width, channels)
        raise ShapeError("a view's image has another size than its camera's", found=values.shape, expected=expected)
    return values.reshape(-1, channels)


def _around_object(alpha: ArrayLike | None, camera: Camera) -> Tensor:
    """bool [H W]: the dilated object, nothing where the view has no mask."""
    if alpha is None:
        return torch.zeros(camera.height * camera.width, dtype=torch.bool)
    solid = torch.from_numpy(np.array(_flat(np.asarray(alpha)[..., None], camera, 1)))
    picture = solid.reshape(1, 1, camera.height, camera.width)
    return F.max_pool2d(picture, 2 * DILATION + 1, 1, DILATION).flatten() > 0
