"""Contrast with hard negatives (Robinson et al. 2021): near negatives count more, false ones are corrected."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar import parallel
from nearfar.errors import ConfigError
from nearfar.losses._common import (
    Rows,
    anchor_mean,
    embeddings,
    flatten_views,
    full_precision,
    inverse,
    masked_lse,
    world_rows,
)
from nearfar.losses._tiled import contrast_of, debiased, hard_negatives
from nearfar.losses.core import Exchange, Memory, tiled


@full_precision
def hcl(
    z: Tensor,
    ids: Tensor | None = None,
    *,
    temperature: float = 0.5,
    beta: float = 1.0,
    tau_plus: float = 0.1,
    normalize: bool = True,
    memory: Memory = "auto",
    exchange: Exchange = "gather",
) -> Tensor:
    """Hard-negative contrast of z [B, V, D] (ids [B], default: every leading row its own) or z [N, D] with ids [N].

    With t_ij = exp(z_i.z_j / T), positives P(i) (same id, not i) and M_i = |N(i)| negatives (other ids):

        H_i  = sum over N(i) of t_ik^(1 + beta) / sum over N(i) of t_ik^beta
        N_ip = max( M_i (H_i - tau_plus t_ip) / (1 - tau_plus), M_i exp(-1 / T) )
        l_i  = mean over P(i) of -log( t_ip / (t_ip + N_ip) )

    which is equation 4 of Robinson et al. 2021 for two views; the gradient goes through the weights, as in their code.
    beta: how far hard negatives count more, 0 is the debiased loss (Chuang et al. 2020); tau_plus: share of negatives
    that are positives in truth, 0 <= tau_plus < 1. With both 0 it is NT-Xent in the form "pair".

    The mean is over anchors with a positive and a negative. memory, exchange: see `nearfar.losses`. Raises ShapeError
    where shapes do not fit, ConfigError for values out of range.
    """
    if not beta >= 0 or not 0 <= tau_plus < 1:
        raise ConfigError("hcl", found=f"beta={beta}, tau_plus={tau_plus}", expected="beta >= 0, 0 <= tau_plus < 1")
    if ids is None:
        if z.dim() != 3:
            raise ConfigError("two-dimensional embeddings need ids", found=tuple(z.shape), fix="Pass [B, V, D] or ids.")
        ids = torch.arange(len(z), device=z.device) + parallel.offset(len(z))
    flat, ids = flatten_views(z, ids, "ids")
    unit, scale = embeddings(flat, normalize), inverse(temperature)
    if tiled(memory, exchange, unit):
        losses, valid = hard_negatives(contrast_of(unit, ids, None, None, exchange), scale, beta, tau_plus)
    else:
        losses, valid = _dense(world_rows(unit, ids), scale, beta, tau_plus)
    return anchor_mean(losses, valid, "HCL")


def _dense(rows: Rows, scale: float, beta: float, tau_plus: float) -> tuple[Tensor, Tensor]:
    s = rows.anchors @ rows.columns.T * scale
    positive = rows.positives()
    negative = ~(positive | rows.itself())
    near, far = positive.sum(1), negative.sum(1)
    valid = (near > 0) & (far > 0)
    size = far.clamp(min=1).to(s.dtype).log()
    weighted = masked_lse(s * (1 + beta), negative) - (masked_lse(s * beta, negative) if beta else size)
    weighted = torch.where(valid, weighted, 0.0)
    terms = debiased(weighted[:, None], size[:, None], s, scale, tau_plus)
    losses = torch.where(positive, terms, 0.0).sum(1) / near.clamp(min=1)
    return torch.where(valid, losses, 0.0), valid


class HCL(nn.Module):
    """Module twin of `hcl`."""

    def __init__(
        self,
        *,
        temperature: float = 0.5,
        beta: float = 1.0,
        tau_plus: float = 0.1,
        normalize: bool = True,
        memory: Memory = "auto",
        exchange: Exchange = "gather",
    ) -> None:
        super().__init__()
        self.temperature, self.beta, self.tau_plus, self.normalize = temperature, beta, tau_plus, normalize
        self.memory, self.exchange = memory, exchange

    def forward(self, z: Tensor, ids: Tensor | None = None) -> Tensor:
        """See `hcl`."""
        return hcl(
            z,
            ids,
            temperature=self.temperature,
            beta=self.beta,
            tau_plus=self.tau_plus,
            normalize=self.normalize,
            memory=self.memory,
            exchange=self.exchange,
        )
