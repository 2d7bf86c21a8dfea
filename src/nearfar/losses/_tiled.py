"""The losses of views and labels in tiles: the same formulas as their dense forms, on sums from the core."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from nearfar import parallel
from nearfar.losses._common import Rows, softplus
from nearfar.losses.core import Contrast, Exchange, Pairs, Power, bank_lse, two_sided

PLAIN = (Power(1.0, 1.0),)


def info_nce_losses(
    q: Tensor, k: Tensor, keys: Tensor | None, in_batch: bool, scale: float | Tensor, exchange: Exchange
) -> Tensor:
    """[n]: see `info_nce`. q, k and keys are ready for products."""
    q = q * scale
    if not in_batch:
        assert keys is not None
        return softplus(bank_lse(q, keys) - (q * k).sum(1))
    sums = Contrast(q, own_numbers(q), y=k, exchange=exchange).sums(1.0, PLAIN, linear=True)
    negative = sums[2] if keys is None else torch.logaddexp(sums[2], bank_lse(q, keys))
    return softplus(negative - sums[0])


def clip_losses(q: Tensor, k: Tensor, scale: float | Tensor, exchange: Exchange) -> Tensor:
    """[n]: the mean of both sides; see `clip_loss`."""
    if one_pass(exchange):
        rows, columns, _ = two_sided(q * scale, k)
        return (softplus(rows[2] - rows[0]) + softplus(columns[2] - rows[0])) / 2
    sides = [info_nce_losses(a, b, None, True, scale, exchange) for a, b in ((q, k), (k, q))]
    return (sides[0] + sides[1]) / 2


def one_pass(exchange: Exchange) -> bool:
    """Whether one sweep serves both sides; round a ring only the columns travel."""
    return exchange == "gather" or parallel.world_size() == 1


def own_numbers(x: Tensor) -> Tensor:
    """Row numbers in the world, [n]."""
    return torch.arange(len(x), device=x.device) + parallel.offset(len(x))


def groups_of(labels: Tensor, known: int = 0) -> Tensor:
    """Labels, where an unknown one (below zero) becomes a group of its own; `known`: rows numbered before these."""
    return torch.where(labels >= 0, labels, -1 - known - torch.arange(len(labels), device=labels.device))


def contrast_of(
    z: Tensor, labels: Tensor, keys: Tensor | None, key_labels: Tensor | None, exchange: Exchange
) -> Contrast:
    """Rows near by label, against the world and the keys."""
    counts = parallel.sizes(len(z))
    groups = groups_of(labels, parallel.offset(len(z), counts))
    key_groups = None if key_labels is None else groups_of(key_labels.to(labels), sum(counts))
    return Contrast(z, groups, keys=keys, key_groups=key_groups, exchange=exchange)


def supcon_losses(contrast: Contrast, scale: float, form: Literal["out", "in"]) -> tuple[Tensor, Tensor]:
    """Loss [n] of every anchor, and whether it has a positive; see `supcon`."""
    several = contrast.most_near() > 1
    linear, near, far = contrast.sums(scale, PLAIN, linear=True, near=several)
    count = contrast.numbers[0]
    valid, one = count > 0, count <= 1
    # The log-sum-exp of one positive is that positive, exactly: then nothing is left among positives.
    pull = torch.where(one, linear, near)
    losses = softplus(far - pull)
    if several:
        total = count.clamp(min=1).to(linear.dtype)
        among = pull - linear / total if form == "out" else total.log()
        losses = losses + torch.where(one, 0.0, among)
    return torch.where(valid, losses, 0.0), valid


def pair_losses(contrast: Contrast, scale: float) -> tuple[Tensor, Tensor]:
    """Mean over positives of their own cross-entropy against the negatives; see `nt_xent`, form "pair"."""
    count = contrast.numbers[0]
    valid = count > 0
    if contrast.most_near() <= 1:
        linear, _, far = contrast.sums(scale, PLAIN, linear=True)
        return torch.where(valid, softplus(far - linear), 0.0), valid
    far = contrast.sums(scale, PLAIN)[2]

    def kernel(s: Tensor, level: Tensor, pairs: Pairs) -> Tensor:
        return softplus(level[0, :, None] - s).masked_fill(~pairs.near, 0.0).sum(1)[None]

    total = contrast.pair_sums(kernel, far[None], 1, scale)[0]
    return total / count.clamp(min=1), valid


def slab_rows(rows: Rows, which: slice) -> Rows:
    """The rows of a slab, with all columns."""
    return Rows(rows.anchors[which], rows.labels[which], rows.columns, rows.column_labels, rows.own[which])


def hard_negatives(contrast: Contrast, scale: float, beta: float, tau_plus: float) -> tuple[Tensor, Tensor]:
    """See `hcl`: mean over positives p of softplus(log N_ip - s_ip)."""
    near, far = contrast.numbers
    valid = (near > 0) & (far > 0)
    powers = (Power(beta, beta), Power(1 + beta, 1 + beta)) if beta else PLAIN
    single = contrast.most_near() <= 1
    sums = contrast.sums(scale, powers, linear=single)
    weighted = sums[3] - sums[2] if beta else sums[2] - far.clamp(min=1).to(sums.dtype).log()
    weighted = torch.where(valid, weighted, 0.0)
    size = far.clamp(min=1).to(sums.dtype).log()
    if single:
        losses = debiased(weighted, size, sums[0], scale, tau_plus)
        return torch.where(valid, losses, 0.0), valid

    def kernel(s: Tensor, level: Tensor, pairs: Pairs) -> Tensor:
        terms = debiased(level[0, :, None], level[1, :, None], s, scale, tau_plus)
        return torch.where(pairs.near, terms, 0.0).sum(1)[None]

    total = contrast.pair_sums(kernel, torch.stack([weighted, size]), 1, scale)[0]
    return torch.where(valid, total / near.clamp(min=1), 0.0), valid


def debiased(weighted: Tensor, size: Tensor, s: Tensor, scale: float, tau_plus: float) -> Tensor:
    """-log( t / (t + N) ), t = e^s, N = max( e^size (e^weighted - tau_plus t) / (1 - tau_plus), e^(size - scale) ).

    In logarithms relative to t, so that nothing overflows at small temperatures.
    """
    least = -scale - s
    ratio = weighted - s
    keep = 1 - tau_plus * torch.exp(-ratio.clamp(min=-80.0))
    room = (ratio > math.log(tau_plus) if tau_plus else torch.ones_like(ratio, dtype=torch.bool)) & (keep > 0)
    log_n = ratio + torch.where(room, keep, 1.0).log() - math.log1p(-tau_plus)
    return softplus(size + torch.where(room, torch.maximum(log_n, least), least))
