"""What the ranks of `test_spatialclip` do."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from studies import make, study
from torch import nn

from nearfar.methods.base import Batch
from nearfar.methods.spatialclip import SpatialCLIP
from nearfar.train.gradcache import two_pass_step

ROWS = (slice(0, 6), slice(6, 10))


def build(kind: str) -> SpatialCLIP:
    options: dict[str, Any] = {"fusion": "softmax", "structures": 0.5, "dropout": 0.3}
    return make(**(options if kind == "all" else {"modalities": ("text",)})).double()


def viewed(method: SpatialCLIP) -> Batch:
    double = {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in study().items()}
    return method.views(double)


class Calls(nn.Module):
    """As the engine routes a method's calls through DDP."""

    def __init__(self, method: SpatialCLIP) -> None:
        super().__init__()
        self.method = method

    def forward(self, name: str, batch: Batch) -> Any:
        return getattr(self.method, name)(batch)


def ddp_gradient(rank: int, kind: str, chunk: int) -> dict[str, np.ndarray]:
    method = build(kind)
    wrapped = nn.parallel.DistributedDataParallel(Calls(method))
    batch = {key: value[ROWS[rank]] for key, value in viewed(method).items()}
    if chunk:
        two_pass_step(
            method,
            batch,
            chunk,
            project=lambda part: wrapped("project", part),
            backward=torch.Tensor.backward,
            unsynced=wrapped.no_sync,
        )
    else:
        wrapped("step", batch).loss.backward()
    return {name: p.grad.numpy() for name, p in method.named_parameters() if p.grad is not None}
