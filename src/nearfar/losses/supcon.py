"""Supervised contrast (Khosla et al. 2020), both formulas, with pair weights and a bank of labelled keys."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses._common import (
    Rows,
    anchor_mean,
    check_keys,
    embeddings,
    flatten_views,
    full_precision,
    inverse,
    masked_lse,
    one_of,
    softplus,
    world_rows,
)
from nearfar.losses._tiled import contrast_of, slab_rows, supcon_losses
from nearfar.losses.core import Exchange, Memory, row_slabs, tiled

SupConForm = Literal["out", "in"]


@full_precision
def supcon(
    z: Tensor,
    labels: Tensor,
    *,
    temperature: float = 0.1,
    form: SupConForm = "out",
    weights: Tensor | None = None,
    keys: Tensor | None = None,
    key_labels: Tensor | None = None,
    normalize: bool = True,
    memory: Memory = "auto",
    exchange: Exchange = "gather",
) -> Tensor:
    """SupCon of z [N, D] with labels [N], or [B, V, D] with labels [B]; Khosla et al. 2020, eq. 2 ("out"), 3 ("in").

    With t_ij = exp(z_i.z_j / T), positives P(i) (same label, not i) and pair weights w_ij (default 1):

        out:  l_i = sum over p in P(i) of w_ip (-log( t_ip / sum over k != i of t_ik )) / sum over P(i) of w_ip
        in:   l_i = -log( (sum over P(i) of w_ip t_ip / sum over P(i) of w_ip) / sum over k != i of t_ik )

    The result is the mean over the anchors of all ranks that have a positive. It is not multiplied by the temperature.

    weights: [N, M] >= 0, row i for anchor i, columns in the order of the gathered rows (rank order), then keys; only
        entries at positives count. An anchor whose positives all weigh nothing leaves the mean.
    keys, key_labels: [K, D] and [K], further columns but not anchors, the same on every rank (`nearfar.memory.Queue`).
    memory, exchange: see `nearfar.losses`; pair weights cannot go round a ring.
    Labels below zero are unknown: such a row has no positive and is none; it stays in the others' denominators.

    Raises ShapeError where shapes do not fit, ConfigError for an unknown form or a temperature that is not positive.
    """
    one_of("form", form, ("out", "in"))
    flat, labels = flatten_views(z, labels)
    if (keys is None) != (key_labels is None):
        raise ConfigError("keys and key_labels come together", found="one of the two", fix="Pass both or neither.")
    if keys is not None:
        check_keys(z, keys, key_labels)
        keys = embeddings(keys, normalize)
    unit, scale = embeddings(flat, normalize), inverse(temperature)
    in_tiles = tiled(memory, exchange, unit, keys)
    if in_tiles and weights is None:
        losses, valid = supcon_losses(contrast_of(unit, labels, keys, key_labels, exchange), scale, form)
    else:
        rows = world_rows(unit, labels, keys, key_labels)
        weights = _checked(weights, rows, exchange)
        if in_tiles and weights is not None:
            losses, valid = _weighted_slabs(rows, scale, form, weights)
        else:
            losses, valid = supcon_rows(rows, scale, form, weights)
    return anchor_mean(losses, valid, f"SupCon ({form})")


def supcon_rows(rows: Rows, scale: float, form: SupConForm, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Loss [n] of every anchor and whether it has a positive, [n] bool.

    Both forms are softplus(lse over negatives - lse over positives) plus a term among positives alone, so nothing
    cancels when one positive outweighs the rest.
    """
    return _supcon_kernel(rows.anchors @ rows.columns.T * scale, rows, form, weights)


def _weighted_slabs(rows: Rows, scale: float, form: SupConForm, weights: Tensor) -> tuple[Tensor, Tensor]:
    # Who has pair weights has n x m numbers anyway; slabs keep the temporaries small.
    def kernel(s: Tensor, which: slice) -> Tensor:
        losses, valid = _supcon_kernel(s * scale, slab_rows(rows, which), form, weights[which])
        return torch.stack([losses, valid.to(losses)])

    losses, valid = row_slabs(rows.anchors, rows.columns, kernel, 2)
    return losses, valid.detach() > 0


def _supcon_kernel(s: Tensor, rows: Rows, form: SupConForm, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    positive = rows.positives()
    negative = ~(positive | rows.itself())
    w = positive.to(s.dtype) if weights is None else torch.where(positive, weights, 0.0)
    total = w.sum(1)
    valid = total > 0
    total = torch.where(valid, total, 1.0)
    pull = torch.where(valid, masked_lse(s, positive), 0.0)
    push = softplus(masked_lse(s, negative) - pull)
    if form == "out":
        among = (w * torch.where(positive, pull[:, None] - s, 0.0)).sum(1) / total
    else:
        weighted = masked_lse(s + torch.where(w > 0, w, 1.0).log(), w > 0)
        among = pull - torch.where(valid, weighted, 0.0) + total.log()
    return torch.where(valid, push + among, 0.0), valid


def _checked(weights: Tensor | None, rows: Rows, exchange: str) -> Tensor | None:
    if weights is None:
        return None
    if exchange == "ring":
        raise ConfigError("pair weights do not go round a ring", found="exchange='ring'", fix="Use exchange='gather'.")
    shape = (len(rows.anchors), len(rows.columns))
    if weights.shape != shape:
        raise ShapeError(
            "one weight a pair of anchor and column",
            found=f"weights {tuple(weights.shape)}",
            expected=f"{shape} for anchors {tuple(rows.anchors.shape)} and columns {tuple(rows.columns.shape)}",
        )
    return weights.to(rows.anchors)


class SupConLoss(nn.Module):
    """Module twin of `supcon`."""

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        form: SupConForm = "out",
        normalize: bool = True,
        memory: Memory = "auto",
        exchange: Exchange = "gather",
    ) -> None:
        super().__init__()
        self.temperature, self.form, self.normalize = temperature, form, normalize
        self.memory, self.exchange = memory, exchange

    def forward(
        self,
        z: Tensor,
        labels: Tensor,
        weights: Tensor | None = None,
        keys: Tensor | None = None,
        key_labels: Tensor | None = None,
    ) -> Tensor:
        """See `supcon`."""
        return supcon(
            z,
            labels,
            temperature=self.temperature,
            form=self.form,
            weights=weights,
            keys=keys,
            key_labels=key_labels,
            normalize=self.normalize,
            memory=self.memory,
            exchange=self.exchange,
        )
