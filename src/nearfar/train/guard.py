"""What stands between a bad batch and the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.errors import NonFiniteError

SPIKE = 6.0
"""standard deviations above the running mean of the loss that are reported"""
MEMORY = 0.98
"""decay of the running mean and variance of the loss"""
WARM = 50
"""finite steps before a spike can be called one"""


class Guard:
    """Counts steps whose loss or gradient is not finite, and loss spikes.

    A non-finite step must be skipped by the caller; `admit` raises NonFiniteError after `limit` of them in a row.
    Batch-norm statistics, which the forward pass has spoilt by then, are put back.
    """

    def __init__(self, method: nn.Module, limit: int) -> None:
        self.limit = limit
        self.skipped = self.in_a_row = self.seen = 0
        self.mean = self.variance = 0.0
        self._statistics = [
            buffer
            for module in method.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            for buffer in module.buffers()
        ]
        self._good: list[Tensor] = []
        self.remember()

    def admit(self, loss: float, grad_norm: float, step: int) -> bool:
        """Whether the step may change the weights."""
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self.in_a_row = 0
            self.remember()
            return True
        self.skipped += 1
        self.in_a_row += 1
        for buffer, good in zip(self._statistics, self._good, strict=True):
            buffer.copy_(good)
        if self.in_a_row >= self.limit:
            raise NonFiniteError(
                f"{self.in_a_row} steps in a row had a non-finite loss or gradient",
                where=f"step {step}",
                found=f"loss {loss}, gradient norm {grad_norm}",
                fix="Lower train.lr, raise method.temperature, set train.clip, or use precision bf16-mixed or 32-true.",
            )
        return False

    @torch.no_grad()
    def remember(self) -> None:
        """Keep the batch-norm statistics as the ones to go back to."""
        self._good = [buffer.clone() for buffer in self._statistics]

    def spike(self, loss: float) -> float | None:
        """How many standard deviations above its running mean the loss lies, where that is more than `SPIKE`."""
        deviation = loss - self.mean
        height = deviation / math.sqrt(self.variance) if self.variance > 0 else 0.0
        weight = 1 - MEMORY if self.seen else 1.0
        self.mean += weight * deviation
        self.variance = (1 - weight) * (self.variance + weight * deviation**2)
        self.seen += 1
        return height if self.seen > WARM and height > SPIKE else None

    def state_dict(self) -> dict[str, Any]:
        names = ("skipped", "in_a_row", "seen", "mean", "variance")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self.remember()
