"""What the ranks of `test_csip` do."""

from __future__ import annotations

from typing import Any

import numpy as np
import test_csip
import torch
from torch import nn

from nearfar.methods.base import Batch
from nearfar.methods.csip import CSIP
from nearfar.train.gradcache import two_pass_step

ROWS = (slice(0, 6), slice(6, 10))


def build() -> CSIP:
    return test_csip.make(label_smoothing=0.1, threshold=0.8, same_image="mask").double()


def viewed(method: CSIP) -> Batch:
    return {k: v.double() if v.is_floating_point() else v for k, v in method.views(test_csip.pairs()).items()}


class Calls(nn.Module):
    """As the engine routes a method's calls through DDP."""

    def __init__(self, method: CSIP) -> None:
        super().__init__()
        self.method = method

    def forward(self, name: str, batch: Batch) -> Any:
        return getattr(self.method, name)(batch)


def ddp_gradient(rank: int, chunk: int) -> np.ndarray:
    method = build()
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
    return test_csip.joined_gradient(method).numpy()
