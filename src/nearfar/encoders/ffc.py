"""Fast Fourier convolution (Chi, Jiang & Mu 2020): a 1 x 1 convolution on the spectrum sees the whole image at once."""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.errors import ConfigError

Activation = Literal["relu", "identity"]


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


def _pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False)
