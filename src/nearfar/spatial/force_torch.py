"""Force histograms of batches of tensors, on any device, differentiable in both masks: FFT, then weights."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import DataError
from nearfar.spatial.force_options import ForceOptions
from nearfar.spatial.force_plan import (
    NearCells,
    Plan,
    make_plan,
    near_weights,
    near_weights_uncut,
    plan_reach,
    plan_size,
)

CHUNK = 4
"""Pairs at a time on a CPU, so that what is gathered stays in its cache."""


class _Buffers(NamedTuple):
    """A plan's arrays on a device."""

    indices: Tensor
    blocks: list[tuple[int, Tensor]]
    expand: Tensor
    cells: NearCells
    r: Tensor
    uncut: Tensor
    diverges: Tensor
    order: Tensor


def check_mask(mask: Tensor, name: str) -> Tensor:
    """The mask; raises a DataError for values that are no memberships and for an empty mask."""
    if mask.is_complex() or mask.numel() == 0:
        raise DataError(f"mask {name} holds no numbers", found=f"{mask.dtype} {tuple(mask.shape)}")
    values = mask.detach()
    low, high = (float(value) for value in (values.min(), values.max()))
    if not (low >= 0 and high <= 1):  # NaN fails as well
        found = "NaN" if math.isnan(low) else f"{low:g} to {high:g}"
        fix = "Divide 8-bit masks by 255." if high == 255 else None
        raise DataError(f"mask {name} holds values that are no memberships", found=found, expected="0 to 1", fix=fix)
    full = (values > 0).flatten(-2).any(-1)
    if not bool(full.all()):
        where = (~full).nonzero()[0].tolist()
        raise DataError(f"mask {name}{where or ''} is empty: it has no position to speak of")
    return mask


@functools.lru_cache(maxsize=16)
def _buffers(plan: Plan, side: int, device: torch.device, dtype: torch.dtype) -> _Buffers:
    indices = (-plan.y % side) * side + plan.x % side
    weights, diverges = (x.reshape(len(plan.x), -1, plan.r.size) for x in near_weights_uncut(plan))

    def put(array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array).to(device, dtype)

    return _Buffers(
        indices=torch.as_tensor(indices).to(device),
        blocks=[(b.start, put(b.weights)) for b in plan.blocks],
        expand=put(plan.expand),
        cells=NearCells(*map(put, plan.cells)),
        r=put(plan.r),
        uncut=put(weights),
        diverges=put(diverges),
        order=torch.as_tensor(plan.order).to(device),
    )


def _is_crisp(a: Tensor, b: Tensor) -> bool:
    return all(m.dtype == torch.bool or bool(((m == 0) | (m == 1)).all()) for m in (a.detach(), b.detach()))


def _correlate(a: Tensor, b: Tensor, side: int, dtype: torch.dtype) -> Tensor:
    """C[d] = sum_p a(p + d) b(p) with d = (rows down, columns right) wrapped round: [B, side * side].

    In single precision where that is exact and `dtype` is no wider for the sake of gradients.
    """
    crisp = _is_crisp(a, b)
    # Single precision rounds counts right up to 256 pixels; grey masks and exact gradients need double.
    rounds = crisp and side <= 512 and not (dtype == torch.float64 and (a.requires_grad or b.requires_grad))
    working = torch.float32 if rounds else torch.float64
    a, b = a.to(working), b.to(working)
    size = (side, side)
    c = torch.fft.irfft2(torch.fft.rfft2(a, size) * torch.fft.rfft2(b, size).conj(), size)
    # Remove the rounding of the transform in the value alone: its gradient is exact also where C is 0.
    noise = c.detach()
    if crisp:
        clean = noise.round()
    else:
        level = 1e-14 * torch.linalg.vector_norm(a, dim=(1, 2)) * torch.linalg.vector_norm(b, dim=(1, 2))
        clean = torch.where(noise > level[:, None, None].detach(), noise, torch.zeros_like(noise))
    exact: Tensor = c + (clean - noise) if c.requires_grad else clean
    return exact.flatten(1)


def _apply(plan: Plan, buffers: _Buffers, c: Tensor, rho_min: Tensor, options: ForceOptions, far: int) -> Tensor:
    """[B, len(r), directions] from correlations [B, side * side]."""
    batch, octants, near = len(c), len(plan.x), 4 * plan.near
    indices = buffers.indices[..., : near + far]
    # Counts are read as they are and widened then: half the memory to jump about in.
    mass = c.index_select(1, indices.flatten()).to(buffers.r.dtype).view(batch, octants, 8, near + far)
    close = mass[..., :near]
    if options.policy == "cutoff":
        cut = rho_min[:, None, None].to(buffers.r.dtype)
        weights = near_weights(buffers.cells, buffers.r, cut, torch).flatten(2, 3)
    else:
        weights = buffers.uncut
    by_octant = mass[..., near:].transpose(0, 1).reshape(octants, batch * 8, far)
    parts = [(by_octant[..., start : start + block.shape[1]], block) for start, block in buffers.blocks]
    total, *nodes = (part @ block[:, : part.shape[-1]] for part, block in parts)
    if nodes:
        total = total + torch.cat(nodes, -1) @ buffers.expand
    result = torch.add(close @ weights, total.view(octants, batch, 8, -1).transpose(0, 1))
    if options.policy == "inf":
        result = result.masked_fill(close.detach() @ buffers.diverges > 0, float("inf"))
    return result.reshape(batch, octants * 8, -1)[:, buffers.order].transpose(1, 2)


def raw_banner(a: Tensor, b: Tensor, rho_min: Tensor, options: ForceOptions) -> Tensor:
    """F_r(theta) of masks [B, H, W] with cut-offs [B] in pixels: [B, len(r), directions], pixels^(3 - r)."""
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    if not (a.is_floating_point() or b.is_floating_point()):
        dtype = torch.get_default_dtype()
    dtype = torch.float64 if options.needs_double else dtype
    longest = max(a.shape[1:]) - 1
    reach = plan_reach(float(rho_min.detach().max())) if options.policy == "cutoff" else 1.0
    double = dtype == torch.float64  # in single precision interpolation would lose digits
    plan = make_plan(plan_size(longest), options.directions, options.r, options.sub_angles, reach, double)
    side = scipy.fft.next_fast_len(2 * plan.n, True)
    buffers = _buffers(plan, side, a.device, dtype)
    far = plan.far_within(longest)
    chunk = CHUNK if a.device.type == "cpu" else len(a)
    with torch.autocast(a.device.type, enabled=False):
        parts = [
            _apply(plan, buffers, _correlate(p, q, side, dtype), cut, options, far)
            for p, q, cut in zip(*(torch.split(x, chunk) for x in (a, b, rho_min)), strict=True)
        ]
    return torch.cat(parts)
