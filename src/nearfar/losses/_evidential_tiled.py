"""The principled evidential loss in tiles: rivals by symmetric sweeps, weights inside the blocks of a class alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar import parallel
from nearfar.errors import ConfigError
from nearfar.losses._evidential_core import Problem, block_losses
from nearfar.losses._opinion_weights import (
    ImageRows,
    OpinionSettings,
    PairStatistics,
    moments,
    needs_statistics,
    pair_evidence,
    pair_masks,
    statistics_of,
    weigher,
)
from nearfar.losses.core import Contrast, Exchange, Pairs, Power, Terms, row_slabs
from nearfar.losses.core.layout import spans
from nearfar.spatial.opinions import projected_probability

ELEMENTWISE = (None, "hinge", "softplus", "log_likelihood_ratio", "exp_tanh")
"""evidence about a pair from its cosine alone"""
VIEWS = 16
"""rows an image up to which its pairs are taken one by one"""
NO_IMAGE = torch.iinfo(torch.int64).min


@dataclass(frozen=True)
class Inputs:
    """This rank's rows x [n, D] with labels and ids [n], and the keys, ready for products."""

    x: Tensor
    labels: Tensor
    ids: Tensor
    keys: Tensor | None
    key_labels: Tensor | None

    def world(self) -> tuple[Tensor, Tensor]:
        """Labels and ids of the rows of all ranks."""
        counts = parallel.sizes(len(self.x))
        return parallel.gather(self.labels, counts), parallel.gather(self.ids, counts)

    def one_label_an_image(self) -> bool:
        """Whether rows of one image have one label everywhere; then near pairs are those of one label."""
        labels, ids = self.world()
        order = ids.argsort()
        labels, ids = labels[order], ids[order]
        return not bool(((ids[1:] == ids[:-1]) & (labels[1:] != labels[:-1])).any())


def fits(inputs: Inputs, settings: OpinionSettings, exchange: Exchange) -> bool:
    """Whether class blocks do: otherwise whole rows are taken slab by slab. ConfigError where neither does."""
    if settings.evidence == "neighbourhood":
        raise ConfigError(
            "neighbourhood evidence needs all cosines at once",
            found="memory='tiled' or exchange='ring'",
            fix="Use memory='dense', or another evidence.",
        )
    fitting = settings.evidence in ELEMENTWISE and inputs.one_label_an_image()
    if exchange == "ring" and not fitting:
        raise ConfigError(
            "a ring needs evidence from single cosines, and one label an image",
            found=f"evidence {settings.evidence!r}",
            expected=", ".join(map(repr, ELEMENTWISE)),
            fix="Use exchange='gather'.",
        )
    return fitting


def class_blocks(
    inputs: Inputs,
    settings: OpinionSettings,
    statistics: PairStatistics | None,
    scale: float,
    a: float,
    gamma: float,
    exchange: Exchange,
) -> tuple[Tensor, Tensor]:
    """Loss [n] of every anchor, and whether it has a positive with weight and a negative. Images have one label."""
    if statistics is None and needs_statistics(settings):
        statistics = batch_statistics(inputs, settings.evidence == "log_likelihood_ratio", exchange)
    # An unknown label is near to its own image alone and has no negatives: such rows take no part.
    known = inputs.labels >= 0
    x, labels, ids = _known_rows(inputs)
    keys, key_labels = _known_keys(inputs)
    contrast = Contrast(x, labels, keys=keys, key_groups=key_labels, exchange=exchange)
    column_ids = _column_ids(ids, keys)
    count = contrast.numbers[1]
    size = count.clamp(min=1).to(x.dtype).log()
    if gamma:
        beta, rivals = contrast.sums(scale, (Power(gamma, 0.0), Power(1 + gamma, 1.0)))[2:]
    else:
        beta, rivals = size, contrast.sums(scale, (Power(1.0, 1.0),))[2]
    log_m = torch.where(count > 0, size + rivals - beta, 0.0)
    weigh = _elementwise(x, settings, statistics, a)

    def terms(s: Tensor, level: Tensor, pairs: Pairs) -> Terms:
        strong = (ids[pairs.rows, None] == column_ids[None, pairs.columns]).logical_and_(pairs.near)
        weights = weigh(s / scale).masked_fill_(strong, 1.0).mul_(pairs.near)
        return Terms(weights, level[0, :, None] - s)

    total, pull = contrast.softplus_sums(terms, log_m[None], scale)
    held = ~(total <= 0) & (count > 0)  # a sum that is NaN is held, so that the loss tells
    losses = torch.where(held, pull / torch.where(held, total, 1.0), 0.0)
    where = known.nonzero()[:, 0]
    everyone = inputs.x.new_zeros(len(known)).index_copy(0, where, losses)
    return everyone, torch.zeros_like(known).index_copy(0, where, held)


def _elementwise(
    x: Tensor, settings: OpinionSettings, statistics: PairStatistics | None, a: float
) -> Callable[[Tensor], Tensor]:
    """Cosines of any pairs -> b + a u."""
    if settings.evidence is None:
        return torch.ones_like
    none = x[:0].new_zeros(0, dtype=torch.int64)
    evidence = pair_evidence(ImageRows(x[:0], none, x[:0], none, none, none, none), settings, statistics)

    def weigh(cosine: Tensor) -> Tensor:
        r, s = evidence(cosine, slice(0))
        return projected_probability(r, s, a, settings.prior_weight)

    return weigh


def _known_rows(inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    known = inputs.labels >= 0
    if bool(known.all()):
        return inputs.x, inputs.labels, inputs.ids
    return inputs.x[known], inputs.labels[known], inputs.ids[known]


def _known_keys(inputs: Inputs) -> tuple[Tensor | None, Tensor | None]:
    if inputs.keys is None or inputs.key_labels is None:
        return None, None
    known = inputs.key_labels >= 0
    return inputs.keys[known], inputs.key_labels[known]


def _column_ids(ids: Tensor, keys: Tensor | None) -> Tensor:
    world = parallel.gather(ids)
    return world if keys is None else torch.cat([world, world.new_full((len(keys),), NO_IMAGE)])


@torch.no_grad()
def batch_statistics(inputs: Inputs, spread: bool, exchange: Exchange) -> PairStatistics:
    """`pair_statistics` without the pairs, for images of one label: far pairs are all of known label but the near.

    Sums of cosines are products of sums of rows, sums of squared cosines products of d x d moments.
    """
    near = _image_moments(inputs.x, inputs.ids, exchange)
    x, labels, _ = _known_rows(inputs)
    keys, key_labels = _known_keys(inputs)
    rows, columns = _class_sums(x, labels, keys, key_labels)
    first = (rows.sum(0) * columns.sum(0)).sum() - (rows * columns).sum()
    # The last column of the sums is the number of rows: its products are numbers of pairs.
    far_count = rows[:, -1].sum() * columns[:, -1].sum() - (rows[:, -1] * columns[:, -1]).sum()
    second = _far_squares(x, labels, keys, key_labels, exchange) if spread else torch.zeros_like(first)
    return statistics_of(torch.stack([parallel.global_sum(near), torch.stack([far_count, first - far_count, second])]))


def _image_moments(x: Tensor, ids: Tensor, exchange: Exchange) -> Tensor:
    """[3] in double: number of pairs of rows of one image, sum of their cosines, and of the squares."""
    order = ids.argsort(stable=True)
    images = ids[order]
    most = int(images.unique_consecutive(return_counts=True)[1].max()) if len(ids) else 0  # type: ignore[no-untyped-call]
    if parallel.world_size() > 1 or most > VIEWS:
        contrast = Contrast(x, ids, exchange=exchange)
        sums = contrast.pair_sums(_moment_kernel, x.new_zeros(0, len(x)), 2, 1.0).sum(1, dtype=torch.float64)
        return torch.cat([contrast.numbers[0].sum(dtype=torch.float64)[None], sums])
    total = torch.zeros(3, dtype=torch.float64, device=x.device)
    for a, b in spans(len(x) if most > 1 else 0, 512):  # rows that stay in the cache
        rows, image = x[order[a : b + most - 1]], images[a : b + most - 1]
        for k in range(1, min(most, len(rows))):
            held = min(b - a, len(rows) - k)
            same = image[:held] == image[k : k + held]
            cosine = (rows[:held] * rows[k : k + held]).sum(1)[same].double()
            total += 2 * torch.stack([same.sum(), cosine.sum(), (cosine * cosine).sum()])
    return total


def _moment_kernel(s: Tensor, _level: Tensor, pairs: Pairs) -> Tensor:
    inside = s * pairs.near
    return torch.stack([inside.sum(1), (inside * inside).sum(1)])


def _class_sums(x: Tensor, labels: Tensor, keys: Tensor | None, key_labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sums [C, D + 1] in double of the world's rows, and of all columns, a class; the last entry is their number.

    Rows carry a one beside their numbers, so a product of two sums is the sum of cosines plus the number of pairs.
    """
    world = parallel.gather(labels)
    classes = torch.cat([world] if key_labels is None else [world, key_labels]).unique()  # type: ignore[no-untyped-call]

    def summed(z: Tensor, y: Tensor) -> Tensor:
        total = torch.zeros(len(classes), z.shape[1] + 1, dtype=torch.float64, device=z.device)
        for a, b in spans(len(z), 512):  # doubles of so many rows stay in the cache
            total.index_add_(0, torch.searchsorted(classes, y[a:b]), F.pad(z[a:b].double(), (0, 1), value=1.0))
        return total

    rows = parallel.global_sum(summed(x, labels))
    return rows, rows if keys is None or key_labels is None else rows + summed(keys.to(x), key_labels)


def _far_squares(
    x: Tensor, labels: Tensor, keys: Tensor | None, key_labels: Tensor | None, exchange: Exchange
) -> Tensor:
    contrast = Contrast(x, labels, keys=keys, key_groups=key_labels, exchange=exchange)
    near = contrast.pair_sums(_moment_kernel, x.new_zeros(0, len(x)), 2, 1.0)[1].sum(dtype=torch.float64)
    itself = (x * x).sum(1, dtype=torch.float64).square().sum()
    rows = parallel.global_sum(_gram(x))
    columns = rows if keys is None else rows + _gram(keys)
    return (rows * columns).sum() - parallel.global_sum(near + itself)


def _gram(x: Tensor) -> Tensor:
    total = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64, device=x.device)
    for a, b in spans(len(x), 4096):
        part = x[a:b].double()
        total.addmm_(part.T, part)
    return total


def whole_rows(
    rows: ImageRows,
    settings: OpinionSettings,
    statistics: PairStatistics | None,
    scale: float,
    a: float,
    gamma: float,
    patches: int,
) -> tuple[Tensor, Tensor]:
    """As `class_blocks`, for any evidence but neighbourhood and any labels: the dense form in slabs of rows."""
    if statistics is None and needs_statistics(settings):
        statistics = _slab_statistics(rows, settings.evidence == "log_likelihood_ratio")
    weigh = weigher(rows, settings, statistics, patches, a)
    problem = Problem(lambda part: pair_masks(rows, part), weigh, scale, gamma, 0)

    def kernel(cosine: Tensor, part: slice) -> Tensor:
        with torch.no_grad():
            losses, valid, gradient = block_losses(cosine.detach().clone(), part, problem)
        moved = (gradient * (cosine - cosine.detach())).sum(1)  # zero, with the gradient of the losses
        return torch.stack([losses + moved, valid.to(losses)])

    losses, valid = row_slabs(rows.anchors, rows.columns, kernel, 2, patches if settings.evidence == "patches" else 1)
    return losses, valid.detach() > 0


@torch.no_grad()
def _slab_statistics(rows: ImageRows, spread: bool) -> PairStatistics:
    total = torch.zeros(2, 3, dtype=torch.float64, device=rows.anchors.device)

    def kernel(cosine: Tensor, part: slice) -> Tensor:
        masks = pair_masks(rows, part)
        total.add_(torch.stack([moments(cosine, mask, spread) for mask in (masks.strong, masks.negative)]))
        return cosine.new_zeros(0, len(cosine))

    row_slabs(rows.anchors, rows.columns, kernel, 0)
    return statistics_of(parallel.global_sum(total))
