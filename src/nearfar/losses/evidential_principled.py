"""DiSCO's principled form: weights outside the logarithm, negatives that only repel, opinions that mean something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from nearfar import parallel
from nearfar.errors import ConfigError
from nearfar.losses._common import (
    anchor_mean,
    check_keys,
    embeddings,
    flatten_views,
    inverse,
    world_rows,
)
from nearfar.losses._evidential_core import Problem, anchor_losses
from nearfar.losses._evidential_tiled import NO_IMAGE, Inputs, class_blocks, fits, whole_rows
from nearfar.losses._opinion_weights import (
    Curriculum,
    ImageRows,
    OpinionSettings,
    PairMasks,
    PairStatistics,
    base_rate,
    block_rows,
    needs_statistics,
    pair_evidence,
    pair_masks,
    pair_statistics,
    weigher,
)
from nearfar.losses.core import Exchange, Memory, tiled
from nearfar.spatial.opinions import Opinion

NAME = "Evidential"


def principled(
    z: Tensor,
    labels: Tensor,
    ids: Tensor | None = None,
    *,
    progress: float = 0.0,
    temperature: float = 0.1,
    evidence: str | None = "hinge",
    margin: float | Literal["adaptive"] = "adaptive",
    kappa: float = 10.0,
    prior_weight: float = 2.0,
    gamma: float = 1.0,
    curriculum: Curriculum = "linear",
    class_balanced: bool = False,
    neighbours: int = 10,
    matches: Literal["all", "best"] = "all",
    statistics: PairStatistics | None = None,
    keys: Tensor | None = None,
    key_labels: Tensor | None = None,
    normalize: bool = True,
    memory: Memory = "auto",
    exchange: Exchange = "gather",
) -> Tensor:
    """The principled evidential loss; see `nearfar.losses.evidential` for the arguments common to all modes.

    With cosines s, opinions (b, d, u) about pairs, positives P(i) (same label or id), negatives N(i) (other labels):

        w_ij = b_ij + a(t) u_ij, and 1 for two views of one image                       (no gradient)
        beta_ik = softmax over N(i) of gamma s_ik / T                                     (no gradient)
        log M_i = log |N(i)| + log sum over N(i) of beta_ik exp(s_ik / T)
        l_i = sum over P(i) of w_ij softplus(log M_i - s_ij / T) / sum over P(i) of w_ij

    evidence: a name of `nearfar.spatial.evidence.EVIDENCE`, or None: every positive weighs 1. "patches" is the dense
        mode: z is [B, V, D] with V patch tokens an image, and all patches of two images share the pair's fused opinion.
    margin: cosine that speaks neither for nor against, or "adaptive": the midpoint between the mean cosines of two-view
        pairs and of different labels (used by hinge, softplus and patches).
    kappa: pseudo-observations at full similarity; prior_weight: W, those that halve the uncertainty.
    gamma: how far hard negatives count more; 0 is the plain mean over negatives (decoupled SupCon).
    curriculum: a(t) over the run: linear, cosine, step (at half) or none (1 from the start).
    class_balanced: mean over classes of the mean over anchors, instead of the mean over anchors.
    neighbours: k of the evidence "neighbourhood"; matches: all or best pairs of patches.
    statistics: running `PairStatistics` in place of the batch's (`EvidentialLoss` keeps them).
    keys, key_labels: [K, D] and [K], further columns that are no anchors, the same on every rank.
    memory, exchange: see `nearfar.losses`. In tiles, "neighbourhood" is refused; "patches", "reference" and images
        with rows of different labels go slab by slab of whole rows, and round a ring not at all.
    """
    settings = OpinionSettings(evidence, margin, kappa, prior_weight, neighbours, matches)
    scale, a = inverse(temperature), base_rate(progress, curriculum)
    if not gamma >= 0:
        raise ConfigError("gamma must not be negative", found=gamma)
    inputs = checked(z, labels, ids, keys, key_labels, normalize)
    patches = z.shape[1] if z.dim() == 3 else 1
    memory = "dense" if memory == "auto" and evidence == "neighbourhood" and exchange == "gather" else memory
    if not tiled(memory, exchange, inputs.x, keys, later=2):
        losses, valid = _dense(gathered(inputs), settings, statistics, scale, a, gamma, patches)
    elif fits(inputs, settings, exchange):
        losses, valid = class_blocks(inputs, settings, statistics, scale, a, gamma, exchange)
    else:
        losses, valid = whole_rows(gathered(inputs), settings, statistics, scale, a, gamma, patches)
    return class_mean(losses, valid, inputs.labels) if class_balanced else anchor_mean(losses, valid, NAME)


def _dense(
    rows: ImageRows,
    settings: OpinionSettings,
    statistics: PairStatistics | None,
    scale: float,
    a: float,
    gamma: float,
    patches: int,
) -> tuple[Tensor, Tensor]:
    block = block_rows(len(rows.columns), patches if settings.evidence == "patches" else 1, rows.anchors.device)
    masks = _remembered(rows)
    with torch.no_grad():
        cosine = rows.anchors @ rows.columns.T
        known = statistics
        if known is None and needs_statistics(settings):
            known = pair_statistics(cosine, masks, block, spread=settings.evidence == "log_likelihood_ratio")
        weigh = weigher(rows, settings, known, patches, a)
    return anchor_losses(rows.anchors, rows.columns, cosine, Problem(masks, weigh, scale, gamma, block))


def _remembered(rows: ImageRows) -> Callable[[slice], PairMasks]:
    """`pair_masks` of a block, made once: the statistics and the loss both need them."""
    made: dict[int, PairMasks] = {}

    def masks(part: slice) -> PairMasks:
        if part.start not in made:
            made[part.start] = pair_masks(rows, part)
        return made[part.start]

    return masks


def prepare(z: Tensor, labels: Tensor, ids: Tensor | None, normalize: bool = True) -> ImageRows:
    """Flatten views and gather over ranks, with the image of every row and column (default: its own)."""
    return gathered(checked(z, labels, ids, normalize=normalize))


def checked(
    z: Tensor,
    labels: Tensor,
    ids: Tensor | None,
    keys: Tensor | None = None,
    key_labels: Tensor | None = None,
    normalize: bool = True,
) -> Inputs:
    """Flatten views; every leading row is an image of its own without ids."""
    if ids is None:
        ids = torch.arange(len(z), device=z.device) + parallel.offset(len(z))
    flat, row_labels = flatten_views(z, labels)
    row_ids = flatten_views(z, ids, "ids")[1]
    if (keys is None) != (key_labels is None):
        raise ConfigError("keys and key_labels come together", found="one of the two", fix="Pass both or neither.")
    if keys is not None and key_labels is not None:
        check_keys(z, keys, key_labels)
        keys, key_labels = embeddings(keys, normalize), key_labels.to(row_labels)
    return Inputs(embeddings(flat, normalize), row_labels, row_ids, keys, key_labels)


def gathered(inputs: Inputs) -> ImageRows:
    """The rows against all columns. Keys are other images, whatever their ids were."""
    column_ids = parallel.gather(inputs.ids)
    if inputs.keys is not None:
        column_ids = torch.cat([column_ids, column_ids.new_full((len(inputs.keys),), NO_IMAGE)])
    rows = world_rows(inputs.x, inputs.labels, inputs.keys, inputs.key_labels)
    return ImageRows(rows.anchors, rows.labels, rows.columns, rows.column_labels, rows.own, inputs.ids, column_ids)


def class_mean(losses: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
    """Mean over the classes of all ranks of the mean over their valid anchors."""
    everywhere = parallel.gather(torch.where(valid, labels, torch.iinfo(torch.int64).min))
    everywhere = everywhere.sort().values
    size = torch.searchsorted(everywhere, labels, right=True) - torch.searchsorted(everywhere, labels)
    size = size.clamp(min=1).to(losses.dtype)
    share = torch.where(valid, 1 / size, 0.0)
    classes = parallel.global_sum(share.sum())
    mean = anchor_mean(losses * share, valid, NAME)
    return mean * parallel.global_sum(valid.sum()) / torch.where(classes > 0, classes, 1.0)


@torch.no_grad()
def pair_opinions(
    z: Tensor, labels: Tensor, ids: Tensor | None = None, *, progress: float = 0.0, **settings: object
) -> tuple[Opinion, PairMasks]:
    """The opinions [n, m] that the principled loss holds about all pairs, and which pair is what, for reports.

    settings: evidence, margin, kappa, prior_weight, neighbours, matches, as in `principled`.
    """
    chosen = OpinionSettings(**settings)  # type: ignore[arg-type]
    rows = prepare(z, labels, ids)
    cosine = rows.anchors @ rows.columns.T
    patches = z.shape[1] if z.dim() == 3 else 1
    evidence = pair_evidence(rows, chosen, pair_statistics(cosine, _remembered(rows), max(1, len(cosine))), patches)(
        cosine, slice(0, len(cosine))
    )
    a = base_rate(progress, "linear")
    return Opinion.from_evidence(*evidence, a, prior_weight=chosen.prior_weight), pair_masks(rows, slice(None))
