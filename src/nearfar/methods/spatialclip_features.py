"""Features of SpatialCLIP's modalities, kept where their encoder is frozen and the views do not change."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from nearfar.methods.base import Batch
from nearfar.methods.feature_cache import FeatureCache, is_frozen
from nearfar.methods.spatialclip_inputs import alone
from nearfar.spatial.boxes import trim


class ModalityFeatures:
    """What an encoder makes of one modality of a batch, [B, D].

    Args:
        caching: a sample's views are always the same, so that features of frozen encoders are computed once.
        padding: the encoder of boxes sees the padding of a batch too, which to the published one is not nothing.
    """

    def __init__(self, caching: bool, padding: bool) -> None:
        self.caching, self.padding = caching, padding
        self.caches: dict[str, FeatureCache] = {}

    def __call__(self, name: str, encoder: nn.Module, batch: Batch, cache: str = "") -> Tensor:
        """`cache` names a cache apart from the modality's own, for a second encoder of the same modality."""
        inputs, index = self._inputs(name, batch), batch.get("index")
        if name == "boxes" or not (self.caching and isinstance(index, Tensor) and is_frozen(encoder)):
            return cast(Tensor, encoder(*inputs))
        content = inputs[0] if name == "image" else torch.where(inputs[1], inputs[0] + 1, 0)
        kept = self.caches.setdefault(cache or name, FeatureCache())
        return kept(encoder, index, content, lambda row: encoder(*alone(inputs, row)))

    def _inputs(self, name: str, batch: Batch) -> tuple[Tensor, ...]:
        if name == "image":
            return (batch["views"][:, 0],)
        if name == "text":
            return batch["text_ids"], batch["text_mask"]
        objects = batch["objects_views"][:, 0] if "objects_views" in batch else batch["objects"]
        boxes = objects, batch["object_labels"]
        return boxes if self.padding else trim(*boxes)
