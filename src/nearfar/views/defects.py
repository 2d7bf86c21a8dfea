"""Synthetic defects: a region of an image that shows what does not belong there, and where it is.

One construction covers the usual ones (CutPaste, Li et al. 2021; DRAEM, Zavrtanik et al. 2021). A region, a rotated
box or a ragged ellipse of 0.4 % to 50 % of the image, is filled from the same image displaced or turned (a part moved,
missing or doubled), bent by a smooth warp, or with a texture. No real defect and no label is used.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.views import geometric
from nearfar.views.photometric import deviation, mean, per_image
from nearfar.views.random import chance, derive, normal, uniform

AREA = (0.004, 0.5)
_MOVED, _BENT = 0.65, 0.9  # of all defects: displaced or turned below the first, bent below the second, textured above
_CHANGED = 0.15  # deviations of the image by which a region must differ to count as a defect


def add_defects(image: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Images float [N, C, H, W] and keys int64 [N] -> the images with a defect each, and where it is, bool [N, H, W].

    Pixels of the region that came out as they were (board replaced by the same board) are not part of the defect, so
    some images have none. An image's defect depends on the image and its key alone.
    """
    region = _region(derive(key, "region"), image)
    filled = torch.where(region[:, None], _filling(image, derive(key, "filling")), image)
    # The thousandth of the level keeps rounding errors in a channel that does not vary from counting as change.
    scale = (deviation(image) + 1e-3 * mean(image).abs()).clamp_min(1e-12)
    change = ((filled - image).abs() / scale).mean(1, keepdim=True)
    window = max(1, image.shape[-1] // 16) // 2 * 2 + 1
    return filled, region & (F.avg_pool2d(change, window, 1, window // 2)[:, 0] > _CHANGED)


def _region(key: Tensor, image: Tensor) -> Tensor:
    """A box turned by at most 45 degrees, or an ellipse with a ragged border, inside the image: bool [N, H, W]."""
    area, ratio = (
        torch.exp(uniform(derive(key, name), (), math.log(low), math.log(high)))
        for name, low, high in (("area", *AREA), ("ratio", 1 / 4, 4.0))
    )
    height, width = (area * ratio).sqrt().clamp(max=0.9), (area / ratio).sqrt().clamp(max=0.9)
    place = uniform(derive(key, "place"), (2,), -1.0, 1.0).double()
    angle = torch.where(
        chance(derive(key, "turned"), 0.5), uniform(derive(key, "angle"), (), -45.0, 45.0), 0.0
    ).double()
    to_region = geometric.compose(
        geometric.scaling(1 / width.double(), 1 / height.double()),
        geometric.rotation(angle, image.shape[-1] / image.shape[-2]),
        geometric.translation(-place[:, 0] * (1 - width), -place[:, 1] * (1 - height)),
    )
    points = geometric.grid(to_region, (image.shape[-2], image.shape[-1]))
    ragged = points.norm(dim=-1) + 0.35 * _smooth(derive(key, "border"), 1, 17, image)[:, 0]
    extent = torch.where(chance(derive(key, "box"), 0.5)[:, None, None], points.abs().amax(-1), ragged)
    return extent < 1


def _filling(image: Tensor, key: Tensor) -> Tensor:
    kind = uniform(derive(key, "kind"))
    moved, bent = kind < _MOVED, (kind >= _MOVED) & (kind < _BENT)
    warp = _smooth(derive(key, "warp"), 2, 7, image) * per_image(uniform(derive(key, "bend"), (), 0.04, 0.14), image)
    identity = torch.eye(3, dtype=torch.float64, device=key.device).expand(len(key), 3, 3)
    matrix = torch.where(moved[:, None, None], _displacement(key, image.shape[-1] / image.shape[-2]), identity)
    positions = geometric.grid(matrix, (image.shape[-2], image.shape[-1]), warp * bent[:, None, None, None])
    filling = torch.where(
        (kind < _BENT)[:, None, None, None], geometric.resample(image, positions), _texture(image, key)
    )
    tint = 1 + uniform(derive(key, "tint"), (image.shape[1],), -0.25, 0.3)[:, :, None, None].to(image.dtype)
    return torch.where(chance(derive(key, "tinted"), 0.4)[:, None, None, None], filling * tint, filling)


def _displacement(key: Tensor, aspect: float) -> Tensor:
    """Near (a tenth) or far (up to 0.4 of the side), for half of them also by quarter turns or any turn: [N, 3, 3]."""
    reach = torch.where(chance(derive(key, "near"), 0.4), 0.2, 0.8).double()
    shift = uniform(derive(key, "shift"), (2,), -1.0, 1.0).double() * reach[:, None]
    turn = uniform(derive(key, "turn"))
    quarter = (uniform(derive(key, "quarter")) * 4).floor() * 90
    angle = torch.where(turn < 0.75, quarter, uniform(derive(key, "any"), (), -180.0, 180.0))
    angle = torch.where(turn < 0.5, 0.0, angle).double()
    return geometric.compose(geometric.translation(shift[:, 0], shift[:, 1]), geometric.rotation(angle, aspect))


def _texture(image: Tensor, key: Tensor) -> Tensor:
    """Smooth noise around a level of its own, in the units of each channel."""
    level = per_image(uniform(derive(key, "level"), (), -1.5, 1.5), image)
    return mean(image) + deviation(image) * (level + 0.6 * _smooth(derive(key, "texture"), 1, 43, image))


def _smooth(key: Tensor, fields: int, knots: int, image: Tensor) -> Tensor:
    """Smooth noise [N, fields, H, W] of about unit variance, with `knots` independent values a side."""
    coarse = normal(derive(key, "knots"), (fields, knots, knots)).to(image.dtype)
    return F.interpolate(coarse, image.shape[-2:], mode="bicubic", align_corners=True)
