"""Opinions about pairs, and the weights that a curriculum makes of them: `w_ij(t) = b_ij + a(t) u_ij`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nearfar import parallel
from nearfar.errors import ConfigError, ShapeError
from nearfar.losses._common import Rows, one_of
from nearfar.spatial import evidence as ev
from nearfar.spatial.opinions import projected_probability

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


@dataclass(frozen=True)
class ImageRows(Rows):
    """Rows with the image they show: ids [n] of the anchors, column_ids [m]."""

    ids: Tensor
    column_ids: Tensor


class PairMasks(NamedTuple):
    """Which pair is what, each [r, m] bool: same label or same image; same image; known to have different labels."""

    positive: Tensor
    strong: Tensor
    negative: Tensor


def pair_masks(rows: ImageRows, part: slice) -> PairMasks:
    """Of the anchors in `part`. Unknown labels (below zero) are near to views of their own image and far from none."""
    own, labels = rows.own[part, None], rows.labels[part, None]
    strong = (rows.ids[part, None] == rows.column_ids[None]).scatter_(1, own, False)
    same = labels == rows.column_labels[None]
    negative = ~(same | strong | (rows.column_labels < 0)[None] | (labels < 0))
    return PairMasks((same & (labels >= 0)).scatter_(1, own, False) | strong, strong, negative)


class PairStatistics(NamedTuple):
    """Cosines of pairs that are near and far without trusting that equal labels mean equal things; 0-dim tensors."""

    near: ev.Gaussian
    far: ev.Gaussian

    def margin(self) -> Tensor:
        """Midpoint of the means: where a cosine says nothing."""
        return ((torch.as_tensor(self.near.mean) + torch.as_tensor(self.far.mean)) / 2).clamp(-0.99, 0.99)


@torch.no_grad()
def pair_statistics(
    cosine: Tensor, masks: Callable[[slice], PairMasks], block: int, *, spread: bool = True
) -> PairStatistics:
    """Mean and (where `spread`) standard deviation of cosine [n, m] over strong and over negative pairs of all ranks.

    Without two views of an image, near is a pair of equals: cosine 1.
    """
    sums = torch.zeros(2, 3, dtype=torch.float64, device=cosine.device)
    for start in range(0, len(cosine), block):
        part = slice(start, start + block)
        near, far = masks(part).strong, masks(part).negative
        x = cosine[part]
        sums = sums + torch.stack([moments(x, near, spread), moments(x, far, spread)])
    return statistics_of(parallel.global_sum(sums))


def statistics_of(sums: Tensor) -> PairStatistics:
    """From number, sum and sum of squares [2, 3] of the cosines of strong and of negative pairs of all ranks."""
    count, first, second = sums.unbind(1)
    mean = first / count.clamp(min=1)
    std = (second / count.clamp(min=1) - mean**2).clamp(min=0).sqrt()
    mean = torch.where(count > 0, mean, torch.tensor([1.0, 0.0]).to(mean))
    return PairStatistics(ev.Gaussian(mean[0], std[0]), ev.Gaussian(mean[1], std[1]))


def moments(x: Tensor, mask: Tensor, spread: bool) -> Tensor:
    """Number, sum and (where `spread`) sum of squares of x [n, m] inside the mask, [3] in double."""
    # Rows are summed in x's precision and then in double: a batch has millions of pairs.
    inside = x * mask
    second = (inside * inside).sum(1) if spread else inside.new_zeros(1)
    return torch.stack([part.sum(dtype=torch.float64) for part in (mask.sum(1), inside.sum(1), second)])


def block_rows(columns: int, multiple: int, device: torch.device) -> int:
    """Rows a block: on the CPU so few that its temporaries stay in the cache; a multiple of the patches an image."""
    entries = 2**18 if device.type == "cpu" else 2**24
    return max(1, entries // max(columns, 1) // multiple) * multiple


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


def needs_statistics(settings: OpinionSettings) -> bool:
    """Whether opinions depend on the cosines of the whole batch."""
    margins = settings.evidence in ("hinge", "softplus", "patches") and settings.margin == "adaptive"
    return margins or settings.evidence == "log_likelihood_ratio"


Evidences = Callable[[Tensor, slice], ev.Evidence]
"""cosines of a block of anchors and which anchors -> (r, s) of their pairs with all columns"""


def pair_evidence(  # noqa: PLR0911 - one return a name
    rows: ImageRows, settings: OpinionSettings, statistics: PairStatistics | None, patches: int = 1
) -> Evidences:
    """The evidence function that the settings name, ready for blocks. `patches`: rows an image (dense mode)."""
    name, kappa, margin = settings.evidence, settings.kappa, _margin(settings, statistics, rows.anchors)
    if name == "softplus":
        return lambda c, _: ev.softplus(c, margin=margin, kappa=kappa)
    if name == "log_likelihood_ratio" and statistics is not None:
        return lambda c, _: ev.log_likelihood_ratio(c, near=statistics.near, far=statistics.far, kappa=kappa)
    if name == "neighbourhood":
        r, s = ev.neighbourhood(rows.columns @ rows.columns.T, neighbours=settings.neighbours)
        return lambda _, part: (r[rows.own[part]], s[rows.own[part]])
    if name == "reference":
        return lambda c, part: ev.reference(c.masked_fill(_itself(rows, part), 0.0))
    if name == "exp_tanh":
        return lambda c, _: ev.exp_tanh(c)
    if name == "patches":
        if patches < 2 or len(rows.columns) % patches:
            found = f"{patches} patches an image, {len(rows.columns)} columns"
            raise ShapeError(
                "evidence 'patches' fuses the patches of whole images", found=found, expected="z [B, V, D]"
            )
        return lambda c, _: _fused_patches(c, settings, margin, patches)
    return lambda c, _: ev.hinge(c, margin=margin, kappa=kappa)


def _margin(settings: OpinionSettings, statistics: PairStatistics | None, like: Tensor) -> Tensor | float:
    if settings.margin != "adaptive":
        return settings.margin
    return statistics.margin().to(like) if statistics is not None else 0.5


def _itself(rows: ImageRows, part: slice) -> Tensor:
    return rows.own[part, None] == torch.arange(len(rows.columns), device=rows.own.device)[None]


def _fused_patches(cosine: Tensor, settings: OpinionSettings, margin: Tensor | float, patches: int) -> ev.Evidence:
    """One opinion for each pair of images, handed to all pairs of their patches; kappa is for the pair of images."""
    n, m = cosine.shape
    fused = patches * patches if settings.matches == "all" else patches
    r, s = ev.hinge(cosine, margin=margin, kappa=settings.kappa / fused)
    shape = (n // patches, patches, m // patches, patches)
    images = ev.patches(r.view(shape), s.view(shape), matches=settings.matches)
    r, s = (x.repeat_interleave(patches, 0).repeat_interleave(patches, 1) for x in images)
    return r, s


def weigher(
    rows: ImageRows, settings: OpinionSettings, statistics: PairStatistics | None, patches: int, a: float
) -> Callable[[Tensor, slice, PairMasks], Tensor]:
    """Weights of a block: w = b + a(t) u at positives, 1 at strong pairs (two views of one image), 0 elsewhere."""
    if settings.evidence is None:
        return lambda c, _, masks: masks.positive.to(c.dtype)
    evidence = pair_evidence(rows, settings, statistics, patches)

    def weigh(cosine: Tensor, part: slice, masks: PairMasks) -> Tensor:
        r, s = evidence(cosine, part)
        w = projected_probability(r, s, a, settings.prior_weight)
        return torch.where(masks.strong, 1.0, w).mul_(masks.positive)

    return weigh
