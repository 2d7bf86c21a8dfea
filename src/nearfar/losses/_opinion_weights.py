"""Opinions about pairs, and the weights that a curriculum makes of them: `w_ij(t) = b_ij + a(t) u_ij`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nearfar import parallel
from nearfar.errors import ConfigError, ShapeError
from nearfar.losses._common import Rows, one_of
from nearfar.spatial import evidence as ev
from nearfar.spatial.opinions import Opinion

Curriculum = Literal["linear", "cosine", "step", "none"]
CURRICULA = ("linear", "cosine", "step", "none")


@dataclass(frozen=True)
class OpinionSettings:
    """How the opinion about a pair is formed; the arguments of `principled` under their own names."""

    evidence: str | None = "hinge"
    margin: float | Literal["adaptive"] = "adaptive"
    kappa: float = 10.0
    prior_weight: float = 2.0
    neighbours: int = 10
    matches: Literal["all", "best"] = "all"

    def __post_init__(self) -> None:
        if self.evidence is not None:
            ev.evidence_function(self.evidence)
        if self.margin != "adaptive" and not (isinstance(self.margin, int | float) and -1 < self.margin < 1):
            raise ConfigError(
                "the margin is a cosine", found=repr(self.margin), expected="-1 < margin < 1, or 'adaptive'"
            )
        one_of("matches", self.matches, ("all", "best"))
        for name in ("kappa", "prior_weight", "neighbours"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive", found=getattr(self, name))


class PairMasks(NamedTuple):
    """Which pair is what, each [n, m] bool: same label or same image; same image; known to have different labels."""

    positive: Tensor
    strong: Tensor
    negative: Tensor


def pair_masks(rows: Rows, ids: Tensor, column_ids: Tensor) -> PairMasks:
    """Unknown labels (below zero) are neither near nor far, except to other views of the same image."""
    strong = (ids[:, None] == column_ids[None]) & ~rows.itself()
    known = (rows.labels >= 0)[:, None] & (rows.column_labels >= 0)[None]
    negative = (rows.labels[:, None] != rows.column_labels[None]) & known & ~strong
    return PairMasks(rows.positives() | strong, strong, negative)


class PairStatistics(NamedTuple):
    """Cosines of pairs that are near and far without trusting that equal labels mean equal things; 0-dim tensors."""

    near: ev.Gaussian
    far: ev.Gaussian

    def margin(self) -> Tensor:
        """Midpoint of the means: where a cosine says nothing."""
        return ((torch.as_tensor(self.near.mean) + torch.as_tensor(self.far.mean)) / 2).clamp(-0.99, 0.99)


@torch.no_grad()
def pair_statistics(cosine: Tensor, masks: PairMasks) -> PairStatistics:
    """Mean and spread of cosine [n, m] over strong and over negative pairs of all ranks.

    Without two views of an image, near is a pair of equals: cosine 1.
    """
    sums = torch.stack([_moments(cosine, masks.strong), _moments(cosine, masks.negative)])
    count, first, second = parallel.global_sum(sums).unbind(1)
    mean = first / count.clamp(min=1)
    std = (second / count.clamp(min=1) - mean**2).clamp(min=0).sqrt()
    mean = torch.where(count > 0, mean, torch.tensor([1.0, 0.0]).to(mean))
    return PairStatistics(ev.Gaussian(mean[0], std[0]), ev.Gaussian(mean[1], std[1]))


def _moments(x: Tensor, mask: Tensor) -> Tensor:
    # In double: a batch has millions of pairs, and the variance is a difference of two sums.
    inside = torch.where(mask, x, 0.0)
    return torch.stack(
        [mask.sum(dtype=torch.float64), inside.sum(dtype=torch.float64), (inside * x).sum(dtype=torch.float64)]
    )


def base_rate(progress: float, curriculum: Curriculum) -> float:
    """a(t): from 0 (only what is believed) to 1 (all that is plausible); "none" is 1 from the start."""
    one_of("curriculum", curriculum, CURRICULA)
    if not 0 <= progress <= 1:
        raise ConfigError("progress is the share of the run that is done", found=progress, expected="0 to 1")
    if curriculum == "linear":
        return progress
    if curriculum == "cosine":
        return 0.5 - 0.5 * math.cos(math.pi * progress)
    return 1.0 if curriculum == "none" or progress >= 0.5 else 0.0


@torch.no_grad()
def opinions(
    cosine: Tensor, rows: Rows, settings: OpinionSettings, statistics: PairStatistics, patches: int = 1, a: float = 0.5
) -> Opinion:
    """The opinion [n, m] that anchor and column belong together. `patches`: rows an image (dense mode)."""
    r, s = _pair_evidence(cosine, rows, settings, statistics, patches)
    return Opinion.from_evidence(r, s, r.new_full((), a), prior_weight=settings.prior_weight, check=False)


def _pair_evidence(  # noqa: PLR0911 - one return a name
    cosine: Tensor, rows: Rows, settings: OpinionSettings, statistics: PairStatistics, patches: int
) -> ev.Evidence:
    name, kappa = settings.evidence, settings.kappa
    margin = statistics.margin().to(cosine) if settings.margin == "adaptive" else settings.margin
    if name == "softplus":
        return ev.softplus(cosine, margin=margin, kappa=kappa)
    if name == "log_likelihood_ratio":
        return ev.log_likelihood_ratio(cosine, near=statistics.near, far=statistics.far, kappa=kappa)
    if name == "neighbourhood":
        r, s = ev.neighbourhood(rows.columns.detach() @ rows.columns.detach().T, neighbours=settings.neighbours)
        return r[rows.own], s[rows.own]
    if name == "reference":
        return ev.reference(cosine.masked_fill(rows.itself(), 0.0))
    if name == "exp_tanh":
        return ev.exp_tanh(cosine)
    if name == "patches":
        return _fused_patches(cosine, settings, margin, patches)
    return ev.hinge(cosine, margin=margin, kappa=kappa)


def _fused_patches(cosine: Tensor, settings: OpinionSettings, margin: Tensor | float, patches: int) -> ev.Evidence:
    """One opinion for each pair of images, handed to all pairs of their patches; kappa is for the pair of images."""
    n, m = cosine.shape
    if patches < 2 or n % patches or m % patches:
        raise ShapeError(
            "evidence 'patches' fuses the patches of whole images", found=(n, m), expected="[B, V, D], V >= 2"
        )
    fused = patches * patches if settings.matches == "all" else patches
    r, s = ev.hinge(cosine, margin=margin, kappa=settings.kappa / fused)
    shape = (n // patches, patches, m // patches, patches)
    r, s = ev.patches(r.view(shape), s.view(shape), matches=settings.matches)
    return (
        r.repeat_interleave(patches, 0).repeat_interleave(patches, 1),
        s.repeat_interleave(patches, 0).repeat_interleave(patches, 1),
    )


@torch.no_grad()
def curriculum_weights(opinion: Opinion, masks: PairMasks, a: float) -> Tensor:
    """w = b + a(t) u at positives, 1 at strong pairs (two views of one image), 0 elsewhere; [n, m]."""
    w = torch.addcmul(opinion.b, opinion.u, opinion.u.new_full((), a))
    return w.masked_fill_(masks.strong, 1.0).mul_(masks.positive)
