"""Objects that remember between steps: a queue of keys and a moving-average teacher.

Both are modules, so a checkpoint holds them and a resumed run goes on with them; neither is ever hidden in a loss.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nearfar import parallel
from nearfar.errors import ConfigError, ShapeError

Momentum = float | Callable[[float], float]
"""a number, or a function of the progress of the run, 0 to 1"""


class Queue(nn.Module):
    """Ring buffer of the newest `size` keys, as in MoCo (He et al. 2020, section 3.2).

    Buffers: keys [size, dim] float32, labels [size] int64 (-1: unknown), pointer (where the next row goes) and count
    (rows filled). Any size and any batch, also one larger than the queue, whose newest rows stay. With a process
    group the rows of all ranks are gathered first, so every rank holds the same queue.
    """

    keys: Tensor
    labels: Tensor
    pointer: Tensor
    count: Tensor

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        if dim < 1 or size < 1:
            raise ConfigError("a queue needs a positive dim and size", where="Queue", found=f"dim {dim}, size {size}")
        self.dim, self.size = dim, size
        self.register_buffer("keys", torch.zeros(size, dim))
        self.register_buffer("labels", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, labels: Tensor | None = None) -> None:
        """Replace the oldest rows by `keys` [n, dim] with `labels` [n] (default -1), of all ranks in rank order."""
        labels = self._checked(keys, labels)
        counts = parallel.sizes(len(keys))
        keys = parallel.gather(keys.detach().to(self.keys), counts)
        labels = parallel.gather(labels.to(self.labels), counts)
        n, kept = len(keys), min(len(keys), self.size)
        # Index arithmetic on the device: reading the pointer would wait for the accelerator.
        rows = (self.pointer + n - kept + torch.arange(kept, device=self.keys.device)) % self.size
        self.keys[rows], self.labels[rows] = keys[n - kept :], labels[n - kept :]
        self.pointer.add_(n).remainder_(self.size)
        self.count.add_(n).clamp_(max=self.size)

    def contents(self) -> tuple[Tensor, Tensor]:
        """The filled part: keys [count, dim] and labels [count]; copies, so a later enqueue cannot spoil a graph."""
        n = int(self.count)
        return self.keys[:n].clone(), self.labels[:n].clone()

    def _checked(self, keys: Tensor, labels: Tensor | None) -> Tensor:
        if keys.dim() != 2 or keys.shape[1] != self.dim:
            raise ShapeError(
                "keys do not fit the queue",
                where="Queue.enqueue",
                found=tuple(keys.shape),
                expected=f"(n, {self.dim}) for a queue of shape {tuple(self.keys.shape)}",
            )
        if labels is None:
            return self.labels.new_full((len(keys),), -1)
        if labels.shape != keys.shape[:1]:
            raise ShapeError(
                "one label a key",
                where="Queue.enqueue",
                found=f"labels {tuple(labels.shape)}",
                expected=f"({len(keys)},) for keys {tuple(keys.shape)}",
            )
        return labels


def cosine_momentum(start: float, end: float = 1.0) -> Callable[[float], float]:
    """Momentum that rises from `start` to `end` on a half cosine of the progress (BYOL, Grill et al. 2020, 3.3)."""
    return lambda progress: end - (end - start) * (math.cos(math.pi * progress) + 1) / 2


class EMA(nn.Module):
    """Teacher whose parameters are the exponential moving average of a module's: p <- m p + (1 - m) q.

    `module` is copied, not held: the student stays where it is. Buffers (batch statistics) are copied at every update.
    The teacher needs no gradient, its forward records none, and it follows train() and eval() like any module.
    `momentum`: a number in [0, 1], or a function of the progress 0..1 such as `cosine_momentum(0.996)`.
    """

    def __init__(self, module: nn.Module, momentum: Momentum = 0.996) -> None:
        super().__init__()
        self.momentum = momentum
        self._momentum_at(0.0)
        self.module = copy.deepcopy(module).requires_grad_(False)

    def _momentum_at(self, progress: float) -> float:
        value = self.momentum(progress) if callable(self.momentum) else self.momentum
        if not 0.0 <= value <= 1.0:
            raise ConfigError("the momentum must lie between 0 and 1", where="EMA", found=value)
        return value

    @torch.no_grad()
    def update(self, module: nn.Module, progress: float = 0.0) -> None:
        """Move one step towards `module`, the student, of the same architecture; call it after the optimiser's."""
        weight = 1.0 - self._momentum_at(progress)
        for mine, theirs in _pairs(self.module.parameters(), module.parameters()):
            mine.lerp_(theirs.to(mine.dtype), weight)
        for mine, theirs in _pairs(self.module.buffers(), module.buffers()):
            mine.copy_(theirs)

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The teacher's output, without a graph."""
        return self.module(*args, **kwargs)


def _pairs(mine: Any, theirs: Any) -> list[tuple[Tensor, Tensor]]:
    left, right = list(mine), list(theirs)
    if [t.shape for t in left] != [t.shape for t in right]:
        raise ShapeError(
            "teacher and student differ",
            where="EMA.update",
            found=[tuple(t.shape) for t in right],
            expected=[tuple(t.shape) for t in left],
            fix="Pass the module that the teacher was copied from (unwrapped where DDP wraps it).",
        )
    return list(zip(left, right, strict=True))
