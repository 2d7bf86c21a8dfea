"""From an encoder's pyramid of maps to a map of classes: decoders, and how dates become one pyramid before them.

A pyramid is a list of maps [B, D_i, h_i, w_i] from fine to coarse, of any widths and sizes, as ResNets, the built-in
networks and encoders of band groups give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nearfar.errors import ConfigError, ShapeError, missing_extra

Pyramid = list[Tensor]


class UNetDecoder(nn.Module):
    """The expanding half of a U-Net (Ronneberger et al. 2015) on a pyramid: [B, D_i, h_i, w_i] -> [B, K, H, W].

    Every map is standardised, brought to a width by a 1x1 convolution and, from coarse to fine, joined with what comes
    from below, interpolated to its size, by two 3x3 convolutions. The scores of the finest map are interpolated
    bilinearly to the asked size.

    widths: D_i, fine to coarse. classes: K. width: channels of the finest level, doubled a level up to four times.
    """

    def __init__(self, widths: Sequence[int], classes: int, width: int = 32) -> None:
        super().__init__()
        inner = [width * 2 ** min(level, 2) for level in range(len(widths))]
        # Without affine part: it only takes away the scale that a stage happens to have.
        self.norms = nn.ModuleList(nn.BatchNorm2d(d, affine=False) for d in widths)
        self.lateral = nn.ModuleList(nn.Conv2d(d, w, 1) for d, w in zip(widths, inner, strict=True))
        above = [*inner[1:], 0]
        self.blocks = nn.ModuleList(_double(w + up, w) for w, up in zip(inner, above, strict=True))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, pyramid: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Maps fine to coarse -> scores [B, K, *size]. Raises ShapeError for another number of maps."""
        _check_levels(pyramid, len(self.lateral))
        x: Tensor | None = None
        for level in reversed(range(len(self.lateral))):
            here = self.lateral[level](self.norms[level](pyramid[level]))
            if x is not None:
                x = F.interpolate(x, here.shape[-2:], mode="bilinear", align_corners=False)
                here = torch.cat([here, x], 1)
            x = self.blocks[level](here)
        return F.interpolate(self.head(x), size, mode="bilinear", align_corners=False)


class SmpDecoder(nn.Module):
    """The U-Net decoder of segmentation-models-pytorch on a pyramid; arguments as `UNetDecoder`.

    Raises ConfigError where the package is not installed.
    """

    def __init__(self, widths: Sequence[int], classes: int, width: int = 32) -> None:
        super().__init__()
        self.levels = len(widths)
        inner = [width * 2 ** min(level, 2) for level in range(len(widths))]
        self.decoder = _smp_unet()([0, *widths], inner[::-1], n_blocks=len(widths))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, pyramid: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """As `UNetDecoder.forward`."""
        _check_levels(pyramid, self.levels)
        whole = pyramid[0].new_empty(len(pyramid[0]), 0, *size)  # tells it nothing but the size of the image
        return cast(Tensor, self.head(self.decoder([whole, *pyramid])))


DECODERS: dict[str, type[UNetDecoder] | type[SmpDecoder]] = {"unet": UNetDecoder, "smp": SmpDecoder}


def build_decoder(name: str, widths: Sequence[int], classes: int, width: int = 32) -> UNetDecoder | SmpDecoder:
    """The decoder of that name. Raises ConfigError for an unknown one or a missing package."""
    if name not in DECODERS:
        raise ConfigError("unknown decoder", where="eval.decoder", found=name, expected=" | ".join(DECODERS))
    return DECODERS[name](widths, classes, width)


def pool_dates(pyramid: Sequence[Tensor], valid: Tensor) -> Pyramid:
    """Maps [B, T, D_i, h_i, w_i] of T dates -> [B, D_i, h_i, w_i], the mean weighted by the share of valid pixels.

    valid: bool [B, T, H, W]. Where no date has data all dates count alike. The order of the dates plays no part, and
    any number of them gives maps of the same width.
    """
    pooled = []
    for maps in pyramid:
        share = F.adaptive_avg_pool2d(valid.to(maps.dtype), (maps.shape[-2], maps.shape[-1]))
        share = torch.where(share.sum(1, keepdim=True) > 0, share, torch.ones_like(share))
        weight = share / share.sum(1, keepdim=True)
        pooled.append((maps * weight[:, :, None]).sum(1))
    return pooled


def difference(pyramid: Sequence[Tensor]) -> Pyramid:
    """Maps [B, 2, D_i, h_i, w_i] of two dates -> |first - second| [B, D_i, h_i, w_i] (Daudt et al. 2018, siamese).

    Blind to which date came first. Raises ShapeError for another number of dates.
    """
    if any(maps.ndim != 5 or maps.shape[1] != 2 for maps in pyramid):
        found = [tuple(maps.shape) for maps in pyramid]
        raise ShapeError("a difference is taken between two dates", found=found, expected="[B, 2, D, h, w]")
    return [(maps[:, 0] - maps[:, 1]).abs() for maps in pyramid]


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def _check_levels(pyramid: Sequence[Tensor], levels: int) -> None:
    if len(pyramid) != levels:
        raise ShapeError("the pyramid has another number of maps than the decoder", found=len(pyramid), expected=levels)


def _smp_unet() -> Any:
    try:
        return import_module("segmentation_models_pytorch.decoders.unet.decoder").UnetDecoder
    except ImportError:
        raise missing_extra("The decoder smp", "segmentation-models-pytorch", "segment") from None
