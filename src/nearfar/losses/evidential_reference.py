"""DiSCO as it was published: the `reference` form (SpatialCL) and the authors' `later` rewrite, with their options.

Both are kept to reproduce and to ablate, not to recommend. In the reference form an anchor is its own negative, so
nearly all real negatives are attracted; weights stand inside the logarithm, where they hardly act; and the uncertainty
has no usable range in a batch of more than a hundred rows. `docs/methods/disco.md` has the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from nearfar.errors import ConfigError
from nearfar.losses._common import Rows, anchor_mean, inverse, masked_lse, one_of, softplus
from nearfar.losses._evidential_tiled import Inputs
from nearfar.losses._opinion_weights import ImageRows
from nearfar.losses._published_tiled import RankCurriculum, Settings, distance, ranks, reference_blocks
from nearfar.losses.core import Exchange, Memory, row_slabs, tiled
from nearfar.losses.evidential_principled import checked, gathered
from nearfar.spatial.evidence import reference as reference_evidence

LaterVariant = Literal["full", "no_uncertainty", "uncertainty_curriculum_lr", "no_weighting", "uncertainty_only"]
LATER_VARIANTS = ("full", "no_uncertainty", "uncertainty_curriculum_lr", "no_weighting", "uncertainty_only")


def reference(
    z: Tensor,
    labels: Tensor,
    ids: Tensor | None = None,
    *,
    progress: float = 0.0,
    temperature: float = 0.1,
    prior_weight: float = 2.0,
    self_is_negative: bool = True,
    detach_beta: bool = False,
    curriculum: RankCurriculum = "exp",
    rank_scope: Literal["row", "class"] = "row",
    eps: float | None = 1e-12,
    normalize: bool = True,
    memory: Memory = "auto",
    exchange: Exchange = "gather",
) -> Tensor:
    """The loss of SpatialCL @ b7bec27, where progress = epoch / T. With t_ij = exp(s_ij / T - max_j s_ij / T):

        beta_ik = t_ik / sum over Neg(i) of t_ik,   N_i = sum over Neg(i) of beta_ik t_ik,   Neg(i) holds i itself
        l_ij = -log( w_ij t_ij / (w_ij t_ij + N_i) ),   mean over positives j, then over anchors that have one
        w_ij = 1 for two views of one image, else Lambda_ij = 1 + exp(-progress rank_ij / n)

    rank_ij is the place of u_ij in its row, 0 the most uncertain; ties go by column (the published order is undefined).

    self_is_negative: as published; False takes the anchor out of its own negatives (an anchor left without negatives
        then leaves the mean). detach_beta: no gradient through beta. eps: the published clamps, which cut the gradient
        of pairs with cos < 1 - 27.6 T; None is the same formula without them.
    curriculum: "exp" as published, "tanh" for 1 + tanh(progress rank / n) as its docstring says, "none" for 1.
    rank_scope: "row" divides the rank by the columns, "class" by the class size: then small classes get a curriculum.
    prior_weight: W; u enters by its rank alone, so it changes nothing. memory: see `nearfar.losses`; exchange must be
        "gather", as a rank is that of a whole row.
    """
    settings = Settings(progress, curriculum, rank_scope, self_is_negative, detach_beta, eps)
    scale = inverse(temperature)
    inputs = _inputs(z, labels, ids, normalize, prior_weight, exchange)
    if not tiled(memory, exchange, inputs.x):
        rows = gathered(inputs)
        losses, valid = _reference(rows.anchors @ rows.columns.T, rows, settings, scale)
    elif eps is None or (normalize and 2.001 * scale < -math.log(eps)):
        # Cosines lie within 2 of each other: no clamp can act.
        losses, valid = reference_blocks(inputs, settings, scale)
    else:
        rows = gathered(inputs)
        losses, valid = _slabs(rows, lambda cosine, part: _reference(cosine, part, settings, scale))
    return anchor_mean(losses, valid, "Evidential (reference)")


def _reference(cosine: Tensor, rows: ImageRows, settings: Settings, scale: float) -> tuple[Tensor, Tensor]:
    positive, strong = rows.positives(), _strong(rows)
    log_w = rank_weights(cosine, rows, settings).masked_fill(strong, 1.0).log()
    s = cosine * scale
    s = s - s.detach().amax(1, keepdim=True)
    eps = settings.eps
    if eps is not None:
        s = s.clamp(min=math.log(eps))
    negative = ~positive if settings.self_is_negative else ~positive & ~rows.itself()
    beta = s.detach() if settings.detach_beta else s
    log_n = masked_lse(s + beta, negative) - masked_lse(beta, negative)
    pairs = softplus(log_n[:, None] - s - log_w)
    if eps is not None:
        pairs = pairs.clamp(max=-math.log(eps))
    count = positive.sum(1)
    valid = (count > 0) & negative.any(1)
    return torch.where(positive, pairs, 0.0).sum(1) / (count.clamp(min=1) + (eps or 0.0)), valid


def later(
    z: Tensor,
    labels: Tensor,
    ids: Tensor | None = None,
    *,
    progress: float = 0.0,
    temperature: float = 0.1,
    variant: LaterVariant = "full",
    prior_weight: float = 2.0,
    eps: float = 1e-8,
    normalize: bool = True,
    memory: Memory = "auto",
    exchange: Exchange = "gather",
) -> Tensor:
    """The authors' rewrite (VicoClr-spill-detector @ c5a9a6f), where progress = epoch / T, with its five ablations.

        l_ij = -log( (w_ij t_ij + eps) / (D_ij + eps) )
        with hard negatives     D_ij = w_ij t_ij + sqrt(|N(i)|) sum over N(i) of softmax_k(s_ik / T) t_ik
        without                 D_ij = sum over j != i of t_ij                        (SupCon's)
        w_ij = 1 for two views of one image, else Lambda_ij = 1 + tanh(progress rank_ij / (n - 1)), or 1 throughout

    variant: full (both), no_uncertainty (hard negatives alone), uncertainty_curriculum_lr (Lambda alone: it weighs the
    numerator only, so the loss can be negative), no_weighting (SupCon), uncertainty_only (equal to no_weighting, as
    published). N(i) are the other labels; softmax and Lambda's u as published. memory, exchange: as in `reference`;
    tiles are slabs of whole rows.
    """
    one_of("variant", variant, LATER_VARIANTS)
    settings = Settings(progress, "tanh", last=True)
    scale = inverse(temperature)
    inputs = _inputs(z, labels, ids, normalize, prior_weight, exchange)
    rows = gathered(inputs)

    def kernel(cosine: Tensor, part: ImageRows) -> tuple[Tensor, Tensor]:
        return _later(cosine, part, settings, scale, variant, eps)

    if tiled(memory, exchange, inputs.x, later=16):
        losses, valid = _slabs(rows, kernel)
    else:
        losses, valid = kernel(rows.anchors @ rows.columns.T, rows)
    return anchor_mean(losses, valid, "Evidential (later)")


def _later(
    cosine: Tensor, rows: ImageRows, settings: Settings, scale: float, variant: LaterVariant, eps: float
) -> tuple[Tensor, Tensor]:
    s = cosine * scale
    s = s - s.detach().amax(1, keepdim=True)
    t = s.exp().masked_fill(rows.itself(), 0.0)
    positive = t
    if variant in ("full", "uncertainty_curriculum_lr"):
        positive = t * rank_weights(cosine, rows, settings).masked_fill(_strong(rows), 1.0)
    denominator = t.sum(1, keepdim=True)
    if variant in ("full", "no_uncertainty"):
        denominator = positive + _hard_negatives(s, t, rows.labels[:, None] != rows.column_labels[None])
    pairs = (denominator + eps).log() - (positive + eps).log()
    near = rows.positives()
    count = near.sum(1)
    return torch.where(near, pairs, 0.0).sum(1) / (count.clamp(min=1) + eps), count > 0


def _inputs(
    z: Tensor, labels: Tensor, ids: Tensor | None, normalize: bool, prior_weight: float, exchange: Exchange
) -> Inputs:
    if exchange == "ring":
        raise ConfigError(
            "the published forms rank a whole row", found="exchange='ring'", fix="Use exchange='gather', or principled."
        )
    if not prior_weight > 0:
        raise ConfigError("prior_weight must be positive", found=prior_weight)
    return checked(z, labels, ids, normalize=normalize)


def _slabs(rows: ImageRows, kernel: Callable[[Tensor, ImageRows], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    def run(cosine: Tensor, which: slice) -> Tensor:
        part = ImageRows(
            rows.anchors[which],
            rows.labels[which],
            rows.columns,
            rows.column_labels,
            rows.own[which],
            rows.ids[which],
            rows.column_ids,
        )
        losses, valid = kernel(cosine, part)
        return torch.stack([losses, valid.to(losses)])

    losses, valid = row_slabs(rows.anchors, rows.columns, run, 2)
    return losses, valid.detach() > 0


def _strong(rows: ImageRows) -> Tensor:
    """As published, labels alone decide what is positive, also between two views of one image; those weigh 1."""
    return rows.ids[:, None] == rows.column_ids[None]


def _hard_negatives(s: Tensor, t: Tensor, negative: Tensor) -> Tensor:
    """[n, 1]: sqrt(|N|) times the softmax-weighted sum of t over the negatives, 0 without any."""
    count = negative.sum(1, keepdim=True)
    beta = (s - masked_lse(s, negative)[:, None]).masked_fill(~negative, -math.inf).exp()
    return (t * beta).sum(1, keepdim=True) * count.to(s.dtype).sqrt()


@torch.no_grad()
def uncertainty(cosine: Tensor, rows: Rows, prior_weight: float = 2.0) -> Tensor:
    """u = W / (exp(softmax_j c) + exp(softmax_j -c) + W) with c_ii = 0, and 0 where labels differ; [n, m]."""
    r, s = reference_evidence(cosine.masked_fill(rows.itself(), 0.0))
    same = rows.labels[:, None] == rows.column_labels[None]
    return torch.where(same, prior_weight / (r + s + prior_weight), 0.0)


@torch.no_grad()
def rank_weights(cosine: Tensor, rows: Rows, settings: Settings) -> Tensor:
    """Lambda [n, m] from the rank of u in its row, 0 for the largest.

    u falls with |c - c*|, c* = (LSE_j c - LSE_j -c) / 2, and hardly: in single precision a row of a thousand has few
    distinct u. So the distance is ranked in its place; what is of another label has u = 0 and comes last.
    """
    if settings.flat:
        return torch.full_like(cosine, settings.curve(cosine.new_zeros(())).item())
    c = cosine.masked_fill(rows.itself(), 0.0)
    centre = (c.logsumexp(1) - (-c).logsumexp(1)) / 2
    same = rows.labels[:, None] == rows.column_labels[None]
    place = ranks(distance(c, centre).neg_().masked_fill_(~same, -math.inf))
    size: Tensor | int = cosine.shape[1] - int(settings.last)
    if settings.rank_scope == "class":
        size = same.sum(1, keepdim=True)
    return settings.curve(place / torch.as_tensor(size).clamp(min=1))
