"""DiSCO as it was published: the `reference` form (SpatialCL) and the authors' `later` rewrite, with their options.

Both are kept to reproduce and to ablate, not to recommend. In the reference form an anchor is its own negative, so
nearly all real negatives are attracted; weights stand inside the logarithm, where they hardly act; and the uncertainty
has no usable range in a batch of more than a hundred rows. `docs/methods/disco.md` has the measurements.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from nearfar.errors import ConfigError
from nearfar.losses._common import Rows, anchor_mean, inverse, masked_lse, one_of, softplus
from nearfar.losses._opinion_weights import PairMasks
from nearfar.losses.evidential_principled import prepare
from nearfar.spatial.evidence import reference as reference_evidence

RankCurriculum = Literal["exp", "tanh", "none"]
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
    """
    one_of("rank_scope", rank_scope, ("row", "class"))
    if eps is not None and not 0 < eps < 1:
        raise ConfigError("eps must be in (0, 1)", found=eps, fix="Pass None to take the clamps out.")
    rows, masks = _prepare(z, labels, ids, normalize)
    cosine = rows.anchors @ rows.columns.T
    weights = rank_weights(uncertainty(cosine, rows, prior_weight), rows, progress, curriculum, rank_scope)
    log_w = weights.masked_fill(masks.strong, 1.0).log()
    s = cosine * inverse(temperature)
    s = s - s.detach().amax(1, keepdim=True)
    if eps is not None:
        s = s.clamp(min=math.log(eps))
    negative = ~masks.positive if self_is_negative else ~masks.positive & ~rows.itself()
    beta = s.detach() if detach_beta else s
    log_n = masked_lse(s + beta, negative) - masked_lse(beta, negative)
    pairs = softplus(log_n[:, None] - s - log_w)
    if eps is not None:
        pairs = pairs.clamp(max=-math.log(eps))
    count = masks.positive.sum(1)
    valid = (count > 0) & negative.any(1)
    losses = torch.where(masks.positive, pairs, 0.0).sum(1) / (count.clamp(min=1) + (eps or 0.0))
    return anchor_mean(losses, valid, "Evidential (reference)")


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
) -> Tensor:
    """The authors' rewrite (VicoClr-spill-detector @ c5a9a6f), where progress = epoch / T, with its five ablations.

        l_ij = -log( (w_ij t_ij + eps) / (D_ij + eps) )
        with hard negatives     D_ij = w_ij t_ij + sqrt(|N(i)|) sum over N(i) of softmax_k(s_ik / T) t_ik
        without                 D_ij = sum over j != i of t_ij                        (SupCon's)
        w_ij = 1 for two views of one image, else Lambda_ij = 1 + tanh(progress rank_ij / (n - 1)), or 1 throughout

    variant: full (both), no_uncertainty (hard negatives alone), uncertainty_curriculum_lr (Lambda alone: it weighs the
    numerator only, so the loss can be negative), no_weighting (SupCon), uncertainty_only (equal to no_weighting, as
    published). N(i) are the other labels; softmax and Lambda's u as published.
    """
    one_of("variant", variant, LATER_VARIANTS)
    rows, masks = _prepare(z, labels, ids, normalize)
    cosine = rows.anchors @ rows.columns.T
    s = cosine * inverse(temperature)
    s = s - s.detach().amax(1, keepdim=True)
    t = s.exp().masked_fill(rows.itself(), 0.0)
    positive = t
    if variant in ("full", "uncertainty_curriculum_lr"):
        u = uncertainty(cosine, rows, prior_weight)
        positive = t * rank_weights(u, rows, progress, "tanh", "row", last=True).masked_fill(masks.strong, 1.0)
    denominator = t.sum(1, keepdim=True)
    if variant in ("full", "no_uncertainty"):
        denominator = positive + _hard_negatives(s, t, masks)
    pairs = (denominator + eps).log() - (positive + eps).log()
    count = masks.positive.sum(1)
    losses = torch.where(masks.positive, pairs, 0.0).sum(1) / (count.clamp(min=1) + eps)
    return anchor_mean(losses, count > 0, "Evidential (later)")


def _prepare(z: Tensor, labels: Tensor, ids: Tensor | None, normalize: bool) -> tuple[Rows, PairMasks]:
    """As published, labels alone decide what is positive and negative, also between two views of one image."""
    rows = prepare(z, labels, ids, normalize=normalize)
    strong = rows.ids[:, None] == rows.column_ids[None]
    return rows, PairMasks(rows.positives(), strong, rows.labels[:, None] != rows.column_labels[None])


def _hard_negatives(s: Tensor, t: Tensor, masks: PairMasks) -> Tensor:
    """[n, 1]: sqrt(|N|) times the softmax-weighted sum of t over the negatives, 0 without any."""
    count = masks.negative.sum(1, keepdim=True)
    beta = (s - masked_lse(s, masks.negative)[:, None]).masked_fill(~masks.negative, -math.inf).exp()
    return (t * beta).sum(1, keepdim=True) * count.to(s.dtype).sqrt()


@torch.no_grad()
def uncertainty(cosine: Tensor, rows: Rows, prior_weight: float = 2.0) -> Tensor:
    """u = W / (exp(softmax_j c) + exp(softmax_j -c) + W) with c_ii = 0, and 0 where labels differ; [n, m]."""
    r, s = reference_evidence(cosine.masked_fill(rows.itself(), 0.0))
    same = rows.labels[:, None] == rows.column_labels[None]
    return torch.where(same, prior_weight / (r + s + prior_weight), 0.0)


def ranks(u: Tensor) -> Tensor:
    """Place of every entry in its row, 0 for the largest, ties by column; [n, m], of u's dtype."""
    order = u.argsort(dim=1, descending=True, stable=True)
    place = torch.arange(u.shape[1], device=u.device, dtype=u.dtype).expand_as(u)
    return torch.empty_like(u).scatter_(1, order, place)


@torch.no_grad()
def rank_weights(
    u: Tensor,
    rows: Rows,
    progress: float,
    curriculum: RankCurriculum = "exp",
    rank_scope: Literal["row", "class"] = "row",
    *,
    last: bool = False,
) -> Tensor:
    """Lambda [n, m] from the rank of u in its row, 0 for the largest; `last` divides by n - 1, not by n."""
    one_of("curriculum", curriculum, ("exp", "tanh", "none"))
    if not 0 <= progress <= 1:
        raise ConfigError("progress is the share of the run that is done", found=progress, expected="0 to 1")
    if curriculum == "none":
        return torch.ones_like(u)
    size: Tensor | int = u.shape[1] - 1 if last else u.shape[1]
    if rank_scope == "class":
        size = (rows.labels[:, None] == rows.column_labels[None]).sum(1, keepdim=True) - int(last)
    x = progress * ranks(u) / torch.as_tensor(size).clamp(min=1)
    return 1 + (torch.exp(-x) if curriculum == "exp" else torch.tanh(x))
