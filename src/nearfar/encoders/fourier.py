"""The encoder of SMCL (2025): four stages of 3 x 3 convolutions beside four of Fourier convolutions, joined."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.encoders.ffc import FFC, Activation, FourierUnit, SpectralTransform
from nearfar.errors import ConfigError, did_you_mean

__all__ = ["FFC", "FourierEncoder", "FourierUnit", "SpectralTransform", "SqueezeExcite"]

Branches = Literal["both", "cnn", "ffc"]
STAGES = 4
SMALLEST = 2**STAGES
"""pixels of a side: every stage halves it"""

_Halves = tuple[Tensor, Tensor | None]
"""local and global half of a map; the image itself has no global half"""


class SqueezeExcite(nn.Module):
    """Channel attention (Hu et al. 2018): x times a gate from its means; with `residual` x + that."""

    def __init__(self, channels: int, reduction: int, *, residual: bool) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1)
        )
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> the same shape."""
        return x * self.weights(x)

    def weights(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> positive factors [B, channels, 1, 1]."""
        gate = torch.sigmoid(self.gate(x))
        return 1 + gate if self.residual else gate


def _pooled(x: Tensor, attend: nn.Module | None) -> Tensor:
    """Channel attention, then max pooling to half the side."""
    small = F.max_pool2d(x, 2)
    # Positive factors may as well be applied after the maximum, to a quarter of the pixels.
    return small * attend.weights(x) if isinstance(attend, SqueezeExcite) else small


class FourierEncoder(nn.Module):
    """SMCL's CNN-FFC encoder: four stages a branch, joined, then one more block; images of at least 16 pixels.

    Spatial stage: two of (3x3 convolution, batch norm, ReLU), channel attention (reduction 8), max pooling. Spectral
    stage: `FFC`, channel attention of each half (reduction 4) but in the last, max pooling. Both give w, 2 w, 4 w, 4 w
    channels; joined they pass a block to 16 w.

    Args:
        in_chans: channels of the image.
        width: w, a multiple of 8.
        branches: both, or one alone.
        activation: after an FFC, relu, or identity as published.
        squeeze: channel attention. Without it the network has the published number of parameters (261,848 for three
            channels and w = 8): the published code draws its attention anew at every forward and never trains it.
        pool: features are means over pool x pool cells of the map, 16 w numbers each; published: all 4 x 4.

    Raises ConfigError for values out of range.
    """

    def __init__(
        self,
        in_chans: int,
        width: int = 8,
        branches: Branches = "both",
        activation: Activation = "relu",
        squeeze: bool = True,
        pool: int = 2,
    ) -> None:
        super().__init__()
        _check(width, branches, activation, pool)
        sizes = [in_chans, width, 2 * width, 4 * width, 4 * width]
        spatial = [_SpatialStage(i, o, squeeze) for i, o in pairwise(sizes)]
        spectral = [
            _SpectralStage(i, o, activation, first=n == 1, attend=squeeze and n < STAGES)
            for n, (i, o) in enumerate(pairwise(sizes), 1)
        ]
        self.spatial = nn.ModuleList(spatial if branches != "ffc" else [])
        self.spectral = nn.ModuleList(spectral if branches != "cnn" else [])
        used = [name for name, stages in (("spatial", self.spatial), ("spectral", self.spectral)) if len(stages)]
        self.attend = nn.ModuleDict({name: _attention(sizes[-1], 8, squeeze, residual=True) for name in used})
        self.join = _block(len(used) * sizes[-1], 16 * width)
        self.pool = pool
        self.num_features = self.head_hidden_size = 16 * width * pool * pool

    def forward_features(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> the map [B, 16 width, H // 16, W // 16]."""
        return cast(Tensor, self.join(torch.cat([maps[-1] for maps in self._branches(x)], 1)))

    def forward_intermediates(
        self, x: Tensor, indices: int | None = None, intermediates_only: bool = False
    ) -> tuple[Tensor, list[Tensor]] | list[Tensor]:
        """[B, in_chans, H, W] -> the last map, and maps of 1/2, 1/4, 1/8 of the image's side and the last (as timm's).

        indices: the last so many maps. The first three hold both branches, side by side.
        """
        pooled = self._branches(x)
        last = self.join(torch.cat([maps[-1] for maps in pooled], 1))
        found = [*(torch.cat(level, 1) for level in list(zip(*pooled, strict=True))[: STAGES - 1]), last]
        chosen = found if indices is None else found[-indices:]
        return chosen if intermediates_only else (last, chosen)

    def forward_head(self, x: Tensor) -> Tensor:
        """The map [B, 16 width, h, w] of any size -> [B, 16 width * pool * pool]."""
        return F.adaptive_avg_pool2d(x, self.pool).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] -> [B, num_features]."""
        return self.forward_head(self.forward_features(x))

    def _branches(self, x: Tensor) -> list[list[Tensor]]:
        """Of each branch the maps after each stage; the last one with channel attention."""
        if min(x.shape[-2:]) < SMALLEST:
            raise ConfigError(
                "cnn_ffc halves the image four times",
                where="encoder.size",
                found=f"{x.shape[-2]} x {x.shape[-1]} pixels",
                expected=f"at least {SMALLEST}",
            )
        x = x.contiguous(memory_format=torch.channels_last)  # a sixth less time on a CPU
        found = {"spatial": self._spatial(x), "spectral": self._spectral(x)}
        return [[*found[name][:-1], attend(found[name][-1])] for name, attend in self.attend.items()]

    def _spatial(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.spatial:
            x = stage(x)
            maps.append(x)
        return maps

    def _spectral(self, x: Tensor) -> list[Tensor]:
        maps = []
        halves: _Halves = (x, None)
        for stage in self.spectral:
            halves = stage(halves)
            maps.append(torch.cat([half for half in halves if half is not None], 1))
        return maps


class _SpatialStage(nn.Module):
    def __init__(self, inputs: int, outputs: int, attend: bool) -> None:
        super().__init__()
        self.block = _block(inputs, outputs)
        self.attend = _attention(outputs, 8, attend, residual=True)

    def forward(self, x: Tensor) -> Tensor:
        return _pooled(self.block(x), self.attend)


class _SpectralStage(nn.Module):
    def __init__(self, inputs: int, outputs: int, activation: Activation, *, first: bool, attend: bool) -> None:
        super().__init__()
        self.ffc = FFC(inputs, outputs, ratio_in=0.0 if first else 0.5, activation=activation)
        self.attend = nn.ModuleList(_attention(outputs // 2, 4, attend, residual=False) for _ in range(2))

    def forward(self, halves: _Halves) -> tuple[Tensor, Tensor]:
        local, wide = self.ffc(*halves)
        return _pooled(local, self.attend[0]), _pooled(wide, self.attend[1])


def _check(width: int, branches: str, activation: str, pool: int) -> None:
    if width < 8 or width % 8 or pool < 1:
        raise ConfigError(
            "cnn_ffc cannot be built with these options",
            where="encoder.options",
            found=f"width {width}, pool {pool}",
            expected="width a multiple of 8, pool at least 1",
        )
    for name, value, known in (
        ("branches", branches, get_args(Branches)),
        ("activation", activation, get_args(Activation)),
    ):
        if value not in known:
            raise ConfigError(
                "unknown choice",
                where=f"encoder.options.{name}",
                found=value,
                expected=", ".join(known),
                fix=did_you_mean(value, known),
            )


def _attention(channels: int, reduction: int, used: bool, *, residual: bool) -> nn.Module:
    return SqueezeExcite(channels, reduction, residual=residual) if used else nn.Identity()


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in (inputs, outputs):
        layers += [nn.Conv2d(i, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
