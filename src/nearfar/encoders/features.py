"""Spatial features of several stages on one grid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nearfar.encoders.image import ImageEncoder


def joined_stages(encoder: ImageEncoder, x: Tensor, grid: int) -> Tensor:
    """Images [B, C, H, W] -> the maps of the encoder's stages [B, sum of D_i, grid, grid], fine to coarse.

    Finer maps are averaged, coarser ones interpolated to the grid (the hypercolumns of Hariharan et al. 2015, as
    PaDiM and PatchCore join them). Raises as `ImageEncoder.stages`.
    """
    return torch.cat([_on_grid(stage, grid) for stage in encoder.stages(x)], 1)


def _on_grid(stage: Tensor, grid: int) -> Tensor:
    if stage.shape[-1] >= grid:
        return F.adaptive_avg_pool2d(stage, grid)
    return F.interpolate(stage, (grid, grid), mode="bilinear", align_corners=False)
