"""Local binary patterns of tensors where they are, in float64 and eagerly.

Never compiled: a compiler fuses multiplications into additions, which changes codes at ties (see `texture_blocks`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.spatial.texture_blocks import Backend, texture_of_planes
from nearfar.spatial.texture_plan import Plan


def backend(device: torch.device) -> Backend:
    """Blocks that fit the cache of a CPU, or that fill an accelerator within about 2 GB."""
    block_size = 1 << (16 if device.type == "cpu" else 24)
    return Backend(
        torch,
        lambda array: torch.from_numpy(array).to(device),
        lambda shape: torch.zeros(shape, dtype=torch.float64, device=device),
        block_size,
    )


@torch.compiler.disable  # type: ignore[untyped-decorator]
@torch.no_grad()
def fill(images: Tensor, out: Tensor, plan: Plan, method: str) -> None:
    """`texture_of_planes` for tensors [N, H, W] on one device."""
    texture_of_planes(images, out, plan, method, backend(images.device))
