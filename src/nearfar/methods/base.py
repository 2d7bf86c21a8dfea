"""The protocol of a method: configuration + views + step + encode, usable without the trainer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from nearfar import parallel
from nearfar.config import MethodConfig, Stage, ViewsConfig
from nearfar.data import SampleDataset
from nearfar.encoders.heads import projection_head
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.mode import evaluating
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.memory import Queue
from nearfar.views import build_views

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

    A subclass declares `Config` and writes `criterion`, the loss on what `project` returns (network: batch -> named
    embeddings; by default {"z": head of the encoder's features of every view}). `step` is their composition; the two
    halves are apart so that the two-pass step (GradCache) of the trainer works for every method: `project` has no side
    effects, and `criterion` sees the embeddings of the whole batch once. State beyond parameters (teachers, queues)
    lives in buffers or submodules, so it is saved.

    Attributes: `config`, `encoder`, `head` (projection, unused by `encode`), `views_config`, `progress`.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    needs_labels: ClassVar[bool] = False
    loss_parts: tuple[str, ...] = ()
    """names in a stage's `losses` that `set_stage` heeds; the trainer refuses any other"""

    def __init__(self, config: MethodConfig, encoder: ImageEncoder, views: ViewsConfig | None = None) -> None:
        super().__init__()
        if not config.temperature > 0:
            raise ConfigError("a temperature is positive", where="method.temperature", found=config.temperature)
        self.config, self.encoder = config, encoder
        self.head = projection_head(encoder.feature_dim, config.projection, config.head_norm)
        self.views_config = views if views is not None else ViewsConfig()
        self._make_views = build_views(self.views_config, encoder.channels, encoder.config.size)
        self.progress = 0.0

    @property
    def embedding_dim(self) -> int:
        """Width D of what the loss sees."""
        return self.config.projection[-1] if self.config.projection else self.encoder.feature_dim

    def prepare(self, dataset: SampleDataset) -> None:
        """Learn what must be known of the training data: a vocabulary, how frequent classes are. By default nothing.

        The trainer calls it once, on every rank, after the method is built and before anything is loaded into it.
        What it sets belongs into the state (buffers, `get_extra_state`): later the method is built without data.
        """

    def views(self, sample: Mapping[str, Any]) -> Batch:
        """The sample (or collated batch) with `views` added: float32 [V, C, h, w], or [B, V, C, h, w].

        Without `seed` (a batch that does not come from nearfar's loader) seeds are drawn from torch's generator.
        """
        if "seed" not in sample:
            sample = {**sample, "seed": _drawn_seeds(sample["image"])}
        return self._make_views(sample)

    def project(self, batch: Batch) -> Projections:
        """Embeddings by name, [B, V, D] each, with gradients where they train."""
        return {"z": self.embed(batch["views"])}

    def embed(self, views: Tensor) -> Tensor:
        """[B, V, C, h, w] -> head of the encoder's features [B, V, D]."""
        check_views(views)
        z = cast(Tensor, self.head(self.encoder(views.flatten(0, 1))))
        return z.unflatten(0, views.shape[:2])  # type: ignore[no-untyped-call,no-any-return]

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """The loss of the embeddings; exact under distribution (nearfar.losses finds the process group)."""
        raise NotImplementedError

    def step(self, batch: Batch) -> Output:
        """One training step's loss. Adds the views itself where the loader has not."""
        if "views" not in batch:
            batch = self.views(batch)
        return self.criterion(self.project(batch), batch)

    def forward(self, batch: Batch) -> Output:
        """The same as `step`, for wrappers (DDP) that act on the call of a module."""
        return self.step(batch)

    def after_step(self) -> None:
        """Called after the optimiser's step: moves teachers, fills queues."""

    def skip_step(self) -> None:
        """Called instead of `after_step` where the optimiser's step was skipped: forgets what was kept for it."""

    def set_progress(self, progress: float) -> None:
        """Position in the run, 0 to 1, for curricula; the trainer calls it before every step."""
        self.progress = float(progress)

    def set_stage(self, stage: Stage) -> None:
        """Called where a stage begins, when `requires_grad` says what it trains; a resumed run then loads the state.

        Takes the stage's loss weights (see `loss_parts`). Must leave parameters and `requires_grad` as they are.
        """

    def chance(self, batch_size: int) -> float:
        """The loss of guessing, for the log: of InfoNCE the log of the number of contrasted keys."""
        queues = [module for module in self.modules() if isinstance(module, Queue)]
        rows = batch_size * self.views_config.count - 1
        return math.log(max(1, 1 + sum(int(queue.count) for queue in queues) if queues else rows))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Features [B, D] of unaugmented images [B, C, H, W], in evaluation mode, mode restored after."""
        with evaluating(self.encoder):
            return cast(Tensor, self.encoder(x))


def check_views(views: Tensor) -> None:
    """Raise ShapeError unless they are [B, V, C, h, w]."""
    if views.ndim != 5:
        raise ShapeError("views have five dimensions", found=tuple(views.shape), expected="[B, V, C, h, w]")


def labels_of(batch: Batch) -> Tensor:
    """The labels [B] of a batch, -1 where unknown. Raises DataError where there is none at all."""
    labels = batch.get("label")
    if not isinstance(labels, Tensor) or not bool((labels >= 0).any()):
        raise DataError(
            "this method learns from labels and the batch has none",
            where="batch['label']",
            found="no such key" if labels is None else "only unknown labels (-1)",
            fix="Give labelled data, or use a method without labels: simclr or moco.",
        )
    return labels


def ids_of(batch: Batch, rows: Tensor) -> Tensor:
    """Which image each of the B `rows` is, int64 [B], unique over ranks: `index`, or its position in the batch."""
    index = batch.get("index")
    if isinstance(index, Tensor):
        return index.to(rows.device)
    return torch.arange(len(rows), device=rows.device) + parallel.offset(len(rows))


def _drawn_seeds(image: Tensor) -> Tensor | int:
    seeds = torch.randint(2**62, (len(image),) if image.ndim == 4 else (1,))
    return seeds if image.ndim == 4 else int(seeds)
