"""The published evidential loss in tiles: sums of negatives by symmetric sweeps, ranks inside the blocks of a class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nearfar import parallel
from nearfar.errors import ConfigError
from nearfar.losses._common import one_of
from nearfar.losses._evidential_tiled import Inputs
from nearfar.losses._tiled import contrast_of, own_numbers
from nearfar.losses.core import Contrast, Pairs, Power, Terms

RankCurriculum = Literal["exp", "tanh", "none"]


@dataclass(frozen=True)
class Settings:
    """The arguments of `reference` under their own names; last: ranks are divided by n - 1, not by n (`later`)."""

    progress: float
    curriculum: RankCurriculum = "exp"
    rank_scope: Literal["row", "class"] = "row"
    self_is_negative: bool = True
    detach_beta: bool = False
    eps: float | None = None
    last: bool = False

    def __post_init__(self) -> None:
        one_of("curriculum", self.curriculum, ("exp", "tanh", "none"))
        one_of("rank_scope", self.rank_scope, ("row", "class"))
        if not 0 <= self.progress <= 1:
            raise ConfigError("progress is the share of the run that is done", found=self.progress, expected="0 to 1")
        if self.eps is not None and not 0 < self.eps < 1:
            raise ConfigError("eps must be in (0, 1)", found=self.eps, fix="Pass None to take the clamps out.")

    @property
    def flat(self) -> bool:
        """Whether all ranks weigh the same."""
        return self.curriculum == "none" or self.progress == 0

    def curve(self, share: Tensor) -> Tensor:
        """Lambda of rank / size."""
        if self.curriculum == "none":
            return torch.ones_like(share)
        x = self.progress * share
        return 1 + (torch.exp(-x) if self.curriculum == "exp" else torch.tanh(x))


def ranks(u: Tensor) -> Tensor:
    """Place of every entry in its row, 0 for the largest, ties by column; [n, m], of u's dtype."""
    order = u.argsort(dim=1, descending=True, stable=True)
    place = torch.arange(u.shape[1], device=u.device, dtype=u.dtype).expand_as(u)
    return torch.empty_like(u).scatter_(1, order, place)


def reference_blocks(inputs: Inputs, settings: Settings, scale: float) -> tuple[Tensor, Tensor]:
    """Loss [n] of every anchor and whether it has a positive and a negative, where no clamp acts; see `reference`."""
    x, ids = inputs.x, inputs.ids
    contrast = contrast_of(x, inputs.labels, None, None, "gather")
    near, far = contrast.numbers
    log_n = _log_negatives(contrast, x, settings, scale)
    valid = (near > 0) & ((far > 0) | settings.self_is_negative)
    column_ids, numbers = parallel.gather(ids), own_numbers(x)
    centre = torch.zeros_like(log_n) if settings.flat else _centre(x)
    size = near + 1 if settings.rank_scope == "class" else torch.full_like(near, len(contrast.world))
    most = math.inf if settings.eps is None else -math.log(settings.eps)

    def terms(s: Tensor, level: Tensor, pairs: Pairs) -> Terms:
        """x = log N - log w - s at near pairs, each of weight 1."""
        itself = numbers[pairs.rows, None] == pairs.columns[None]
        log_w = _block_weights(s / scale, level[1], pairs.near, itself, size[pairs.rows], settings)
        log_w.masked_fill_(ids[pairs.rows, None] == column_ids[None, pairs.columns], 1.0).log_()
        return Terms(pairs.near.to(s.dtype), log_w.add_(s).neg_().add_(level[0, :, None]))

    level = torch.stack([torch.where(valid, log_n, 0.0), centre])
    total = contrast.softplus_sums(terms, level, scale, most=most, whole=True)[1]
    return total / (near.clamp(min=1) + (settings.eps or 0.0)), valid


def _log_negatives(contrast: Contrast, x: Tensor, settings: Settings, scale: float) -> Tensor:
    """log N_i: with t in logarithms, the log-sum-exp of 2 s less that of s."""
    once = Power(1.0, 0.0 if settings.detach_beta else 1.0)
    twice = Power(2.0, 1.0 if settings.detach_beta else 2.0)
    sums = contrast.sums(scale, (once, twice))
    first, second = sums[2], sums[3]
    if settings.self_is_negative:
        own = scale * (x * x).sum(1)
        beta = own.detach() if settings.detach_beta else own
        first, second = torch.logaddexp(first, beta), torch.logaddexp(second, own + beta)
    return second - first


@torch.no_grad()
def _centre(x: Tensor) -> Tensor:
    """c* = (LSE_j c_ij - LSE_j -c_ij) / 2 over all columns, c_ii = 0; [n]."""
    others = Contrast(x, own_numbers(x)).sums(1.0, (Power(1.0, 0.0), Power(-1.0, 0.0)))
    up, down = others[2], others[3]
    zero = torch.zeros_like(up)
    return (torch.logaddexp(up, zero) - torch.logaddexp(down, zero)) / 2


def _block_weights(
    cosine: Tensor, centre: Tensor, near: Tensor, itself: Tensor, size: Tensor, settings: Settings
) -> Tensor:
    """Lambda [h, w] at near pairs. All of a row's class is in the slab, and nothing outside it has a rank."""
    if settings.flat:
        return torch.full_like(cosine, settings.curve(cosine.new_zeros(())).item())
    away = distance(cosine.masked_fill(itself, 0.0), centre)
    return settings.curve(_rising_ranks(away.masked_fill_(~(near | itself), math.inf)) / size[:, None])


def distance(cosine: Tensor, centre: Tensor) -> Tensor:
    """|c - c*| [h, w] in whole steps coarser than rounding, so that equal pairs tie however they were summed."""
    step = 2.0**-20 if cosine.dtype == torch.float32 else 2.0**-40
    return (cosine - centre[:, None]).abs_().div_(step).round_()


def _rising_ranks(x: Tensor) -> Tensor:
    """ranks(-x) for x >= 0 [n, m]. The bits of a positive float rise with it: packed before the column they make whole
    numbers of one order, ties by column included, which NumPy sorts an order of magnitude faster than PyTorch."""
    if x.dtype != torch.float32 or x.device.type != "cpu":
        return ranks(-x)
    columns = torch.arange(x.shape[1], device=x.device)
    packed = (x.contiguous().view(torch.int32).to(torch.int64) << 32).bitwise_or_(columns)
    packed.numpy().sort(axis=1)
    return torch.empty_like(x).scatter_(1, packed.bitwise_and_(2**32 - 1), columns.to(x.dtype).expand_as(x))
