"""The toy method in stages: batch statistics, dropout and a logged mode, so that what a stage changes can be seen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from toy import Toy, ToyConfig, configuration

from nearfar.config import RunConfig, Stage
from nearfar.data.dataset import default_channels
from nearfar.encoders.image import ImageEncoder
from nearfar.methods.base import Batch, Output, Projections

HEAD = Stage("head", 2, ("head.*", "norm.*"), warmup=0.2)
ALL = Stage("all", 1, ("*",), {"*": 0.5, "encoder.*": 0.1, "encoder.body.model.stem.*": 0.2}, {"spread": 0.5}, 0.0)


class StagedToy(Toy):
    """Learns its head, then everything; a second loss has a weight that stages set, and a scale only it learns."""

    loss_parts = ("spread",)

    def __init__(self, config: ToyConfig, encoder: ImageEncoder) -> None:
        super().__init__(config, encoder)
        self.norm, self.scale = nn.BatchNorm1d(8), nn.Parameter(torch.ones(()))
        self.spread_weight = 0.0
        self.register_buffer("entered", torch.zeros((), dtype=torch.int64))

    def set_stage(self, stage: Stage) -> None:
        self.spread_weight = stage.losses.get("spread", 0.0)
        self.entered: Tensor = self.entered + 1 + torch.randint(100, ())

    def project(self, batch: Batch) -> Projections:
        out = super().project(batch)
        return {**out, "z": self.norm(out["z"].flatten(0, 1)).unflatten(0, out["z"].shape[:2])}

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        out = super().criterion(projections, batch)
        if self.spread_weight:
            out.loss = out.loss + self.spread_weight * self.scale * projections["z"].square().mean()
        return out


def staged(*stages: Stage, method: dict[str, Any] | None = None, **train: Any) -> RunConfig[ToyConfig]:
    chosen = stages or (HEAD, ALL)
    return configuration(method, **{"epochs": sum(stage.epochs for stage in chosen), "stages": chosen, **train})


def build_staged(config: RunConfig[ToyConfig]) -> StagedToy:
    torch.manual_seed(config.train.seed)
    return StagedToy(config.method, ImageEncoder(config.encoder, default_channels(3)))
