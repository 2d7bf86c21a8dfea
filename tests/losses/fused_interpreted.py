"""The fused kernels in Triton's interpreter against float64, run by test_fused.py in a process of its own.

Prints one JSON line a case: its name, the relative errors of value and gradients, and how many kernels ran.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.losses import clip_loss, info_nce, nt_xent, supcon
from nearfar.losses.core import Contrast, Power, fused, fused_kernels

Case = tuple[str, Callable[..., Tensor], list[Tensor]]
CALLS = {"sums": 0, "gradient": 0}


def rows(n: int, width: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(n, width), dim=1)


def with_labels(loss: Callable[..., Tensor], labels: Tensor, **options: Any) -> Callable[..., Tensor]:
    return lambda z: loss(z, labels, memory="tiled", **options)


def pair(loss: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
    return lambda a, b: loss(a, b, memory="tiled", **options)


def with_keys(q: Tensor, k: Tensor, keys: Tensor) -> Tensor:
    return info_nce(q, k, keys=keys, temperature=0.1, memory="tiled")


def every_sum(z: Tensor) -> Tensor:
    sums = Contrast(z, torch.arange(len(z)) % 3).sums(7.0, (Power(1.0, 1.0),), linear=True, near=True)
    return (sums * torch.linspace(0.5, 1.0, sums.numel(), dtype=z.dtype).view_as(sums)).sum() / sums.numel()


def cases() -> Iterator[Case]:
    for n, width in ((64, 16), (97, 20), (130, 5), (33, 1), (70, 130)):
        labels = torch.randint(0, 4, (n,))
        yield f"supcon {n} x {width}", with_labels(supcon, labels, temperature=0.1), [rows(n, width)]
        yield f"info_nce {n} x {width}", pair(info_nce, temperature=0.1), [rows(n, width), rows(n, width)]
    labels = torch.randint(0, 5, (90,))
    yield "supcon in", with_labels(supcon, labels, temperature=0.1, form="in"), [rows(90, 20)]
    yield "supcon cold", with_labels(supcon, labels, temperature=0.01), [rows(90, 20)]
    yield "info_nce cold", pair(info_nce, temperature=0.01), [rows(90, 20), rows(90, 20)]
    yield "nt_xent cold", with_labels(nt_xent, torch.arange(96) % 48, temperature=0.01), [rows(96, 20)]
    yield "clip_loss", pair(clip_loss, scale=20.0), [rows(75, 20), rows(75, 20)]
    yield "clip_loss one row", pair(clip_loss, scale=20.0), [rows(1, 20), rows(1, 20)]
    yield "one class", with_labels(supcon, torch.zeros(70, dtype=torch.int64), temperature=0.1), [rows(70, 20)]
    singles = torch.arange(70).clamp(max=66)  # all but four rows are alone
    yield "singletons", with_labels(supcon, singles, temperature=0.1), [rows(70, 20)]
    yield "unknown labels", with_labels(supcon, labels - 2, temperature=0.1), [rows(90, 20)]
    yield "keys that learn", with_keys, [rows(50, 20), rows(50, 20), rows(40, 20)]
    yield "every sum", every_sum, [rows(80, 20)]
    opposite = rows(1, 20).repeat(80, 1) * torch.tensor([1.0, -1.0]).repeat(40)[:, None]
    yield "opposite rows, cold", with_labels(supcon, torch.arange(80) % 2, temperature=0.01), [opposite]
    yield "rows that are not contiguous", with_labels(supcon, labels, temperature=0.1), [rows(90, 40)[:, ::2]]


def run(name: str, loss: Callable[..., Tensor], inputs: list[Tensor]) -> dict[str, Any]:
    before = dict(CALLS)
    value, gradients = answer(loss, [t.detach() for t in inputs])
    launches = {f"{kind}_launches": CALLS[kind] - before[kind] for kind in CALLS}
    exact, exact_gradients = answer(loss, [t.double() for t in inputs])  # kernels do not serve float64
    error = abs(float(value - exact)) / max(abs(float(exact)), 1.0)
    pulls = [float((a - b).norm() / b.norm().clamp(min=0.1)) for a, b in zip(gradients, exact_gradients, strict=True)]
    return {"name": name, "value": error, "gradient": max(pulls), **launches}


def answer(loss: Callable[..., Tensor], inputs: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
    inputs = [t.requires_grad_() for t in inputs]
    value = loss(*inputs)
    return value.detach(), torch.autograd.grad(value, inputs)


def counted(kind: str) -> Callable[..., Tensor]:
    kernel = getattr(fused_kernels, kind)

    def run_kernel(*arguments: Any) -> Tensor:
        CALLS[kind] += 1
        return kernel(*arguments)

    return run_kernel


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "available", lambda device: True)
        for kind in CALLS:
            patch.setattr(fused_kernels, kind, counted(kind))
        for case in cases():
            print(json.dumps(run(*case)), flush=True)
