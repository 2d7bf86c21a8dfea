"""What stands between the gradients of a step and the parameters: the mean over ranks, a limit, and a look for NaN."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from nearfar import parallel
from nearfar.errors import NonFiniteError


class Gradients:
    """Hooks into an optimiser's step. The mean is one exchange of all gradients, so that parameters may change size.

    `norm` of the last step, before the limit (0: none).
    """

    def __init__(self, optimiser: Optimizer, limit: float = 0.0) -> None:
        self.optimiser, self.limit, self.norm = optimiser, limit, 0.0
        self._asked = False
        optimiser.register_step_pre_hook(self._before)

    def begin(self) -> None:
        """A new step."""
        self._asked = False

    def absent(self) -> None:
        """A step failed: where it did so before the exchange, tell the other ranks, so that all leave it out."""
        if parallel.world_size() > 1 and not self._asked:
            self._exchange(torch.full_like(self._flat(), math.nan))

    def _before(self, *_: Any) -> None:
        flat, self._asked = self._flat(), True
        if parallel.world_size() > 1:
            flat = self._exchange(flat)
        self.norm = float(flat.norm())
        if not math.isfinite(self.norm):
            raise NonFiniteError("the gradient of a step is not finite", found=self.norm, fix="Lower the rates.")
        factor = min(1.0, self.limit / max(self.norm, 1e-12)) if self.limit else 1.0
        if factor < 1 or parallel.world_size() > 1:
            self._write(flat * factor)

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimiser.param_groups for p in group["params"]]

    def _flat(self) -> Tensor:
        """All gradients in one row; zeros where a step made none."""
        return torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).detach().flatten() for p in self._parameters()]
        )

    def _exchange(self, flat: Tensor) -> Tensor:
        dist.all_reduce(flat)
        return flat / parallel.world_size()

    def _write(self, flat: Tensor) -> None:
        parameters = self._parameters()
        parts = torch.split(flat, [p.numel() for p in parameters])
        for p, part in zip(parameters, parts, strict=True):
            p.grad = part.view_as(p).clone()
