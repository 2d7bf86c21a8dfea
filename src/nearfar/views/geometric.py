"""Geometry of a view: every change is a 3x3 matrix, composed, then ONE resampling for all channels.

Coordinates are normalised: (-1, -1) is the outer corner of the first pixel, (1, 1) of the last. A matrix maps a point
of the view to the point of the image that it shows. Parameters are float64 [N]; products are written out, because
the rounding of batched matrix kernels depends on the batch.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.views.random import chance, derive, normal, uniform


def _matrix(*entries: Tensor) -> Tensor:
    a, b, c, d, x, y = entries
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    rows = [torch.stack(row, -1) for row in ((a, b, x), (c, d, y), (zero, zero, one))]
    return torch.stack(rows, -2)


def compose(first: Tensor, *others: Tensor) -> Tensor:
    """Product of matrices [N, 3, 3], the last applied first to a point of the view."""
    for other in others:
        terms = [first[..., :, k : k + 1] * other[..., k : k + 1, :] for k in range(3)]
        first = terms[0] + terms[1] + terms[2]
    return first


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Factors [N] along the axes -> [N, 3, 3]; below 1 the view shows a part of the image, negative mirrors."""
    zero = torch.zeros_like(x)
    return _matrix(x, zero, zero, y, zero, zero)


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Shift of the view's centre [N] in normalised units -> [N, 3, 3]."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix(one, zero, zero, one, x, y)


def rotation(degrees: Tensor, aspect: float = 1.0) -> Tensor:
    """Rotation [N] of an image with `aspect` = width / height -> [N, 3, 3]."""
    angle = degrees * (math.pi / 180)
    zero = torch.zeros_like(angle)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return _matrix(cos, -sin / aspect, sin * aspect, cos, zero, zero)


def shearing(degrees: Tensor, aspect: float = 1.0) -> Tensor:
    """Shear [N] along x -> [N, 3, 3]."""
    zero, one = torch.zeros_like(degrees), torch.ones_like(degrees)
    return _matrix(one, torch.tan(degrees * (math.pi / 180)) / aspect, zero, one, zero, zero)


def flips(key: Tensor, horizontal: float, vertical: float) -> Tensor:
    """Mirrors with the given probabilities -> [N, 3, 3]."""
    sign = [
        1.0 - 2.0 * chance(derive(key, name), p).double() for name, p in (("flip_x", horizontal), ("flip_y", vertical))
    ]
    return scaling(sign[0], sign[1])


def resized_crop(key: Tensor, scale: tuple[float, float], ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> Tensor:
    """Random resized crop (Szegedy et al. 2015) -> [N, 3, 3]: area share from `scale`, log-uniform side ratio."""
    area = uniform(derive(key, "crop_area"), (), *scale).double()
    shape = torch.exp(uniform(derive(key, "crop_ratio"), (), math.log(ratio[0]), math.log(ratio[1])).double())
    width, height = (area * shape).sqrt().clamp(max=1), (area / shape).sqrt().clamp(max=1)
    place = uniform(derive(key, "crop_place"), (2,), -1.0, 1.0).double()
    return compose(translation(place[:, 0] * (1 - width), place[:, 1] * (1 - height)), scaling(width, height))


def grid(matrix: Tensor, shape: tuple[int, int], displacement: Tensor | None = None) -> Tensor:
    """Sampling positions float32 [N, h, w, 2] of a view of `shape` = (h, w), from matrices [N, 3, 3].

    `displacement` [N, 2, h, w] (normalised units of the view) is added to the view's points before the matrix.
    """
    rows, columns = (
        (2 * torch.arange(length, device=matrix.device, dtype=torch.float32) + 1) / length - 1 for length in shape
    )
    x, y = columns.expand(1, *shape), rows[:, None].expand(1, *shape)
    if displacement is not None:
        x, y = x + displacement[:, 0], y + displacement[:, 1]
    m = matrix.to(torch.float32)[:, :, :, None, None]
    return torch.stack([m[:, i, 0] * x + m[:, i, 1] * y + m[:, i, 2] for i in (0, 1)], -1)


def elastic_field(key: Tensor, shape: tuple[int, int], displacement: float, smoothness: float = 0.25) -> Tensor:
    """Smooth random displacement [N, 2, h, w] in normalised units of the view (elastic deformation, Simard 2003).

    `displacement` is the root mean square length as a share of the view's sides (0.02: 1.3 pixels of 64), whatever the
    size; `smoothness` the distance between independent displacements, same unit.
    """
    knots = max(3, round(1 / smoothness) + 1)
    coarse = normal(derive(key, "elastic"), (2, knots, knots))
    field = F.interpolate(coarse, shape, mode="bicubic", align_corners=True)
    rms = field.square().sum(1).mean((-2, -1), dtype=torch.float64).sqrt().to(field.dtype)
    return field * (2 * displacement / rms)[:, None, None, None]


def resample(image: Tensor, positions: Tensor, mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
    """Images [B, C, H, W] at positions [B * V, h, w, 2] -> [B * V, C, h, w]; outside, the image is mirrored."""
    batch, (height, width) = image.shape[0], positions.shape[1:3]
    views = positions.shape[0] // batch
    # The views of an image are stacked along y of one tall grid, so the image itself is never copied.
    tall = positions.reshape(batch, views * height, width, 2).to(image.dtype)
    out = F.grid_sample(image, tall, mode=mode, padding_mode="reflection", align_corners=False)
    return out.reshape(batch, -1, views, height, width).transpose(1, 2).reshape(batch * views, -1, height, width)


def shrink(image: Tensor, size: int, smallest_crop: float) -> Tensor:
    """Box-average [B, C, H, W] by a whole factor where even the smallest crop has twice the pixels the view needs."""
    factor = int(min(image.shape[-2:]) * math.sqrt(smallest_crop) / size)
    return F.avg_pool2d(image, factor) if factor > 1 else image


def transform_boxes(boxes: Tensor, matrix: Tensor, shape: tuple[int, int], size: int) -> Tensor:
    """Boxes [N, K, 4] (x0, y0, x1, y1 in pixels of an image of `shape` = H, W) as the view shows them, same order.

    The result is the upright box around the four mapped corners, clipped to the view; a box outside has no area.
    Rows of NaN (padding) stay NaN.
    """
    extent = torch.tensor([shape[1], shape[0]], device=boxes.device, dtype=torch.float64)
    corners = boxes.double()[..., [[0, 1], [2, 1], [0, 3], [2, 3]]] / extent * 2 - 1
    inverse = torch.linalg.inv(matrix)
    mapped = [
        inverse[:, None, None, i, 0] * corners[..., 0]
        + inverse[:, None, None, i, 1] * corners[..., 1]
        + inverse[:, None, None, i, 2]
        for i in (0, 1)
    ]
    points = ((torch.stack(mapped, -1) + 1) * (size / 2)).clamp(0, size)
    return torch.cat([points.amin(-2), points.amax(-2)], -1).to(boxes.dtype)
