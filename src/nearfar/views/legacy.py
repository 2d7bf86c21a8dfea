"""The thermal augmentation of DiSCO's published code (SpatialCL, b7bec27), number for number.

Kept to reproduce published runs; `nearfar.views.thermal` is what to use otherwise. Known faults, all kept: `occlusion`
does nothing in 21 % of calls with its defaults, `contrast` is a gain, `brightness_contrast` adds the mean at (1, 1),
and the default `elastic` moves pixels by 0.18 pixels. Arrays uint8 [H, W] or [H, W, 3]; randomness from NumPy's global
state where the published code took it from there, unless a generator is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import ConfigError, DataError
from nearfar.views import geometric
from nearfar.views.photometric import box_mask
from nearfar.views.random import bits, chance, derive, uniform

Image = NDArray[np.uint8]
_CENTRE = (0.3, 0.7)


def _uint8(values: NDArray[Any]) -> Image:
    clipped: Image = np.clip(values, 0, 255).astype(np.uint8)
    return clipped


def _checked(image: Image) -> Image:
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise DataError(
            "The published thermal functions take 8-bit images",
            found=f"{image.dtype} {list(image.shape)}",
            expected="uint8 [H, W] or [H, W, C]",
            fix="Use nearfar.views.thermal for other data.",
        )
    return image


def _random(random: np.random.RandomState | None) -> Any:
    return np.random if random is None else random


def occlusion(
    image: Image,
    mask_width_ratio: float = 0.6,
    mask_height_ratio: float = 0.2,
    max_attempts: int = 5,
    random: np.random.RandomState | None = None,
) -> Image:
    """A black box outside the central [0.3, 0.7]^2, if one of `max_attempts` draws lands there; else a plain copy."""
    image = _checked(image).copy()
    if min(mask_width_ratio, mask_height_ratio) <= 0 or mask_width_ratio + mask_height_ratio > 1:
        raise ConfigError(
            "The box does not fit", found=(mask_width_ratio, mask_height_ratio), expected="ratios above 0 with sum <= 1"
        )
    height, width = image.shape[:2]
    box_width, box_height = int(width * mask_width_ratio), int(height * mask_height_ratio)
    for _ in range(max_attempts):
        x = _random(random).randint(0, width - box_width)
        y = _random(random).randint(0, height - box_height)
        columns = x + box_width <= width * _CENTRE[0] or x >= width * _CENTRE[1]
        rows = y + box_height <= height * _CENTRE[0] or y >= height * _CENTRE[1]
        if columns or rows:
            image[y : y + box_height, x : x + box_width] = 0
            break
    return image


def contrast(image: Image, alpha: float | None = None, random: np.random.RandomState | None = None) -> Image:
    """x * U(0.5, 1), or x * U(alpha, 1 + alpha): a gain."""
    low, high = (0.5, 1.0) if alpha is None else (alpha, 1 + alpha)
    return _uint8(_checked(image) * _random(random).uniform(low, high))


def brightness_contrast(
    image: Image,
    brightness: float | None = None,
    contrast: float | None = None,
    random: np.random.RandomState | None = None,
) -> Image:
    """b x + (c - 1)(x - mu) + mu with b ~ U(0.8, 1.4) and c ~ U(0.2, 1.2) unless given; mu over all channels."""
    b = _random(random).uniform(0.8, 1.4) if brightness is None else brightness
    c = _random(random).uniform(0.2, 1.2) if contrast is None else contrast
    values = _checked(image).astype(np.float32)
    mu = values.mean()
    return _uint8(b * values + (c - 1) * (values - mu) + mu)


def elastic(
    image: Image,
    alpha: float | None = None,
    sigma: float | None = None,
    random_state: np.random.RandomState | None = None,
) -> Image:
    """Elastic deformation (Simard 2003): white noise in [-1, 1] blurred with `sigma`, times `alpha`, in pixels.

    Both default to 0.08 * 224 whatever the image. As published the noise comes from a fresh RandomState unless given,
    so NumPy's global seed has no effect. Beyond the published code it also takes [H, W].
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    alpha, sigma = (0.08 * 224 if value is None else value for value in (alpha, sigma))
    random = np.random.RandomState() if random_state is None else random_state
    shape = _checked(image).shape[:2]
    dx, dy = (gaussian_filter(random.rand(*shape) * 2 - 1, sigma, mode="constant", cval=0) * alpha for _ in range(2))
    rows, columns = np.indices(shape)
    planes = image[..., None] if image.ndim == 2 else image
    moved = [
        map_coordinates(plane, [rows + dy, columns + dx], order=1, mode="reflect")
        for plane in np.moveaxis(planes, -1, 0)
    ]
    return np.stack(moved, -1).reshape(image.shape)


def random_geometry(key: Tensor, aspect: float = 1.0) -> Tensor:
    """The published RandomOrder of affine (p 0.3), rotation (p 0.5) and resized crop (p 0.5): matrices [N, 3, 3].

    Affine: 10 degrees, shift 0.1, scale 0.85 to 1.15, shear 10 degrees; rotation 5 degrees; crop area 0.85 to 1.
    Composed into one matrix, so the image is resampled once and not up to three times.
    """

    def draw(name: str, low: float, high: float) -> Tensor:
        return uniform(derive(key, name), (), low, high).double()

    size = draw("scale", 0.85, 1.15)
    affine = geometric.compose(
        geometric.translation(draw("shift_x", -0.2, 0.2), draw("shift_y", -0.2, 0.2)),
        geometric.rotation(draw("affine_angle", -10, 10), aspect),
        geometric.shearing(draw("shear", -10, 10), aspect),
        geometric.scaling(1 / size, 1 / size),
    )
    rotation = geometric.rotation(draw("angle", -5, 5), aspect)
    crop = geometric.resized_crop(key, (0.85, 1.0), (0.75, 1.25))
    identity = torch.eye(3, dtype=torch.float64, device=key.device).expand_as(crop)
    steps = [
        torch.where(chance(derive(key, name, "used"), p)[:, None, None], step, identity)
        for name, p, step in (("affine", 0.3, affine), ("rotation", 0.5, rotation), ("crop", 0.5, crop))
    ]
    order = bits(derive(key, "order"), (3,)).argsort(1)
    ordered = torch.stack(steps, 1).gather(1, order[:, :, None, None].expand(-1, -1, 3, 3))
    return geometric.compose(*ordered.unbind(1))


def random_occlusion(image: Tensor, key: Tensor, probability: float = 0.4, max_attempts: int = 5) -> Tensor:
    """`occlusion` with its defaults for a batch float [N, C, H, W] with keys int64 [N]: the same law, to half a pixel.

    Black is the coldest value of the image. In the published 8-bit pictures, stretched to their own range, that is 0;
    a 0 among absolute temperatures would be a hundred deviations away.
    """
    shape = (image.shape[2], image.shape[3])
    extent = torch.tensor([0.6, 0.2], device=key.device).expand(len(key), 2)
    black = image.amin((1, 2, 3), keepdim=True)
    out, pending = image, chance(derive(key, "occlusion_used"), probability)
    low, high = (int(_CENTRE[0] * n + 1e-6) for n in shape), (math.ceil(_CENTRE[1] * n - 1e-6) for n in shape)
    centre = torch.zeros(shape, dtype=torch.bool, device=image.device)
    centre[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    for attempt in range(max_attempts):
        box = box_mask(uniform(derive(key, "occlusion", attempt), (2,)), extent, shape)
        legal = pending & ~(box & centre).flatten(1).any(1)
        out = torch.where(box & legal[:, None, None, None], black, out)
        pending = pending & ~legal
    return out


@dataclass(frozen=True)
class ThermalAugmentor:
    """The published pipeline for one picture: geometry, occlusion (p 0.4), flips (0.5 and 0.3), at `size` pixels.

    `contrast`, `brightness_contrast` and `elastic` are not in it, as published. Normalisation is the encoder's.
    """

    size: int = 224
    occlude: float = 0.4
    flip_horizontal: float = 0.5
    flip_vertical: float = 0.3

    def __call__(self, image: Image, seed: int) -> Image:
        """uint8 [H, W] or [H, W, C] -> uint8 [size, size] or [size, size, C]."""
        planes = torch.from_numpy(np.atleast_3d(_checked(image)).astype(np.float32)).permute(2, 0, 1)[None]
        key = derive(torch.tensor([seed]), "thermal_augmentor")
        mirror = geometric.flips(key, self.flip_horizontal, self.flip_vertical)
        matrix = geometric.compose(random_geometry(key, image.shape[1] / image.shape[0]), mirror)
        view = geometric.resample(planes, geometric.grid(matrix, (self.size, self.size)))
        view = random_occlusion(view, key, self.occlude)[0].permute(1, 2, 0).round()
        return _uint8(view.numpy()).reshape(self.size, self.size, *image.shape[2:])
