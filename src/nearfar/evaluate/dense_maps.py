"""The maps that an encoder and a decoder make of scenes, in training order: pad, look, decode, calibrate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nearfar.encoders.image import ImageEncoder
from nearfar.evaluate.decoders import build_decoder
from nearfar.evaluate.dense import DenseModel, layout, padded
from nearfar.evaluate.windowed import spans


@dataclass(frozen=True)
class DenseMaps:
    """Probabilities [K, h, w] of dated pixels of any size.

    index: position of each encoder channel among the bands given. multiple: to which sizes are padded. threshold: the
    probability of the second of two classes that becomes 0.5, so that the likelier class is the chosen one. window:
    for encoders with a fixed grid of patches, the one size they take; else 0.
    """

    model: DenseModel
    index: tuple[int, ...]
    multiple: int
    threshold: float = 0.5
    window: int = 0

    def __call__(self, pixels: Tensor, valid: Tensor) -> Tensor:
        """Pixels [T, C, h, w] where valid [T, h, w] -> probabilities [K, h, w]."""
        height, width = pixels.shape[-2:]
        step = self.window or self.multiple
        place = padded(pixels[:, list(self.index)], valid, *(-(-side // step) * step for side in (height, width)))
        scores = self._slid(*place) if self.window else self.model([place])[0]
        return self._calibrated(scores[:, :height, :width]).softmax(0)

    def _slid(self, pixels: Tensor, valid: Tensor) -> Tensor:
        rows, cols = (spans(side, self.window, self.window // 4) for side in pixels.shape[-2:])
        parts = []
        for read, keep in rows:
            inner = slice(keep.start - read.start, keep.stop - read.start)
            line = [
                self.model([(pixels[..., read, across], valid[..., read, across])])[
                    0, :, inner, kept.start - across.start : kept.stop - across.start
                ]
                for across, kept in cols
            ]
            parts.append(torch.cat(line, -1))
        return torch.cat(parts, -2)

    def _calibrated(self, scores: Tensor) -> Tensor:
        if self.threshold == 0.5:
            return scores
        t = min(max(self.threshold, 1e-6), 1 - 1e-6)
        return scores - F.pad(scores.new_tensor([math.log(t / (1 - t))]), (1, len(scores) - 2))[:, None, None]


def dense_maps(encoder: ImageEncoder, meta: Mapping[str, Any], state: Mapping[str, Tensor]) -> DenseMaps:
    """From a head's file. Raises KeyError or RuntimeError where the two do not belong together."""
    side_by_side = meta.get("group_maps") == "each"
    widths, multiple = layout(encoder, side_by_side)
    decoder = build_decoder(meta["decoder"], widths, len(meta["classes"]), int(meta["decoder_width"]))
    decoder.load_state_dict({k.removeprefix("decoder."): v for k, v in state.items() if k.startswith("decoder.")})
    model = DenseModel(encoder, decoder.to(encoder.mean.device), meta["task"], side_by_side=side_by_side).eval()
    window = encoder.config.size if encoder.grid is not None else 0
    return DenseMaps(model, tuple(meta["index"]), multiple, float(meta["threshold"]), window)
