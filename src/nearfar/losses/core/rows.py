"""What is done to all rows before and after the tiles, with one new [n, D] tensor a step.

Fresh memory costs a CPU more than the arithmetic here: autograd's backward of x / |x| fills nine such tensors.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from nearfar.losses.core.layout import spans

EPS = 1e-12
"""length below which a row is divided by this in its place, as in F.normalize"""
SMALL = 2**16
"""numbers up to which F.normalize is as fast"""
CHUNK = 256
"""rows whose temporaries stay in the cache"""


def unit_rows(z: Tensor) -> Tensor:
    """z [..., D] with rows of unit length: F.normalize, and its gradient without temporaries of z's size."""
    if z.numel() <= SMALL or z.device.type != "cpu" or not z.requires_grad or transformed():
        return F.normalize(z, dim=-1, eps=EPS)
    return cast(Tensor, _Unit.apply(z))


def transformed() -> bool:
    """Whether torch.compile, torch.func or forward-mode differentiation is at work, all of which know F.normalize."""
    if torch.compiler.is_compiling():
        return True
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        unit = F.normalize(z, dim=-1, eps=EPS)
        ctx.save_for_backward(z, unit)
        return unit

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        z, unit = ctx.saved_tensors
        again = torch.is_grad_enabled()  # a second derivative is wanted
        if again or transformed() or torch._C._functorch.is_legacy_batchedtensor(grad):
            with torch.enable_grad():
                u = F.normalize(z, dim=-1, eps=EPS)
            return cast(Tensor, torch.autograd.grad(u, z, grad, create_graph=again)[0])
        flat = grad.reshape(-1, z.shape[-1])
        return _unit_gradient(z.reshape(flat.shape), unit.reshape(flat.shape), flat).view(z.shape)


def _unit_gradient(z: Tensor, unit: Tensor, grad: Tensor) -> Tensor:
    """(g - u (u.g)) / |z|; a row shorter than EPS has no direction to keep, so its part along u stays."""
    out = torch.empty_like(grad, memory_format=torch.contiguous_format)
    for a, b in spans(len(z), CHUNK):
        length = torch.linalg.vector_norm(z[a:b], dim=1, keepdim=True)
        along = (unit[a:b] * grad[a:b]).sum(1, keepdim=True).mul_(length > EPS)
        torch.addcmul(grad[a:b], unit[a:b], along, value=-1, out=out[a:b])
        out[a:b] /= length.clamp_(min=EPS)
    return out


def in_order(x: Tensor, order: Tensor, factor: float = 1.0) -> Tensor:
    """factor * x[order] for rows x [n, D] and a permutation `order` [n]."""
    return cast(Tensor, _InOrder.apply(x, order, factor))


class _InOrder(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, factor: float) -> Tensor:
        # Not saved for one backward pass: rows are put in order once for several losses.
        ctx.order, ctx.factor = order, factor
        return _scaled(x.index_select(0, order), factor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _scaled(grad.index_select(0, inverse_order(ctx.order)), ctx.factor), None, None


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x.mul_(factor)


def inverse_order(order: Tensor) -> Tensor:
    """The permutation that undoes `order` [n]."""
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return back
