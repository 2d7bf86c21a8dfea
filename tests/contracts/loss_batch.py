"""What a loss under contract is called with, and how it is listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nearfar.losses.core import tile


@dataclass(frozen=True)
class LossBatch:
    """z [n, V, D]; labels and uid [n] (uid: unique over ranks); keys [K, D] and key_labels [K], equal on all ranks."""

    z: Tensor
    labels: Tensor
    uid: Tensor
    keys: Tensor
    key_labels: Tensor
    temperature: float = 0.2

    def rows(self, index: Tensor) -> LossBatch:
        return replace(self, z=self.z[index], labels=self.labels[index], uid=self.uid[index])


def make_batch(labels: list[int], *, views: int = 2, dim: int = 4, dtype: torch.dtype = torch.float64) -> LossBatch:
    source = torch.Generator().manual_seed(5)
    n = len(labels)
    z = torch.randn(n, views, dim, generator=source, dtype=torch.float64).to(dtype)
    keys = torch.randn(3, dim, generator=source, dtype=torch.float64).to(dtype)
    return LossBatch(z, torch.tensor(labels), torch.arange(n), keys, torch.tensor([0, 1, -1]))


Loss = Callable[[LossBatch], Tensor]


@dataclass(frozen=True)
class LossCase:
    """A loss in three forms. `labelled`: positives come from labels, so there may be none; otherwise V must be 2."""

    name: str
    function: Loss
    module: Loss
    oracle: Callable[[LossBatch], float] | None
    labelled: bool
    skips: dict[str, str] = field(default_factory=dict)
    """tests of the contract that the formula cannot meet: name -> reason"""


UNCOMPILED = {"test_compile_equals_eager": "loops over tiles stay out of the graph; tests/losses/core compiles them"}


def in_tiles(
    name: str, oracle: Callable[[LossBatch], float] | None, labelled: bool, call: Any, **skips: str
) -> LossCase:
    """A case in tiles of three rows: call(batch, memory=..., exchange=...)."""

    def function(b: LossBatch) -> Tensor:
        with tile(3):
            return call(b, memory="tiled")

    def round_a_ring(b: LossBatch) -> Tensor:
        with tile(3):
            return call(b, exchange="ring")

    return LossCase(f"{name}[tiled]", function, round_a_ring, oracle, labelled, UNCOMPILED | skips)
