"""Differences of two maps in the frequency domain: focal frequency loss, and the bounded contrast of two of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses._common import anchor_mean, embeddings, full_precision


@full_precision
def focal_frequency(x: Tensor, y: Tensor, *, alpha: float = 1.0, log: bool = False) -> Tensor:
    """Focal frequency loss (Jiang et al. 2021, eq. 9, whole images as patches) of maps x and y, [B, C, H, W] both.

        FFL = mean over b, c, u, v of w |F x - F y|^2,   w = |F x - F y|^alpha / (its largest over u, v)

    with F the orthonormal two-dimensional Fourier transform. Weights carry no gradient; alpha 0 makes them 1. `log`:
    log(1 + |F x - F y|^alpha) in the place of |F x - F y|^alpha, for spectra whose differences are of different orders.
    Not bounded and not free of scale: maps twice as large cost four times as much.
    Over ranks the mean over b is the world's.

    Raises ShapeError unless both are [B, C, H, W], ConfigError for a negative alpha.
    """
    return _mean(_each(x, y, alpha, log))


@full_precision
def spectral_contrast(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    valid: Tensor | None = None,
    margin: float = 1.0,
    alpha: float = 1.0,
    log: bool = False,
) -> Tensor:
    """Mean over b of FFL(a_b, p_b) - min(FFL(a_b, n_b), margin): alike in frequency to the positive, not the negative.

    anchor, positive, negative [B, C, H, W]; FFL is `focal_frequency` of one sample. Bounded below by -margin, where the
    form of SMCL's published code, -log10 FFL(a, n), falls without end as maps grow and is infinite for equal ones.
    valid bool [B]: False where the negative does not count; the positive still does.

    Raises ShapeError where shapes do not fit, ConfigError for a margin that is not positive or a negative alpha.
    """
    if not margin > 0:
        raise ConfigError("the margin must be positive", found=margin)
    near, far = _each(anchor, positive, alpha, log), _each(anchor, negative, alpha, log)
    repelled = far.clamp(max=margin)
    if valid is not None:
        if valid.shape != far.shape:
            raise ShapeError("one truth value a negative", found=tuple(valid.shape), expected=tuple(far.shape))
        repelled = torch.where(valid.to(far.device), repelled, 0.0)
    return _mean(near - repelled)


def _each(x: Tensor, y: Tensor, alpha: float, log: bool) -> Tensor:
    """[B]: the loss of each sample."""
    if x.dim() != 4 or x.shape != y.shape:
        raise ShapeError(
            "two maps of one shape are compared",
            found=f"{tuple(x.shape)} and {tuple(y.shape)}",
            expected="[B, C, H, W] both",
        )
    if not alpha >= 0:
        raise ConfigError("the exponent of the weights must not be negative", found=alpha)
    difference = embeddings(x, normalize=False) - embeddings(y, normalize=False)
    power = torch.view_as_real(torch.fft.fft2(difference, norm="ortho")).square().sum(-1)
    return (_weights(power.detach(), alpha, log) * power).mean((1, 2, 3))


def _weights(power: Tensor, alpha: float, log: bool) -> Tensor:
    raw = power.sqrt().pow(alpha)
    raw = raw.log1p() if log else raw
    return raw / raw.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(raw.dtype).tiny)


def _mean(losses: Tensor) -> Tensor:
    return anchor_mean(losses, torch.ones_like(losses, dtype=torch.bool), "focal frequency")


class FocalFrequency(nn.Module):
    """Module twin of `focal_frequency`."""

    def __init__(self, *, alpha: float = 1.0, log: bool = False) -> None:
        super().__init__()
        self.alpha, self.log = alpha, log

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """See `focal_frequency`."""
        return focal_frequency(x, y, alpha=self.alpha, log=self.log)


class SpectralContrast(nn.Module):
    """Module twin of `spectral_contrast`."""

    def __init__(self, *, margin: float = 1.0, alpha: float = 1.0, log: bool = False) -> None:
        super().__init__()
        self.margin, self.alpha, self.log = margin, alpha, log

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor, valid: Tensor | None = None) -> Tensor:
        """See `spectral_contrast`."""
        return spectral_contrast(
            anchor, positive, negative, valid=valid, margin=self.margin, alpha=self.alpha, log=self.log
        )
