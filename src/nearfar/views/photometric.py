"""Changes of values, image by image: tensors float [N, C, H, W] and parameters [N].

All are relative to the image's own statistics, so they mean the same for 8-bit colour, 16-bit temperatures and floats
of any unit, and nothing is clipped. Only correctly rounded arithmetic touches pixels (no pow, no exp): those functions
round differently in vector and scalar code, and a view must not depend on its place in the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.views.random import derive, normal, uniform

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def per_image(value: Tensor, image: Tensor) -> Tensor:
    """[N] -> [N, 1, 1, 1] in the image's dtype."""
    return value.to(image.dtype)[:, None, None, None]


def mean(image: Tensor) -> Tensor:
    """Mean of every channel [N, C, 1, 1], accumulated in float64 so that the order of the sum does not show."""
    return image.mean((-2, -1), keepdim=True, dtype=torch.float64).to(image.dtype)


def deviation(image: Tensor) -> Tensor:
    """Standard deviation of every channel [N, C, 1, 1]."""
    centred = (image - mean(image)).double()
    return centred.square().mean((-2, -1), keepdim=True).sqrt().to(image.dtype)


def brightness(image: Tensor, gain: Tensor) -> Tensor:
    """gain * x, for values whose zero means dark."""
    return image * per_image(gain, image)


def contrast(image: Tensor, factor: Tensor) -> Tensor:
    """c (x - mu) + mu, mu the mean of each channel."""
    mu = mean(image)
    return (image - mu) * per_image(factor, image) + mu


def shift(image: Tensor, amount: Tensor) -> Tensor:
    """x + amount * sigma, sigma the deviation of each channel: brightness where zero has no meaning."""
    return image + per_image(amount, image) * deviation(image)


def gamma(image: Tensor, exponent: Tensor) -> Tensor:
    """Tone curve from the darkest to the brightest value of the image, exact at both and as x^exponent half-way.

    Schlick's rational form of the power curve (Graphics Gems IV, 1994): t / ((1/a - 2)(1 - t) + 1), a = 0.5^exponent.
    """
    low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
    span = torch.where(high > low, high - low, torch.ones_like(high))
    t = (image - low) / span
    slope = per_image(2.0 ** exponent.double() - 2, image)
    return low + span * (t / (slope * (1 - t) + 1))


def saturation(image: Tensor, factor: Tensor) -> Tensor:
    """Distance from the grey of the same luma, times the factor [N]; 0 is grayscale. Three channels, red first."""
    red, green, blue = image.unbind(1)
    grey = (red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]).unsqueeze(1)
    return (image - grey) * per_image(factor, image) + grey


def drop_channel(image: Tensor, which: Tensor) -> Tensor:
    """Channel `which` [N] is replaced by its mean; -1 keeps all."""
    gone = torch.arange(image.shape[1], device=image.device) == which[:, None]
    return torch.where(gone[:, :, None, None], mean(image), image)


def blur(image: Tensor, sigma: Tensor, radius: int = 2) -> Tensor:
    """Gaussian blur with sigma [N] in pixels (up to about radius / 2), edges mirrored; 0 leaves the image as it is."""
    taps = torch.arange(-radius, radius + 1, device=image.device)
    width = sigma.double().clamp(min=1e-3)[:, None]
    weights = torch.exp(-0.5 * (taps / width).square())
    weights = (weights / weights.sum(1, keepdim=True)).to(image.dtype)
    height, length = image.shape[-2:]
    mode = "reflect" if min(height, length) > radius else "replicate"
    padded = F.pad(image, (radius,) * 4, mode=mode)
    rows = sum(weights[:, k, None, None, None] * padded[..., k : k + height, :] for k in range(2 * radius + 1))
    assert isinstance(rows, Tensor)
    out = sum(weights[:, k, None, None, None] * rows[..., k : k + length] for k in range(2 * radius + 1))
    assert isinstance(out, Tensor)
    return out


def noise(image: Tensor, key: Tensor, amount: Tensor) -> Tensor:
    """White Gaussian noise of amount * sigma, sigma the deviation of each channel; keys int64 [N]."""
    grains = normal(derive(key, "noise"), image.shape[1:]).to(image.dtype)
    return image + grains * per_image(amount, image) * deviation(image)


def box_mask(place: Tensor, extent: Tensor, shape: tuple[int, int]) -> Tensor:
    """True inside a box: bool [N, 1, H, W].

    `extent` [N, 2] is width and height as shares of the image, at least one pixel; `place` [N, 2] in [0, 1] moves the
    box from the left (top) end to the right (bottom) end.
    """
    inside = []
    for axis, length in ((0, shape[1]), (1, shape[0])):
        size = (extent[:, axis] * length + 1e-4).floor().clamp(1, length)
        start = (place[:, axis] * (length - size)).round()
        pixel = torch.arange(length, device=place.device)
        inside.append((pixel >= start[:, None]) & (pixel < (start + size)[:, None]))
    return (inside[1][:, :, None] & inside[0][:, None, :]).unsqueeze(1)


def erase(image: Tensor, key: Tensor) -> Tensor:
    """An occluding box of 4 to 25 % of the area filled with each channel's mean (after Zhong et al. 2020)."""
    extent = uniform(derive(key, "erase_extent"), (2,), 0.2, 0.5)
    box = box_mask(uniform(derive(key, "erase_place"), (2,)), extent, (image.shape[2], image.shape[3]))
    return torch.where(box, mean(image), image)
