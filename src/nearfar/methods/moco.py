"""MoCo: two views, a queue of keys and a momentum teacher; many negatives without a large batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from nearfar.config import MethodConfig, ViewsConfig
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError
from nearfar.losses import info_nce
from nearfar.methods.base import Batch, Output, Projections
from nearfar.methods.taught import TaughtMethod


@dataclass(frozen=True)
class MoCoConfig(MethodConfig):
    """Options of MoCo; the temperature is MoCo v2's."""

    temperature: float = 0.2
    momentum: float = 0.99
    """of the teacher: 0.999 suits runs of 100,000 steps and more, 0.99 short ones"""
    queue: int = 4096
    """keys kept as negatives; fewer than the images, or an image meets its own older keys as negatives"""


class MoCo(TaughtMethod):
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
        self._teach(config.momentum, self.embedding_dim, config.queue)

    def project(self, batch: Batch) -> Projections:
        """{"query", "key"}: [B, D] each, the key without gradient."""
        views = batch["views"]
        return {"query": self.embed(views[:, :1])[:, 0], "key": cast(Tensor, self.teacher(views[:, 1]))}

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """InfoNCE of each query against its own key, the batch's other keys and the queue's."""
        key = nn.functional.normalize(projections["key"].float(), dim=-1)
        keys, _ = self.queue.contents()
        if self.training:
            self._fresh.append((key.detach(), None))
        loss = info_nce(
            projections["query"], key, temperature=self.config.temperature, keys=keys if len(keys) else None
        )
        return Output(loss, {"queue": self.queue.count.detach().float()})
