"""The classifier of patches on an encoder, and a map from sliding it over a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nearfar.encoders.bands import BandEncoder
from nearfar.encoders.image import ImageEncoder
from nearfar.spatial.texture import lbp_histogram, local_binary_pattern

_AT_ONCE = 64  # patches that pass the encoder together


@dataclass(frozen=True)
class PatchClassifier:
    """Patches [B, C, S, S] of the encoder's channels -> probabilities [B, K].

    The features are rows of G parts [B, G, F]; each part has linear scores of its own, and the probabilities of the
    parts are averaged. Without histograms there is one part, the encoder's pooled features. With them there is a part a
    group of bands: the group's features and the histograms of uniform local binary patterns of all channels, P + 2
    shares of the patch each (SACo's better variant has both, with 16 of 18 bins).

    weight [G, K, F], bias [G, K].
    """

    encoder: ImageEncoder
    weight: Tensor
    bias: Tensor
    histograms: bool

    def __call__(self, x: Tensor) -> Tensor:
        """[B, C, S, S] -> [B, K]."""
        return probabilities(patch_features(self.encoder, x, self.histograms), self.weight, self.bias)


def probabilities(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Features [B, G, F], weight [G, K, F], bias [G, K] -> [B, K], the mean of the parts' softmax."""
    return (torch.einsum("bgf,gkf->bgk", features, weight) + bias).softmax(2).mean(1)


def patch_features(encoder: ImageEncoder, x: Tensor, histograms: bool) -> Tensor:
    """Patches [B, C, S, S] -> features [B, G, F] as `PatchClassifier` says; the histograms carry no gradient.

    An encoder of band groups has learnt from pixels of one size on the ground, so patches are not resized for it.
    """
    x = x.to(encoder.mean.device)
    found = encoder.features(x, resize=not isinstance(encoder, BandEncoder))
    if not histograms:
        return found.pooled[:, None]
    texture = texture_histograms(encoder, x)
    return torch.cat([found.each, texture[:, None].expand(-1, found.each.shape[1], -1)], 2)


def texture_histograms(encoder: ImageEncoder, x: Tensor) -> Tensor:
    """[B, C, S, S] reflectance -> [B, C (P + 2)]: each channel's shares of the patterns' codes, on whole numbers."""
    config = encoder.config
    numbers = (x.detach().cpu().double() * config.texture_scale).round().to(torch.int32).numpy()
    codes = local_binary_pattern(numbers, config.texture_points, config.texture_radius)
    return torch.as_tensor(lbp_histogram(codes, config.texture_points), dtype=x.dtype, device=x.device).flatten(1)


@dataclass(frozen=True)
class PatchMaps:
    """Probabilities [K, h, w] from a classifier slid over dated pixels.

    Patches of `patch` pixels are classified every `stride` pixels, around every corner of a grid; between their centres
    the probabilities are interpolated bilinearly. Beyond the edge the image is mirrored: repeated pixels would be
    streaks, a texture (they are repeated only where an image is smaller than half a patch). Of several dates the
    probabilities are averaged, each date weighted by its share of pixels with data. index: position of each encoder
    channel among the bands given.
    """

    classifier: PatchClassifier
    index: tuple[int, ...]
    patch: int
    stride: int

    def __call__(self, pixels: Tensor, valid: Tensor) -> Tensor:
        """Pixels [T, C, h, w] where valid [T, h, w] -> probabilities [K, h, w]."""
        mean = self.classifier.encoder.mean.cpu()
        filled = torch.where(valid[:, None], pixels[:, list(self.index)], mean[:, None, None])
        weight = valid.flatten(1).float().mean(1)
        weight = torch.ones_like(weight) if not weight.any() else weight
        maps = torch.stack([self._map(date) for date in filled])
        return (maps * (weight / weight.sum())[:, None, None, None]).sum(0)

    def _map(self, image: Tensor) -> Tensor:
        size = image.shape[-2:]
        counts = [-(-side // self.stride) + 1 for side in size]
        before = self.patch // 2
        after = [(n - 1) * self.stride + self.patch - before - side for n, side in zip(counts, size, strict=True)]
        fits = all(max(before, behind) < side for behind, side in zip(after, size, strict=True))
        mode = "reflect" if fits else "replicate"
        wide = F.pad(image[None], (before, after[1], before, after[0]), mode=mode)[0]
        windows = wide.unfold(1, self.patch, self.stride).unfold(2, self.patch, self.stride)
        patches = windows.permute(1, 2, 0, 3, 4).flatten(0, 1)
        found = torch.cat([self.classifier(part).cpu() for part in torch.split(patches, _AT_ONCE)])
        grid = found.T.reshape(-1, *counts)
        return self._between(grid, (int(size[0]), int(size[1])))

    def _between(self, grid: Tensor, size: tuple[int, int]) -> Tensor:
        """Values at every `stride`-th corner between pixels -> at the pixels' centres."""
        places = [(torch.arange(side) + 0.5) / self.stride for side in size]
        for axis, place in enumerate(places, 1):
            low = place.floor().long().clamp(max=grid.shape[axis] - 2)
            share = (place - low).view(-1, 1) if axis == 1 else place - low
            near, far = grid.index_select(axis, low), grid.index_select(axis, low + 1)
            grid = near * (1 - share) + far * share
        return grid


def landcover_maps(encoder: ImageEncoder, meta: Mapping[str, Any], state: Mapping[str, Tensor]) -> PatchMaps:
    """From a head's file. Raises KeyError where the two do not belong together."""
    weight, bias = (state[name].to(encoder.mean.device) for name in ("weight", "bias"))
    classifier = PatchClassifier(encoder, weight, bias, meta["mode"] == "histogram")
    return PatchMaps(classifier, tuple(meta["index"]), int(meta["patch"]), int(meta["stride"]))
