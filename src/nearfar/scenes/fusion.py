"""What source images say at the places of points: the join of pixel and point features that SMCL's figure draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.errors import ShapeError
from nearfar.spatial.cameras import Camera


def pixel_features(points: Tensor, cameras: Sequence[Camera], maps: Tensor) -> Tensor:
    """[P, C]: the mean over the views that see a point of feature maps [V, C, h, w], read bilinearly where it appears.

    Maps may be coarser than their cameras' images. Gradients reach the maps, not the points; a point that no view
    sees gets zeros. What stands between camera and point is not known, so that hidden points read what hides them.
    Raises ShapeError where views and maps disagree.
    """
    if maps.ndim != 4 or len(maps) != len(cameras) or not cameras:
        raise ShapeError(
            "a map a camera is needed", found=f"{tuple(maps.shape)}", expected=f"[{len(cameras)}, C, h, w]"
        )
    places = points.detach().cpu().double().numpy()
    total, views = maps.new_zeros(len(points), maps.shape[1]), maps.new_zeros(len(points), 1)
    for camera, features in zip(cameras, maps, strict=True):
        uv, _ = camera.project(places)
        seen = torch.from_numpy(camera.sees(places)).to(maps)[:, None]
        grid = torch.from_numpy(np.nan_to_num(2 * uv / [camera.width, camera.height] - 1)).to(maps)
        read = F.grid_sample(features[None], grid[None, None], padding_mode="border", align_corners=False)[0, :, 0].T
        total, views = total + read * seen, views + seen
    return total / views.clamp_min(1)


def stacked(maps: Sequence[Tensor]) -> Tensor:
    """Maps [V, C_i, h_i, w_i] from fine to coarse, brought to the finest's size, as one: [V, sum of C_i, h, w]."""
    size = maps[0].shape[-2:]
    larger = [F.interpolate(one, size, mode="bilinear", align_corners=False) for one in maps[1:]]
    return torch.cat([maps[0], *larger], dim=1)


def standardised(maps: Tensor) -> Tensor:
    """Maps [V, C, h, w] with mean 0 and deviation 1 of each channel over views and cells; constant channels are 0.

    Encoders differ in the size of their features, and an untrained one fades from stage to stage.
    """
    deviation, mean = torch.std_mean(maps, dim=(0, 2, 3), keepdim=True)
    return (maps - mean) / deviation.clamp_min(1e-6)
