"""Thermal augmentation, corrected: what the published functions were meant to do, for any channel count and dtype.

`nearfar.views.legacy` keeps the published ones. The differences: occlusion always happens when asked for, contrast is a
contrast and not a gain, (brightness, contrast) = (1, 1) is the identity, and an elastic displacement is a number of
pixels that grows with the image. Images float [N, C, H, W] (16-bit data arrives scaled to float), keys int64 [N].
"""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.views import geometric
from nearfar.views.photometric import box_mask, mean, per_image
from nearfar.views.random import chance, derive, uniform

_CENTRE = (0.3, 0.7)
"""the part of each side that an occlusion leaves free"""


def occlusion(
    image: Tensor, key: Tensor, width: float = 0.6, height: float = 0.2, fill: Tensor | float | None = None
) -> Tensor:
    """Cover a box of width x height (shares of the image) that leaves the central [0.3, 0.7]^2 free.

    Drawn among the places that are allowed, so no attempt can fail. A box too large for any of them goes to one of the
    four corners, where it covers the least of the centre. `fill` (default: the coldest value
    of each channel) is a number or a tensor that broadcasts to the image.
    """
    extent = torch.tensor([width, height], device=key.device)
    box = box_mask(_beside_centre(key, width, height), extent.expand(len(key), 2), (image.shape[2], image.shape[3]))
    return torch.where(box, image.amin((-2, -1), keepdim=True) if fill is None else fill, image)


def _beside_centre(key: Tensor, width: float, height: float) -> Tensor:
    """Place [N, 2] (as `box_mask` takes it) of a box that leaves the centre free."""
    lanes = [max(_CENTRE[0] - side, 0.0) / max(1 - side, 1e-9) for side in (width, height)]
    free = uniform(derive(key, "occlusion_place"), (2,))
    if not any(lanes):
        return free.round()
    low_end = chance(derive(key, "occlusion_end"), 0.5)
    vertical = chance(derive(key, "occlusion_axis"), lanes[1] / sum(lanes))
    lane = (lanes[0] + vertical.to(free.dtype) * (lanes[1] - lanes[0])) * free[:, 0]
    lane = torch.where(low_end, lane, 1 - lane)
    return torch.stack([torch.where(vertical, free[:, 1], lane), torch.where(vertical, lane, free[:, 1])], 1)


def contrast(image: Tensor, factor: Tensor, gain: Tensor | None = None, black: Tensor | float = 0.0) -> Tensor:
    """b (c (x - mu) + mu) with c = `factor`, b = `gain` [N] and mu the mean of each channel."""
    ones = torch.ones_like(factor)
    return brightness_contrast(image, ones if gain is None else gain, factor, black)


def brightness_contrast(image: Tensor, gain: Tensor, factor: Tensor, black: Tensor | float = 0.0) -> Tensor:
    """b (c (x - mu) + mu), gain b and contrast c [N]: (1, 1) is the identity, c = 0 the mean, b = 0 black.

    `black` is the value that a gain leaves in place, a number or a tensor that broadcasts: 0 for the usual 8-bit
    pictures; for absolute temperatures the coldest of the image, else a gain of 1.2 would add 60 kelvin.
    """
    mu = mean(image)
    return (((image - mu) * per_image(factor, image) + mu) - black) * per_image(gain, image) + black


def elastic(image: Tensor, key: Tensor, displacement: float = 0.02, smoothness: float = 0.25) -> Tensor:
    """Elastic deformation; all channels move together.

    `displacement` is the root mean square length as a share of the image's sides, `smoothness` the distance between
    independent displacements in the same unit. Inside a recipe the field joins the one resampling of the view instead.
    """
    shape = (image.shape[2], image.shape[3])
    identity = torch.eye(3, device=image.device, dtype=torch.float64).expand(len(image), 3, 3)
    field = geometric.elastic_field(key, shape, displacement, smoothness)
    return geometric.resample(image, geometric.grid(identity, shape, field))
