"""An encoder of two branches: convolutions over neighbouring pixels, and convolutions over the image's spectrum.

Fast Fourier convolution (Chi, Jiang & Mu 2020): a 1 x 1 convolution on the spectrum sees the whole image at once. The
encoder of SMCL (2025) sets four such stages beside four of 3 x 3 convolutions and joins both.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.errors import ConfigError, did_you_mean

Branches = Literal["both", "cnn", "ffc"]
Activation = Literal["relu", "identity"]
STAGES = 4
SMALLEST = 2**STAGES
"""pixels of a side: every stage halves it"""

_Halves = tuple[Tensor, Tensor | None]
"""local and global half of a map; the image itself has no global half"""


class FourierUnit(nn.Module):
    """Convolution, batch norm and ReLU on the spectrum: [B, inputs, H, W] -> [B, outputs, H, W], any H and W.

    Real and imaginary part of channel c are channels 2 c and 2 c + 1 of the spectrum (orthonormal rfft2). The transform
    is in float32 or better whatever the autocast.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * inputs, 2 * outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        full = x.to(torch.promote_types(x.dtype, torch.float32))
        spectrum = torch.view_as_real(torch.fft.rfft2(full, norm="ortho"))  # [B, C, H, W // 2 + 1, 2]
        y = F.relu(self.norm(self.conv(spectrum.permute(0, 1, 4, 2, 3).flatten(1, 2))))
        batch, channels, height, width = y.shape
        parts = y.to(full.dtype).view(batch, channels // 2, 2, height, width).permute(0, 1, 3, 4, 2).contiguous()
        back = torch.fft.irfft2(torch.view_as_complex(parts), s=x.shape[-2:], norm="ortho")
        return cast(Tensor, back)


class SpectralTransform(nn.Module):
    """W2 (u + FU(u) + LFU(u)) with u = ReLU(BN(W1 x)) of half the outputs; [B, inputs, H, W] -> [B, outputs, H, W].

    LFU, the local Fourier unit, is a Fourier unit on the four quadrants of the first quarter of u's channels, side by
    side as channels; its result is repeated over the quadrants. An odd side is padded by its edge for it. `outputs` is
    a multiple of 8 with `local`, otherwise of 2.
    """

    def __init__(self, inputs: int, outputs: int, *, local: bool = True) -> None:
        super().__init__()
        multiple = 8 if local else 2
        if outputs < multiple or outputs % multiple:
            raise ConfigError(
                "a spectral transform cannot divide its channels",
                found=f"{outputs} outputs",
                expected=f"a multiple of {multiple}",
            )
        half = outputs // 2
        self.squeeze = nn.Sequential(nn.Conv2d(inputs, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU())
        self.whole = FourierUnit(half, half)
        self.local = FourierUnit(half, half) if local else None
        self.spread = nn.Conv2d(half, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        u = self.squeeze(x)
        y = u + self.whole(u)
        if self.local is not None:
            y = y + _by_quadrants(self.local, u[:, : u.shape[1] // 4])
        return cast(Tensor, self.spread(y))


def _by_quadrants(unit: FourierUnit, x: Tensor) -> Tensor:
    """`unit` on the quadrants of x [B, C, H, W] as [B, 4 C, ...], its result repeated to H x W."""
    height, width = x.shape[-2:]
    even = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate") if height % 2 or width % 2 else x
    quarters = torch.cat(even.chunk(2, -2), 1)
    quarters = torch.cat(quarters.chunk(2, -1), 1)
    return cast(Tensor, unit(quarters)).repeat(1, 1, 2, 2)[..., :height, :width]


class FFC(nn.Module):
    """Fast Fourier convolution with kernel 1: local and global channels, each made of both.

        y_l = act(BN(W_ll x_l + W_gl x_g)),   y_g = act(BN(W_lg x_l + S(x_g)))

    S is the spectral transform. `ratio_in` and `ratio_out` are the global shares of `inputs` and `outputs`; with
    `ratio_in` 0 there is no x_g. `activation`: relu, or identity as in SMCL's published code.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        ratio_in: float = 0.5,
        ratio_out: float = 0.5,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        seen, wide = int(inputs * ratio_in), int(outputs * ratio_out)
        self.local_local = _pointwise(inputs - seen, outputs - wide)
        self.local_global = _pointwise(inputs - seen, wide)
        self.global_local = _pointwise(seen, outputs - wide) if seen else None
        self.global_global = SpectralTransform(seen, wide) if seen else None
        self.norm_local, self.norm_global = nn.BatchNorm2d(outputs - wide), nn.BatchNorm2d(wide)
        self.activation = nn.ReLU() if activation == "relu" else nn.Identity()

    def forward(self, local: Tensor, wide: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x_l [B, l, H, W] and x_g [B, g, H, W] -> y_l, y_g of the same H and W."""
        y_local, y_global = self.local_local(local), self.local_global(local)
        if wide is not None and self.global_local is not None and self.global_global is not None:
            y_local, y_global = y_local + self.global_local(wide), y_global + self.global_global(wide)
        return self.activation(self.norm_local(y_local)), self.activation(self.norm_global(y_global))


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


def _pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)
