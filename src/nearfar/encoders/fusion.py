"""Several modalities in one encoder: early and late fusion, and modality dropout."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.backbone import Backbone


def drop_modalities(x: Tensor, channels: Channels, probability: float) -> Tensor:
    """Zero each modality of each sample with `probability`, never all of a sample's (Neverova et al. 2016, ModDrop).

    x [B, C, H, W] is normalised, so zero is the mean image. Random numbers come from torch's global generator of the
    device of x: a seeded or resumed run draws the same.
    """
    spans = list(channels.modalities.values())
    if probability <= 0 or len(spans) < 2:
        return x
    scores = torch.rand(len(x), len(spans), device=x.device)
    keep = scores >= probability
    keep = keep.scatter(1, scores.argmax(1, keepdim=True), True)
    owner = torch.empty(len(channels), dtype=torch.long)
    for modality, span in enumerate(spans):
        owner[list(span)] = modality
    return x * keep[:, owner.to(x.device), None, None].to(x.dtype)


class LateFusion(nn.Module):
    """One backbone a modality; their features are concatenated and projected to the width of one of them.

    Offers what `Backbone` does. Attention maps are the backbones' maps side by side as further heads, which is sound
    because all have the same patches.
    """

    def __init__(self, config: EncoderConfig, channels: Channels) -> None:
        super().__init__()
        self.spans = [list(span) for span in channels.modalities.values()]
        self.backbones = nn.ModuleList(Backbone(config, len(span)) for span in self.spans)
        first = self._all()[0]
        self.name, self.grid, self.prefix_tokens = first.name, first.grid, first.prefix_tokens
        self.feature_dim = first.feature_dim
        self.join = nn.Linear(len(self.spans) * self.feature_dim, self.feature_dim)

    def _all(self) -> list[Backbone]:
        return [cast(Backbone, backbone) for backbone in self.backbones]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, S, S] -> [B, feature_dim]."""
        parts = [backbone(x[:, span]) for backbone, span in zip(self._all(), self.spans, strict=True)]
        return cast(Tensor, self.join(torch.cat(parts, 1)))

    def dense(self, x: Tensor) -> Tensor:
        """[B, C, S, S] -> [B, feature_dim, h, w]: the projection of `forward`, cell by cell."""
        parts = [backbone.dense(x[:, span]) for backbone, span in zip(self._all(), self.spans, strict=True)]
        return cast(Tensor, self.join(torch.cat(parts, 1).movedim(1, -1)).movedim(-1, 1))

    def stages(self, x: Tensor) -> list[Tensor]:
        """[B, C, S, S] -> maps of the last three stages, the modalities' channels one after the other."""
        parts = [backbone.stages(x[:, span]) for backbone, span in zip(self._all(), self.spans, strict=True)]
        return [torch.cat(maps, 1) for maps in zip(*parts, strict=True)]

    def pyramid(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, C, H, W] -> features [B, feature_dim], and maps of all stages, the modalities' channels in a row."""
        parts = [backbone.pyramid(x[:, span]) for backbone, span in zip(self._all(), self.spans, strict=True)]
        features = self.join(torch.cat([part[0] for part in parts], 1))
        return features, [torch.cat(maps, 1) for maps in zip(*(part[1] for part in parts), strict=True)]

    def attention(self, x: Tensor) -> list[Tensor]:
        """[B, C, S, S] -> [B, modalities * heads, T, T] of every block."""
        maps = [backbone.attention(x[:, span]) for backbone, span in zip(self._all(), self.spans, strict=True)]
        return [torch.cat(blocks, 1) for blocks in zip(*maps, strict=True)]
