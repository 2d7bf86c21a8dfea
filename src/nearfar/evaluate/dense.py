"""An encoder and a decoder as one model of labelled scenes: classes of one place, or change between two dates."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError
from nearfar.evaluate.decoders import Pyramid, difference, pool_dates

Kind = Literal["segment", "change"]
Dated = tuple[Tensor, Tensor]
"""pixels float32 [T, C, H, W] of the encoder's channels, valid bool [T, H, W]"""

_PIXELS = 16 * 128 * 128  # that pass the encoder at once


class DenseModel(nn.Module):
    """Dated pixels -> scores [B, K, H, W]: the encoder's maps of every date, joined, and a decoder on top.

    kind: "segment" pools the dates (`pool_dates`). "change" takes the difference of two (`difference`), after the
    second has been shifted, band by band, to the median of the first over the pixels that both have: haze, sun and
    season change a whole scene, and are not what changed in it. The encoder is always in evaluation mode: batch
    statistics of a few tiles would tell of the tiles. It learns only if `finetune`. side_by_side: the maps of an
    encoder of band groups are joined, so that the decoder learns what to take from which group, and not their mean.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        decoder: nn.Module,
        kind: Kind,
        finetune: bool = False,
        side_by_side: bool = False,
    ) -> None:
        super().__init__()
        self.side_by_side = side_by_side
        self.encoder, self.decoder, self.kind, self.finetune = encoder.eval(), decoder, kind, finetune

    def train(self, mode: bool = True) -> DenseModel:
        """Only the decoder changes its mode."""
        self.training = mode
        self.decoder.train(mode)
        return self

    def forward(self, places: Sequence[Dated]) -> Tensor:
        """Places of one size, each with dates of its own -> scores [B, K, H, W]."""
        height, width = places[0][0].shape[-2:]
        scores: Tensor = self.decoder(self.pyramid(places), (height, width))
        return scores

    def pyramid(self, places: Sequence[Dated]) -> Pyramid:
        """Places of one size -> maps [B, D_i, h_i, w_i], the dates joined; without gradient unless `finetune`."""
        counts = [len(pixels) for pixels, _ in places]
        with nullcontext() if self.finetune else torch.no_grad():
            maps = self._encode(torch.cat([self._filled(*place) for place in places]))
            joined = []
            parts = zip(*(torch.split(m, counts) for m in maps), strict=True)
            for part, (_, valid) in zip(parts, places, strict=True):
                joined.append(self._join([m[None] for m in part], valid[None]))
        return [torch.cat(level) for level in zip(*joined, strict=True)]

    def _join(self, maps: Pyramid, valid: Tensor) -> Pyramid:
        return difference(maps) if self.kind == "change" else pool_dates(maps, valid.to(maps[0].device))

    def _filled(self, pixels: Tensor, valid: Tensor) -> Tensor:
        """Pixels without data at the mean, 0 after normalisation, whatever value their file has there."""
        mean = self.encoder.mean
        pixels, valid = pixels.to(mean.device), valid.to(mean.device)
        if self.kind == "change" and len(pixels) == 2:
            pixels = torch.stack([pixels[0], pixels[1] + _shift(pixels, valid.all(0))])
        return torch.where(valid[:, None], pixels, mean[:, None, None])

    def _encode(self, images: Tensor) -> Pyramid:
        chunk = max(1, _PIXELS // (images.shape[-1] * images.shape[-2]))
        parts = [
            self.encoder.features(part, pyramid=True, side_by_side=self.side_by_side).pyramid
            for part in torch.split(images, chunk)
        ]
        return [torch.cat(level) for level in zip(*parts, strict=True)]


def _shift(pair: Tensor, both: Tensor) -> Tensor:
    """Pixels [2, C, H, W] -> [C, 1, 1], what brings the second date's medians to the first's where `both` have data."""
    if not bool(both.any()):
        return pair.new_zeros(pair.shape[1], 1, 1)
    medians = pair[:, :, both].median(2).values
    return (medians[:1] - medians[1:]).view(-1, 1, 1)


def layout(encoder: ImageEncoder, side_by_side: bool = False) -> tuple[tuple[int, ...], int]:
    """(widths D_i of the encoder's maps, of all groups with `side_by_side`; pixels a cell of the coarsest).

    Raises ConfigError for encoders without maps.
    """
    side = encoder.config.size if encoder.grid is not None else 64
    image = encoder.mean.view(1, -1, 1, 1).expand(1, -1, side, side)
    with torch.no_grad():
        maps = encoder.eval().features(image, pyramid=True, side_by_side=side_by_side).pyramid
    if not maps:
        raise ConfigError("the encoder gives no maps", where="encoder.name", found=encoder.config.name)
    return tuple(m.shape[1] for m in maps), -(-side // min(m.shape[-1] for m in maps))


def padded(pixels: Tensor, valid: Tensor, height: int, width: int) -> Dated:
    """Dated pixels of at least that size: the last row and column are repeated, and are not valid."""
    below, right = max(height - pixels.shape[-2], 0), max(width - pixels.shape[-1], 0)
    if not below and not right:
        return pixels, valid
    more = (0, right, 0, below)
    return F.pad(pixels, more, mode="replicate"), F.pad(valid, more, value=False)
