"""The network of a conditional field: residual layers that read a point's code, and a latent of each source view."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OUTPUTS = 4
"""red, green, blue, density, before their bounds"""


def frequency_code(x: Tensor, octaves: int, base: float = 1.5) -> Tensor:
    """[..., C] -> [..., C (1 + 2 octaves)]: x, sin(f0 x), cos(f0 x), sin(f1 x), ..., f_i = base 2^i.

    All coordinates of a frequency stand together, as in pixelNeRF (Yu et al., CVPR 2021) and SMCL's view synthesizer;
    `nearfar.scenes.positional` orders them by coordinate instead.
    """
    frequencies = base * 2.0 ** torch.arange(octaves, dtype=x.dtype, device=x.device)
    angles = x[..., None, :] * frequencies[:, None]
    return torch.cat([x, torch.stack([angles.sin(), angles.cos()], dim=-2).flatten(-3)], dim=-1)


class ResnetFC(nn.Module):
    """h = W_in x; in block k: h += W_k z if k < `conditioned`, then h += fc1(relu(fc0(relu h))); out = W_out relu(h).

    Behind the conditioned blocks the mean over the source views goes on. fc1 starts at zero, so every block starts as
    the identity. Source: pixelNeRF (Yu et al., CVPR 2021); 2,848,772 parameters at 42 inputs, latent 128, width 512,
    5 blocks, 3 of them conditioned.
    """

    def __init__(self, inputs: int, latent: int, width: int, blocks: int, conditioned: int) -> None:
        super().__init__()
        self.enter = _linear(inputs, width)
        self.read = nn.ModuleList(_linear(latent, width) for _ in range(conditioned))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.leave = _linear(width, OUTPUTS)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Codes [B, V or 1, M, inputs] of M points and latents [B, V, M or 1, latent] of V views -> [B, M, 4]."""
        h = self.enter(x)
        for k, block in enumerate(self.blocks):
            if k < len(self.read):
                h = h + self.read[k](z)
            elif k == len(self.read):
                h = h.mean(dim=1)
            h = block(h)
        if len(self.read) == len(self.blocks):
            h = h.mean(dim=1)
        return cast(Tensor, self.leave(F.relu(h)))


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Tensor) -> Tensor:
        return cast(Tensor, h + self.second(F.relu(self.first(F.relu(h)))))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight, a=0, mode="fan_in")
    nn.init.zeros_(layer.bias)
    return layer
