"""A small method with everything that a checkpoint must hold: head with dropout, teacher, queue, random views."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar import parallel
from nearfar.config import DataConfig, EncoderConfig, MethodConfig, RunConfig, TrainConfig, ViewsConfig
from nearfar.data import TensorDataset
from nearfar.data.dataset import default_channels
from nearfar.encoders.image import ImageEncoder
from nearfar.memory import EMA, Queue
from nearfar.methods.base import Batch, Method, Output, Projections


@dataclass(frozen=True)
class ToyConfig(MethodConfig):
    memory: Literal["none", "queue"] = "none"
    dropout: float = 0.0
    noise: float = 0.0
    """global random numbers in the views: only restored random states repeat them"""
    poison: tuple[int, ...] = ()
    """samples whose views are NaN"""


class Toy(Method):
    Config = ToyConfig
    config: ToyConfig

    def __init__(self, config: ToyConfig, encoder: ImageEncoder, views: ViewsConfig | None = None) -> None:
        super().__init__(config, encoder, views)
        self.head = nn.Sequential(nn.Linear(encoder.feature_dim, 8), nn.Dropout(config.dropout))
        if config.memory == "queue":
            self.teacher, self.queue = EMA(nn.Sequential(encoder, self.head), 0.9), Queue(8, 24)
        self._keys: list[Tensor] = []

    def views(self, sample: Any) -> Batch:
        image = sample["image"]
        noise = self.config.noise * torch.randn(len(image), 2, *image.shape[1:], dtype=image.dtype)
        views = torch.stack([image, image.flip(-1)], 1) + noise.to(image)
        views[torch.isin(sample["index"], torch.tensor(self.config.poison, device=image.device))] = torch.nan
        return {**sample, "views": views}

    def project(self, batch: Batch) -> Projections:
        x = batch["views"]
        queries = self.head(self.encoder(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        if self.config.memory == "none":
            return {"z": queries}
        return {"z": queries, "keys": self.teacher(x[:, 1])}

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        z = F.normalize(projections["z"], dim=-1)
        keys = parallel.gather(z[:, 1])
        targets = torch.arange(len(z), device=z.device) + parallel.offset(len(z))
        if self.config.memory == "queue":
            self._keys.append(F.normalize(projections["keys"], dim=-1).detach())
            keys = torch.cat([keys, self.queue.contents()[0].to(keys)])
        loss = F.cross_entropy(z[:, 0] @ keys.T / self.config.temperature, targets)
        return Output(loss, {"spread": z.detach().std()})

    def after_step(self) -> None:
        if self.config.memory == "queue":
            self.teacher.update(nn.Sequential(self.encoder, self.head))
            self.queue.enqueue(torch.cat(self._keys))
        self._keys = []

    def skip_step(self) -> None:
        self._keys = []


def dataset(count: int = 40, size: int = 8) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 4
    images = torch.rand(count, 3, size, size, generator=generator) + labels[:, None, None, None] * 0.3
    return TensorDataset(images, labels)


def configuration(method: dict[str, Any] | None = None, **train: Any) -> RunConfig[ToyConfig]:
    settings = TrainConfig(epochs=3, batch_size=8, lr=0.01, health_every=0, accelerator="cpu")
    return RunConfig(
        preset="toy",
        method=ToyConfig(**(method or {})),
        data=DataConfig(size=8),
        encoder=EncoderConfig(name="nano_cnn", size=8),
        train=replace(settings, **train),
    )


def build(config: RunConfig[ToyConfig]) -> Toy:
    torch.manual_seed(config.train.seed)
    return Toy(config.method, ImageEncoder(config.encoder, default_channels(3)))
