"""Encoders of force banners: a network that is periodic in the direction, and the published one."""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.errors import ConfigError, ShapeError

Padding = Literal["circular", "zeros"]
STRIDE = 4
"""columns of a banner a cell of the last map; divides every number of directions that quarter turns allow"""
BANDS = 4
"""bands of forces that the last map is averaged over"""


class BannerConv(nn.Module):
    """A 3x3 convolution of a banner [B, C, rows, directions], group-normalised, with ReLU.

    Directions are padded by those on the other side of the circle, forces by repeating the first and last row, because
    their scale has ends. `padding="zeros"` pads both with zeros, for comparison.
    """

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int], padding: Padding) -> None:
        super().__init__()
        self.padding = padding
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, bias=False)
        self.norm = nn.GroupNorm(max(1, outputs // 8), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        if self.padding == "circular":
            x = F.pad(F.pad(x, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1), mode="replicate")
        else:
            x = F.pad(x, (1, 1, 1, 1))
        return torch.relu(self.norm(self.conv(x)))


class BannerEncoder(nn.Module):
    """Force banners [B, rows, directions] -> features [B, dim].

    Three convolutions (the second and third of twice and four times `width`) shrink the directions by 4. Padding is
    circular in the direction, so turning both objects by a multiple of 4 columns turns the map of features by one cell
    a multiple (`dense`). A mean over directions would forget which way is which; instead the first `harmonics` of the
    map's Fourier series over directions are kept, a turn of the objects being a turn of each harmonic's plane.

    Attributes: `rows`, `directions`, `feature_dim` (= dim). Raises ConfigError where 4 does not divide the directions
    or they hold fewer cells than the harmonics need, ShapeError for a banner of another shape.
    """

    basis: Tensor

    def __init__(
        self,
        rows: int,
        directions: int,
        width: int = 32,
        dim: int = 256,
        *,
        harmonics: int = 4,
        padding: Padding = "circular",
    ) -> None:
        super().__init__()
        if padding not in ("circular", "zeros"):
            raise ConfigError("unknown padding of a banner", found=padding, expected="circular or zeros")
        if directions % STRIDE or directions // STRIDE <= 2 * harmonics:
            raise ConfigError(
                "the banner encoder cannot take this number of directions",
                found=directions,
                expected=f"a multiple of {STRIDE} above {2 * harmonics * STRIDE}",
                fix="Take 180; for a symmetric banner, which has half of them, 176 or 184.",
            )
        self.rows, self.directions, self.feature_dim = rows, directions, dim
        layers: list[nn.Module] = []
        inputs = 1
        for outputs, stride in ((width, (2, 2)), (2 * width, (2, 2)), (4 * width, (2, 1))):
            layers.append(BannerConv(inputs, outputs, stride, padding))
            inputs = outputs
        self.blocks = nn.Sequential(*layers)
        self.register_buffer("basis", _harmonics(directions // STRIDE, harmonics), persistent=False)
        self.project = nn.Linear(inputs * BANDS * self.basis.shape[1], dim)

    def dense(self, banner: Tensor) -> Tensor:
        """[B, rows, directions] -> the last map [B, 4 width, h, directions / 4]."""
        check_banner(banner, self.rows, self.directions)
        return cast(Tensor, self.blocks(banner[:, None]))

    def forward(self, banner: Tensor) -> Tensor:
        """[B, rows, directions] -> [B, dim]."""
        bands = F.adaptive_avg_pool2d(self.dense(banner), (BANDS, None))
        return cast(Tensor, self.project((bands @ self.basis.to(bands.dtype)).flatten(1)))


class PublishedBannerCNN(nn.Module):
    """`CNN_fbanner` of the published code (Logan-wilson/CSIP, models.py) up to its last linear layer.

    Banners [B, rows, directions] are resized to 224 x 224 -> features [B, 1024]; the layer to 256 that follows is the
    projection head. Nothing is padded, as its "circular" padding of width 0 padded nothing.
    """

    SIDE = 224

    def __init__(self, rows: int, directions: int) -> None:
        super().__init__()
        self.rows, self.directions, self.feature_dim = rows, directions, 1024
        self.blocks = nn.Sequential(
            nn.Conv2d(1, 16, 28, 7),
            nn.ReLU(),
            nn.BatchNorm2d(16),
            nn.Conv2d(16, 16, 5, 2),
            nn.ReLU(),
            nn.BatchNorm2d(16),
            nn.Flatten(),
            nn.Linear(16 * 13 * 13, 1024),
            nn.ReLU(),
        )

    def forward(self, banner: Tensor) -> Tensor:
        """[B, rows, directions] -> [B, 1024]."""
        check_banner(banner, self.rows, self.directions)
        square = F.interpolate(banner[:, None], (self.SIDE, self.SIDE), mode="bilinear", align_corners=False)
        return cast(Tensor, self.blocks(square))


def check_banner(banner: Tensor, rows: int, directions: int) -> None:
    """Raise ShapeError unless it is [B, rows, directions]."""
    if banner.ndim != 3 or tuple(banner.shape[1:]) != (rows, directions):
        raise ShapeError(
            "the banners have another shape than the encoder was made for",
            found=tuple(banner.shape),
            expected=f"[B, {rows}, {directions}] (forces, directions)",
        )


def _harmonics(cells: int, count: int) -> Tensor:
    """Constant, cosines and sines of the first `count` harmonics over a circle of cells: [cells, 1 + 2 count]."""
    angle = torch.arange(cells, dtype=torch.float64) * (2 * math.pi / cells)
    waves = [torch.ones_like(angle)]
    for k in range(1, count + 1):
        waves += [torch.cos(k * angle), torch.sin(k * angle)]
    return (torch.stack(waves, 1) / cells).float()
