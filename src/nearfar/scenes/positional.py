"""Coordinates as sines and cosines of rising frequency, so that a small network can follow fine detail."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def coordinate_code(x: Tensor, octaves: int) -> Tensor:
    """[..., C] -> [..., C (1 + 2 octaves)]: of each coordinate c: c, sin c, cos c, sin 2c, cos 2c, sin 4c, ...

    All values of a coordinate stand together, as in the published point renderer (PAPR, NeurIPS 2023; SMCL); radiance
    fields order them by frequency instead. Backward keeps nothing but the result.
    """
    code: Tensor = _Code.apply(x, octaves)
    return code.flatten(-2)


def code_size(coordinates: int, octaves: int) -> int:
    """How many values `coordinate_code` gives."""
    return coordinates * (1 + 2 * octaves)


def _frequencies(like: Tensor, octaves: int) -> Tensor:
    return 2.0 ** torch.arange(octaves, dtype=like.dtype, device=like.device)


class _Code(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, octaves: int) -> Tensor:
        angles = x[..., None] * _frequencies(x, octaves)
        out = x.new_empty(*x.shape, 1 + 2 * octaves)
        out[..., 0] = x
        out[..., 1::2] = angles.sin()
        out[..., 2::2] = angles.cos_()
        ctx.save_for_backward(out)
        ctx.octaves = octaves
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (out,) = gradients, ctx.saved_tensors
        turned = gradient[..., 1::2] * out[..., 2::2]
        turned.addcmul_(gradient[..., 2::2], out[..., 1::2], value=-1)
        return gradient[..., 0] + turned @ _frequencies(out, ctx.octaves), None
