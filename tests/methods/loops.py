"""Ways to train a method: the plain loop, two passes over one batch, ranks that share one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from nearfar.methods.base import Batch, Method
from nearfar.train.gradcache import two_pass_step

SHARES = (slice(0, 6), slice(6, 10))
"""rows of a batch of ten on each of two ranks"""


def plain_loop(method: Method, batches: Iterable[Mapping[str, Any]], lr: float = 3e-3) -> list[float]:
    """The loop of the README; the loss of every step."""
    optimizer = torch.optim.AdamW(method.parameters(), lr=lr)
    losses = []
    for batch in batches:
        out = method.step(batch)
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.after_step()
        losses.append(float(out.loss.detach()))
    return losses


def in_double(batch: Mapping[str, Any]) -> Batch:
    return {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in batch.items()}


def assert_two_passes_equal_one(method: Method, batch: Batch, rows: int) -> None:
    """Of a batch of views, in chunks of so many rows."""
    other = copy.deepcopy(method)
    method.step(batch).loss.backward()
    two_pass_step(other, batch, rows, project=other.project, backward=torch.Tensor.backward, unsynced=nullcontext)
    for (name, one), two in zip(method.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-5, atol=1e-8, msg=name)


class _Calls(nn.Module):
    """As the engine routes a method's calls through DDP."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, name: str, batch: Batch) -> Any:
        return getattr(self.method, name)(batch)


def ddp_gradients(rank: int, method: Method, batch: Batch, chunk: int) -> dict[str, np.ndarray]:
    """By parameter, after a rank's backward of its share of the views; in two passes where `chunk` is not 0."""
    wrapped = nn.parallel.DistributedDataParallel(_Calls(method))
    share = {key: value[SHARES[rank]] for key, value in batch.items()}
    if chunk:
        two_pass_step(
            method,
            share,
            chunk,
            project=lambda part: wrapped("project", part),
            backward=torch.Tensor.backward,
            unsynced=wrapped.no_sync,
        )
    else:
        wrapped("step", share).loss.backward()
    return {name: p.grad.numpy() for name, p in method.named_parameters() if p.grad is not None}


def assert_ranks_equal_one(gradients: Iterable[Mapping[str, np.ndarray]], method: Method, batch: Batch) -> None:
    """The gradients of the ranks are those of one process with the whole batch."""
    method.step(batch).loss.backward()
    for found in gradients:
        for name, p in method.named_parameters():
            expected = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(torch.from_numpy(found[name]), expected, atol=1e-8, rtol=1e-5, msg=name)
