"""MoCo: two views, a queue of keys and a momentum teacher; many negatives without a large batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from nearfar.config import MethodConfig, ViewsConfig
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError
from nearfar.losses import info_nce
from nearfar.memory import EMA, Queue
from nearfar.methods.base import Batch, Method, Output, Projections


@dataclass(frozen=True)
class MoCoConfig(MethodConfig):
    """Options of MoCo; the temperature is MoCo v2's."""

    temperature: float = 0.2
    momentum: float = 0.99
    """of the teacher: 0.999 suits runs of 100,000 steps and more, 0.99 short ones"""
    queue: int = 4096
    """keys kept as negatives; fewer than the images, or an image meets its own older keys as negatives"""


class MoCo(Method):
    """He et al. 2020, "Momentum Contrast"; Chen et al. 2020, "Improved Baselines with Momentum Contrastive Learning".

    The first view is the query, the second the key, made by the teacher. The paper shuffles keys over devices so that
    batch statistics cannot leak which key belongs to which query; here the teacher is always in evaluation mode and
    has no batch statistics to leak, so nothing is shuffled. The other keys of the batch are negatives beside the
    queue's, which also gives the first steps, while the queue fills, something to contrast.
    """

    Config = MoCoConfig
    config: MoCoConfig

    def __init__(self, config: MoCoConfig, encoder: ImageEncoder, views: ViewsConfig | None = None) -> None:
        super().__init__(config, encoder, views)
        if self.views_config.count != 2:
            raise ConfigError(
                "MoCo contrasts a query with one key",
                where="views.count",
                found=self.views_config.count,
                expected=2,
                fix="Set views.count to 2, or use simclr for more views.",
            )
        self.teacher = EMA(self._student(), config.momentum)
        self.teacher.eval()
        self.queue = Queue(self.embedding_dim, config.queue)
        self._fresh: list[Tensor] = []

    def _student(self) -> nn.Sequential:
        return nn.Sequential(self.encoder, self.head)

    def train(self, mode: bool = True) -> MoCo:
        """As nn.Module.train; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def project(self, batch: Batch) -> Projections:
        """{"query", "key"}: [B, D] each, the key without gradient."""
        views = batch["views"]
        return {"query": self.embed(views[:, :1])[:, 0], "key": cast(Tensor, self.teacher(views[:, 1]))}

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """InfoNCE of each query against its own key, the batch's other keys and the queue's."""
        key = nn.functional.normalize(projections["key"].float(), dim=-1)
        keys, _ = self.queue.contents()
        if self.training:
            self._fresh.append(key.detach())
        loss = info_nce(
            projections["query"], key, temperature=self.config.temperature, keys=keys if len(keys) else None
        )
        return Output(loss, {"queue": self.queue.count.detach().float()})

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the teacher towards the student and put the step's keys into the queue."""
        self.teacher.update(self._student(), self.progress)
        for key in self._fresh:
            self.queue.enqueue(key)
        self._fresh.clear()

    def skip_step(self) -> None:
        """Forget the keys of a bad batch, which would poison the queue."""
        self._fresh.clear()
