"""Rows against a bank of keys, all of them rivals: sums and gradient in one pass."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from nearfar.losses.core.engine import Plan, sweep, uncompiled
from nearfar.losses.core.exponentials import exponential
from nearfar.losses.core.layout import Layout, spans, tile_rows
from nearfar.losses.core.once import first_derivative
from nearfar.losses.core.sums import TINY, Power, Wanted, nothing, shift_for

_PLAIN = Wanted(False, False, (Power(1.0, 1.0),))


def bank_lse(x: Tensor, keys: Tensor) -> Tensor:
    """log sum over k of exp(x_i . k) for rows x [n, D] and keys [K, D], or a head each: [n, H, D] and [K, H, D].

    Returns [n] or [n, H]. For keys without a gradient the one in x, the softmax-weighted mean of the keys, is summed
    beside the exponentials, so backward is one multiplication: 2 units of 2 n K D operations in all. Keys that learn
    cost 4.
    """
    if x.dim() == 3:
        return torch.stack([bank_lse(x[:, h], keys[:, h]) for h in range(x.shape[1])], dim=1)
    if keys.requires_grad:
        far = Layout(_ones(x), _ones(keys) + 1, None, None, False, tile_rows(x.device))
        return sweep(x, keys, Plan((far,), _PLAIN))[0][2]
    return cast(Tensor, _eager(x, keys))


def _ones(x: Tensor) -> Tensor:
    return torch.ones(len(x), dtype=torch.int64, device=x.device)


@uncompiled
def _eager(x: Tensor, keys: Tensor) -> Any:
    return _BankLSE.apply(x, keys)


class _BankLSE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, keys: Tensor) -> Tensor:
        x, keys = x.detach().contiguous(), keys.contiguous()
        if not len(keys):
            ctx.save_for_backward(torch.zeros_like(x))
            return x.new_full((len(x),), nothing(x.dtype))
        lse, mean = torch.empty_like(x[:, 0]), torch.empty_like(x) if ctx.needs_input_grad[0] else None
        shift, size = shift_for(x, keys, _PLAIN), tile_rows(x.device)
        for i0, i1 in spans(len(x), size):
            rows = slice(i0, i1)
            lse[rows], part = _constant(x[rows], keys, shift, size, mean is not None)
            if shift and bool((lse[rows] - shift).min() < math.log(TINY[x.dtype])):
                lse[rows], part = _online(x[rows], keys, size, mean is not None)
            if mean is not None and part is not None:
                mean[rows] = part
        if mean is not None:
            ctx.save_for_backward(mean)
        return lse

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (mean,) = ctx.saved_tensors
        return mean * grad[:, None], None


def _constant(x: Tensor, keys: Tensor, shift: float, size: int, gradient: bool) -> tuple[Tensor, Tensor | None]:
    total, pull = torch.zeros_like(x[:, 0]), torch.zeros_like(x) if gradient else None
    for j0, j1 in spans(len(keys), size):
        u = exponential(x @ keys[j0:j1].T, shift)
        total += u.sum(1)
        if pull is not None:
            pull.addmm_(u, keys[j0:j1])
    return total.log() + shift, None if pull is None else pull / total[:, None]


def _online(x: Tensor, keys: Tensor, size: int, gradient: bool) -> tuple[Tensor, Tensor | None]:
    total, pull = torch.zeros_like(x[:, 0]), torch.zeros_like(x) if gradient else None
    top = torch.full_like(total, torch.finfo(x.dtype).min / 4)
    for j0, j1 in spans(len(keys), size):
        s = x @ keys[j0:j1].T
        higher = torch.maximum(top, s.amax(1))
        kept = (top - higher).exp_()
        u = exponential(s.sub_(higher[:, None]))
        total = total * kept + u.sum(1)
        if pull is not None:
            pull = (pull * kept[:, None]).addmm_(u, keys[j0:j1])
        top = higher
    return total.log() + top, None if pull is None else pull / total[:, None]
