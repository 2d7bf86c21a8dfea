"""The protocol of a method: configuration + views + step + encode, usable without the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nearfar.config import MethodConfig, ViewsConfig
from nearfar.encoders.image import ImageEncoder

Batch = dict[str, Any]
"""a collated `Sample` (see nearfar.data.sample): tensors with a leading B"""

Projections = dict[str, Tensor]
"""what the loss needs of the network, by name; every tensor has the batch as its first dimension"""


@dataclass
class Output:
    """What a step returns: the loss to call backward on, and detached parts to log."""

    loss: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Method(nn.Module):
    """A way to decide near and far.

    A subclass declares `Config`, and writes `project` (network: batch -> named embeddings) and `criterion` (loss on
    those). `step` is their composition; the two halves are apart so that the two-pass step (GradCache) of the trainer
    works for every method. State beyond parameters (teachers, queues) lives in buffers or submodules, so it is saved.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    needs_labels: ClassVar[bool] = False

    def __init__(self, config: MethodConfig, encoder: ImageEncoder, views: ViewsConfig | None = None) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.views_config = views if views is not None else ViewsConfig()
        self.progress = 0.0

    def views(self, sample: Mapping[str, Any]) -> Batch:
        """The sample (or collated batch) with `views` added: float32 [V, C, h, w], or [B, V, C, h, w]."""
        raise NotImplementedError

    def project(self, batch: Batch) -> Projections:
        """Embeddings by name, [B, V, D] each, with gradients where they train."""
        raise NotImplementedError

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """The loss of the embeddings; exact under distribution (nearfar.losses finds the process group)."""
        raise NotImplementedError

    def step(self, batch: Batch) -> Output:
        """One training step's loss. Adds the views itself where the loader has not."""
        if "views" not in batch:
            batch = self.views(batch)
        return self.criterion(self.project(batch), batch)

    def after_step(self) -> None:
        """Called after the optimiser's step: moves teachers, fills queues."""

    def set_progress(self, progress: float) -> None:
        """Position in the run, 0 to 1, for curricula; the trainer calls it before every step."""
        self.progress = float(progress)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Features [B, D] of unaugmented images [B, C, H, W], in evaluation mode, mode restored after."""
        training = self.training
        self.eval()
        try:
            features: Tensor = self.encoder(x)
        finally:
            self.train(training)
        return features
