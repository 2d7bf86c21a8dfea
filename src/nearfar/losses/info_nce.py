"""Contrast of views without labels: InfoNCE, the two-sided CLIP form, and NT-Xent for any number of views."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from nearfar import parallel
from nearfar.errors import ConfigError
from nearfar.losses._common import (
    Rows,
    anchor_mean,
    check_keys,
    check_pair,
    embeddings,
    flatten_views,
    full_precision,
    inverse,
    masked_lse,
    one_of,
    softplus,
    world_rows,
)
from nearfar.losses._tiled import clip_losses, contrast_of, info_nce_losses, pair_losses, supcon_losses
from nearfar.losses.core import Exchange, Memory, tiled
from nearfar.losses.relations import Relations, related_losses, related_sides
from nearfar.losses.supcon import supcon_rows

NTXentForm = Literal["pair", "out", "in"]


@full_precision
def info_nce(
    z0: Tensor,
    z1: Tensor,
    *,
    temperature: float = 0.1,
    keys: Tensor | None = None,
    in_batch: bool = True,
    relations: Relations | None = None,
    normalize: bool = True,
    memory: Memory = "auto",
    exchange: Exchange = "gather",
) -> Tensor:
    """One-sided InfoNCE: each row of z0 [N, D] finds its own row of z1 [N, D].

        l_i = -log( exp(z0_i.z1_i / T) / (exp(z0_i.z1_i / T) + sum over negatives k of exp(z0_i.k / T)) )

    Negatives are the other rows of z1 on all ranks (van den Oord et al. 2018, eq. 4) and `keys` [K, D], a queue that
    is the same on every rank; `in_batch=False` leaves the keys alone, which is MoCo's form (He et al. 2020, eq. 1).
    relations: false negatives, several positives or soft targets among the rows of z1; see `Relations`.
    memory, exchange: see `nearfar.losses`.
    Raises ShapeError where shapes do not fit, ConfigError for a temperature that is not positive.
    """
    check_pair(z0, z1)
    if keys is None and not in_batch:
        raise ConfigError("nothing to contrast with", found="in_batch=False and no keys", fix="Pass keys.")
    q, k = embeddings(z0, normalize), embeddings(z1, normalize)
    if keys is not None:
        check_keys(z0, keys)
        keys = embeddings(keys, normalize).to(q)
    everyone = torch.ones(len(q), dtype=torch.bool, device=q.device)
    in_tiles = tiled(memory, exchange, q, keys)
    if relations is not None:
        if not in_batch:
            raise ConfigError("relations are among the rows of a batch", found="in_batch=False", fix="Leave them out.")
        known = relations.checked(q, exchange)
        losses = related_losses(q * inverse(temperature), k, keys, known, in_tiles, exchange)
        return anchor_mean(losses, everyone, "InfoNCE")
    if in_tiles:
        losses = info_nce_losses(q, k, keys, in_batch, inverse(temperature), exchange)
        return anchor_mean(losses, everyone, "InfoNCE")
    counts = parallel.sizes(len(q))
    columns = parallel.gather(k, counts) if in_batch else k[:0]
    own = torch.arange(len(q), device=q.device) + (parallel.offset(len(q), counts) if in_batch else 0)
    if keys is not None:
        columns = torch.cat([columns, keys])
    if not in_batch:
        own = torch.full_like(own, -1)
    losses = _info_nce_rows(q, k, columns, own, inverse(temperature))
    return anchor_mean(losses, everyone, "InfoNCE")


def _info_nce_rows(q: Tensor, positive: Tensor, columns: Tensor, own: Tensor, scale: float | Tensor) -> Tensor:
    """[n]: q [n, D] against its positive [n, D] and the columns [m, D] except its own one (own [n], -1: none)."""
    negative = own[:, None] != torch.arange(len(columns), device=own.device)[None]
    return softplus(masked_lse(q @ columns.T * scale, negative) - (q * positive).sum(1) * scale)


@full_precision
def clip_loss(
    z0: Tensor,
    z1: Tensor,
    *,
    scale: float | Tensor,
    relations: Relations | None = None,
    label_smoothing: float = 0.0,
    normalize: bool = True,
    memory: Memory = "auto",
    exchange: Exchange = "gather",
) -> Tensor:
    """Two-sided InfoNCE, the mean of z0 -> z1 and z1 -> z0 (Radford et al. 2021, figure 3); z0 and z1 are [N, D].

    `scale` multiplies the cosines (1 / temperature) and may be a scalar tensor that learns; see `CLIPLoss`.
    relations: false negatives, several positives or soft targets, on both sides; see `Relations`.
    label_smoothing: e in 0..1, the share of the target that is spread evenly over all N rows of the world, as in
    torch's cross-entropy: e (s_ii - mean over j of s_ij) is added to each anchor's loss, whatever the relations.
    memory, exchange: see `nearfar.losses`.
    Raises ShapeError where shapes do not fit, ConfigError for a number that is not positive or a share out of range.
    """
    check_pair(z0, z1)
    if not isinstance(scale, Tensor) and not scale > 0:
        raise ConfigError("the scale must be positive", found=scale)
    if not 0 <= label_smoothing <= 1:
        raise ConfigError("label smoothing is a share", found=label_smoothing, expected="0 to 1")
    q, k = embeddings(z0, normalize), embeddings(z1, normalize)
    everyone = torch.ones(len(q), dtype=torch.bool, device=q.device)
    losses = _clip_rows(q, k, scale, relations, memory, exchange)
    if label_smoothing:
        losses = losses + label_smoothing * _smoothing(q, k) * scale
    return anchor_mean(losses, everyone, "CLIP")


def _clip_rows(
    q: Tensor, k: Tensor, scale: float | Tensor, relations: Relations | None, memory: Memory, exchange: Exchange
) -> Tensor:
    """[n]: the mean of both sides."""
    in_tiles = tiled(memory, exchange, q)
    if relations is not None:
        return related_sides(q * scale, k, relations.checked(q, exchange), in_tiles, exchange)
    if in_tiles:
        return clip_losses(q, k, scale, exchange)
    counts = parallel.sizes(len(q))
    own = torch.arange(len(q), device=q.device) + parallel.offset(len(q), counts)
    forth = _info_nce_rows(q, k, parallel.gather(k, counts), own, scale)
    back = _info_nce_rows(k, q, parallel.gather(q, counts), own, scale)
    return (forth + back) / 2


def _smoothing(q: Tensor, k: Tensor) -> Tensor:
    """[n]: by how much the own cosine exceeds the mean over the world, of both sides."""
    count = sum(parallel.sizes(len(q)))
    mean = parallel.gather(torch.stack([q.sum(0), k.sum(0)])[None]).sum(0) / count
    return (q * k).sum(1) - (k @ mean[0] + q @ mean[1]) / 2


@full_precision
def nt_xent(
    z: Tensor,
    ids: Tensor | None = None,
    *,
    temperature: float = 0.1,
    form: NTXentForm = "pair",
    normalize: bool = True,
    memory: Memory = "auto",
    exchange: Exchange = "gather",
) -> Tensor:
    """NT-Xent (Chen et al. 2020, eq. 1) for any number of views; rows with the same id are positives.

    z [N, D] with ids [N], or [B, V, D] with ids [B] (default: every leading row its own). The sum over anchors i and
    their positives p, with t_ij = exp(z_i.z_j / T), is named by `form`; with two views the three are equal:

    - "pair": mean over p of -log( t_ip / (t_ip + sum over other ids of t_ik) ); positives do not compete.
    - "out": mean over p of -log( t_ip / sum over all k but i of t_ik ); SupCon's L_out with ids as labels.
    - "in": -log( mean over p of t_ip / sum over all k but i of t_ik ); SupCon's L_in.

    Ids are compared across ranks, so use dataset indices, or leave them out. A negative id is unknown: it has no
    positive. memory, exchange: see `nearfar.losses`. Raises ShapeError where shapes do not fit, ConfigError for an
    unknown form.
    """
    one_of("form", form, ("pair", "out", "in"))
    if ids is None:
        if z.dim() != 3:
            raise ConfigError("two-dimensional embeddings need ids", found=tuple(z.shape), fix="Pass [B, V, D] or ids.")
        ids = torch.arange(len(z), device=z.device) + parallel.offset(len(z))
    flat, ids = flatten_views(z, ids, "ids")
    unit, scale = embeddings(flat, normalize), inverse(temperature)
    if tiled(memory, exchange, unit):
        contrast = contrast_of(unit, ids, None, None, exchange)
        losses, valid = pair_losses(contrast, scale) if form == "pair" else supcon_losses(contrast, scale, form)
    else:
        rows = world_rows(unit, ids)
        losses, valid = _pair_rows(rows, scale) if form == "pair" else supcon_rows(rows, scale, form)
    return anchor_mean(losses, valid, "NT-Xent")


def _pair_rows(rows: Rows, scale: float) -> tuple[Tensor, Tensor]:
    s = rows.anchors @ rows.columns.T * scale
    positive = rows.positives()
    negative = ~(positive | rows.itself())
    pairs = softplus(masked_lse(s, negative)[:, None] - s).masked_fill(~positive, 0.0)
    count = positive.sum(1)
    return pairs.sum(1) / count.clamp(min=1), count > 0


class InfoNCE(nn.Module):
    """Module twin of `info_nce`."""

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        in_batch: bool = True,
        normalize: bool = True,
        memory: Memory = "auto",
        exchange: Exchange = "gather",
    ) -> None:
        super().__init__()
        self.temperature, self.in_batch, self.normalize = temperature, in_batch, normalize
        self.memory, self.exchange = memory, exchange

    def forward(self, z0: Tensor, z1: Tensor, keys: Tensor | None = None, relations: Relations | None = None) -> Tensor:
        """See `info_nce`."""
        return info_nce(
            z0,
            z1,
            relations=relations,
            temperature=self.temperature,
            keys=keys,
            in_batch=self.in_batch,
            normalize=self.normalize,
            memory=self.memory,
            exchange=self.exchange,
        )


class CLIPLoss(nn.Module):
    """Module twin of `clip_loss` with a learned scale, exp(log_scale); kept at most `largest` as in the paper."""

    def __init__(
        self,
        *,
        temperature: float = 0.07,
        largest: float = 100.0,
        label_smoothing: float = 0.0,
        normalize: bool = True,
        memory: Memory = "auto",
        exchange: Exchange = "gather",
    ) -> None:
        super().__init__()
        self.largest, self.label_smoothing, self.normalize = largest, label_smoothing, normalize
        self.memory, self.exchange = memory, exchange
        self.log_scale = nn.Parameter(torch.tensor(math.log(inverse(temperature))))

    def forward(self, z0: Tensor, z1: Tensor, relations: Relations | None = None) -> Tensor:
        """See `clip_loss`."""
        with torch.no_grad():  # on the value, not in the graph: a clamp there would stop the gradient for good
            self.log_scale.clamp_(max=math.log(self.largest))
        scale = self.log_scale.exp()
        return clip_loss(
            z0,
            z1,
            scale=scale,
            relations=relations,
            label_smoothing=self.label_smoothing,
            normalize=self.normalize,
            memory=self.memory,
            exchange=self.exchange,
        )


class NTXent(nn.Module):
    """Module twin of `nt_xent`."""

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        form: NTXentForm = "pair",
        normalize: bool = True,
        memory: Memory = "auto",
        exchange: Exchange = "gather",
    ) -> None:
        super().__init__()
        self.temperature, self.form, self.normalize = temperature, form, normalize
        self.memory, self.exchange = memory, exchange

    def forward(self, z: Tensor, ids: Tensor | None = None) -> Tensor:
        """See `nt_xent`."""
        return nt_xent(
            z,
            ids,
            temperature=self.temperature,
            form=self.form,
            normalize=self.normalize,
            memory=self.memory,
            exchange=self.exchange,
        )
