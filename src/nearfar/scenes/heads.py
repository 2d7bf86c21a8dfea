"""From the features that rays gathered to colours: each ray by itself, or the whole picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.errors import ShapeError


class PixelHead(nn.Sequential):
    """Two linear layers, the same for every ray: [R, dim] -> [R, 3]."""

    def __init__(self, dim: int, width: int) -> None:
        layers = nn.Linear(dim, width), nn.Linear(width, 3)
        super().__init__(layers[0], nn.ReLU(inplace=True), layers[1])
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class UNet(nn.Module):
    """The published renderer of feature maps: two levels down and up, [B, dim, H, W] -> [B, 3, H, W].

    With dim 32 and width 128 it has the published 3,643,395 parameters. Sizes that 4 does not divide are padded by
    their edge and cut again.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.fine, self.middle, self.coarse = _block(dim, width), _block(width, 2 * width), _block(2 * width, 4 * width)
        self.up_middle = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.join_middle = _block(4 * width, 2 * width)
        self.up_fine = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.join_fine = _block(2 * width, width)
        self.colour = nn.Conv2d(width, 3, 1)

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        padded = F.pad(maps, (0, -width % 4, 0, -height % 4), mode="replicate")
        fine = self.fine(padded)
        middle = self.middle(F.max_pool2d(fine, 2))
        coarse = self.coarse(F.max_pool2d(middle, 2))
        middle = self.join_middle(torch.cat([middle, self.up_middle(coarse)], dim=1))
        fine = self.join_fine(torch.cat([fine, self.up_fine(middle)], dim=1))
        out: Tensor = self.colour(fine)
        return out[..., :height, :width]


class PictureHead(nn.Module):
    """A U-Net over rays that form pictures, row by row: [B H W, dim] -> [B H W, 3] for the shape (H, W)."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.unet = UNet(dim, width)

    def forward(self, features: Tensor, shape: tuple[int, int] | None) -> Tensor:
        """Raises ShapeError where the rays form no pictures of that shape."""
        if shape is None or len(features) == 0 or len(features) % (shape[0] * shape[1]):
            raise ShapeError(
                "the U-Net head needs the rays of whole pictures or patches",
                found=f"{len(features)} rays and shape {shape}",
                fix="Give shape=(height, width) of a rectangle of pixels, row by row, or use head mlp.",
            )
        maps = features.reshape(-1, *shape, features.shape[-1]).permute(0, 3, 1, 2)
        colours: Tensor = self.unet(maps)
        return colours.permute(0, 2, 3, 1).reshape(-1, 3)


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True))
