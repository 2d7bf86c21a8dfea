"""Methods whose keys come from a momentum teacher and, after the step, go into a queue."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from nearfar.memory import EMA, Queue
from nearfar.methods.base import Method


class TaughtMethod(Method):
    """What MoCo and its descendants share: `criterion` appends (keys, labels) to `_fresh`, in training.

    The teacher is the moving average of encoder and head, always in evaluation mode.
    """

    teacher: EMA
    queue: Queue

    def _teach(self, momentum: float, dim: int, size: int) -> None:
        """Make the teacher, of encoder and head as they are now, and a queue of so many keys of `dim` numbers."""
        self.teacher = EMA(self._student(), momentum)
        self.teacher.eval()
        self.queue = Queue(dim, size)
        self._fresh: list[tuple[Tensor, Tensor | None]] = []

    def _student(self) -> nn.Module:
        return nn.Sequential(self.encoder, self.head)

    def train(self, mode: bool = True) -> Self:
        """As nn.Module.train; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the teacher towards the student and put the step's keys into the queue."""
        self.teacher.update(self._student(), self.progress)
        for keys, labels in self._fresh:
            self.queue.enqueue(keys, labels)
        self._fresh.clear()

    def skip_step(self) -> None:
        """Forget the keys of a bad batch, which would poison the queue."""
        self._fresh.clear()
