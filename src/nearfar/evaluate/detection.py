"""How well scores and maps find anomalies: image AUROC, pixel AUROC, AUPRO, with paired bootstrap intervals.

Each measure is an area under a curve drawn by lowering a threshold. A measure is therefore a sum over images of how
much of "the normal" and of "the anomalous" lies at each level of the score (`Levels`), which makes a resample of images
a product of matrices, and resampling thousands of times cheap even for pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import label as connected_components

from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.bootstrap import FloatArray, Interval, interval
from nearfar.evaluate.roc import roc_auc

BoolArray = NDArray[np.bool_]

FPR_LIMIT = 0.3
_LEVELS = 2048
_CHUNK = 256


@dataclass(frozen=True)
class Detection:
    """What a detector said about n images, and what is true."""

    score: FloatArray
    """[n], higher is more anomalous"""
    anomalous: BoolArray
    """[n]"""
    maps: NDArray[np.floating] | None = None
    """[n, H, W], higher is more anomalous"""
    masks: BoolArray | None = None
    """[n, H, W], True at the defect; an anomalous image with an empty mask takes no part in the pixel measures"""

    def __post_init__(self) -> None:
        _check_scores(self.score, self.anomalous)
        if self.maps is not None and self.masks is not None:
            _check_maps(self.maps, self.masks)


def image_auroc(score: ArrayLike, anomalous: ArrayLike) -> float:
    """Probability that an anomalous image scores above a normal one, ties counting half; score, anomalous [n].

    Raises ShapeError where the shapes differ, DataError where one of the kinds is missing or a score is not finite.
    """
    scores, truth = np.asarray(score, dtype=np.float64), np.asarray(anomalous, dtype=bool)
    _check_scores(scores, truth)
    return roc_auc(truth, scores)


def pixel_auroc(maps: ArrayLike, masks: ArrayLike) -> float:
    """Probability that a pixel of a defect scores above any pixel outside all defects; maps and masks [n, H, W].

    Raises ShapeError where the shapes differ, DataError where no pixel or every pixel is a defect, or a map holds NaN.
    """
    heat, truth = np.asarray(maps), np.asarray(masks, dtype=bool)
    _check_maps(heat, truth)
    return _area(_pixel_levels(heat, truth, exact=True))


def aupro(maps: ArrayLike, masks: ArrayLike, limit: float = FPR_LIMIT) -> float:
    """Area under the per-region overlap against the false positive rate up to `limit`, divided by `limit`.

    A region is a connected component (8 neighbours) of a mask; its overlap is the share of its pixels above the
    threshold; all regions weigh the same, however small. Bergmann et al. 2020, "Uninformed Students", section 4.
    maps and masks [n, H, W]. Raises as `pixel_auroc`.
    """
    heat, truth = np.asarray(maps), np.asarray(masks, dtype=bool)
    _check_maps(heat, truth)
    return _area(_region_levels(heat, truth, exact=True), limit)


def detection_report(
    found: Detection, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """image_auroc and, with maps and masks, pixel_auroc and aupro: value and bootstrap interval over images."""
    drawn = _resampled(found, resamples, seed)
    return {name: interval(value, drawn[name], confidence) for name, value in _values(found).items()}


def paired_differences(
    ours: Detection, theirs: Detection, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Each measure of `ours` minus that of `theirs`, both scored on the same resamples of the same images.

    Raises ShapeError or DataError where the two are not about the same images.
    """
    if ours.anomalous.shape != theirs.anomalous.shape or (ours.anomalous != theirs.anomalous).any():
        raise DataError("the two detectors were not run on the same images", found="different truth")
    mine, other = _values(ours), _values(theirs)
    first, second = _resampled(ours, resamples, seed), _resampled(theirs, resamples, seed)
    return {
        name: interval(mine[name] - other[name], first[name] - second[name], confidence)
        for name in mine
        if name in other
    }


@dataclass(frozen=True)
class _Levels:
    """[n, L]: how much normal and how much anomalous weight of an image lies at each level, the highest score first."""

    normal: FloatArray
    anomalous: FloatArray


def _values(found: Detection) -> dict[str, float]:
    values = {"image_auroc": image_auroc(found.score, found.anomalous)}
    if found.maps is not None and found.masks is not None:
        heat, masks = _with_truth(found.maps, found.masks, found.anomalous)[:2]
        values |= {"pixel_auroc": pixel_auroc(heat, masks), "aupro": aupro(heat, masks)}
    return values


def _with_truth(
    maps: NDArray[np.floating], masks: BoolArray, anomalous: BoolArray
) -> tuple[NDArray[np.floating], BoolArray, NDArray[np.intp]]:
    known = np.flatnonzero(~anomalous | masks.any((1, 2)))
    return maps[known], masks[known], known


def _resampled(found: Detection, resamples: int, seed: int) -> dict[str, FloatArray]:
    """Each measure on every resample, [r]; images are drawn within the normal and within the anomalous ones."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((resamples, len(found.score)))
    for kind in (False, True):
        members = np.flatnonzero(found.anomalous == kind)
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
    drawn = {"image_auroc": _areas(_image_levels(found.score, found.anomalous), counts)}
    if found.maps is not None and found.masks is not None:
        heat, masks, known = _with_truth(found.maps, found.masks, found.anomalous)
        drawn["pixel_auroc"] = _areas(_pixel_levels(heat, masks), counts[:, known])
        drawn["aupro"] = _areas(_region_levels(heat, masks), counts[:, known], FPR_LIMIT)
    return drawn


def _image_levels(score: FloatArray, anomalous: BoolArray) -> _Levels:
    level, count = _level_of(score, exact=False)
    table = np.zeros((len(score), count))
    table[np.arange(len(score)), level] = 1
    return _Levels(table * ~anomalous[:, None], table * anomalous[:, None])


def _pixel_levels(maps: NDArray[np.floating], masks: BoolArray, exact: bool = False) -> _Levels:
    return _weighted_levels(maps, ~masks, masks.astype(np.float64), exact)


def _region_levels(maps: NDArray[np.floating], masks: BoolArray, exact: bool = False) -> _Levels:
    weight = np.zeros(masks.shape)
    for image, mask in zip(weight, masks, strict=True):
        regions, _ = connected_components(mask, structure=np.ones((3, 3)))
        image[mask] = 1 / np.bincount(regions[mask])[regions[mask]]
    return _weighted_levels(maps, ~masks, weight, exact)


def _weighted_levels(maps: NDArray[np.floating], normal: BoolArray, anomalous: FloatArray, exact: bool) -> _Levels:
    level, count = _level_of(maps.ravel(), exact)
    # With every distinct value a level of its own, a table by image would not fit; the images are then joined.
    images = 1 if exact else len(maps)
    cell = level if exact else level + np.repeat(np.arange(images), level.size // images) * count
    sums = [
        np.asarray(np.bincount(cell, weights=w.ravel(), minlength=images * count), float).reshape(images, count)
        for w in (normal, anomalous)
    ]
    return _Levels(*sums)


def _level_of(score: NDArray[np.floating], exact: bool) -> tuple[NDArray[np.intp], int]:
    """Level of every score, 0 the highest: its distinct value, or (not exact) which of 2,048 quantiles it reaches."""
    if exact or score.size <= _LEVELS:
        values, level = np.unique(score, return_inverse=True)
        return len(values) - 1 - level, len(values)
    edges = np.unique(np.quantile(score, np.linspace(0, 1, _LEVELS)[1:-1]))
    return len(edges) - np.searchsorted(edges, score, side="right"), len(edges) + 1


def _area(levels: _Levels, limit: float = 1.0) -> float:
    return float(_areas(levels, np.ones((1, len(levels.normal))), limit)[0])


def _areas(levels: _Levels, counts: FloatArray, limit: float = 1.0) -> FloatArray:
    """Area under (normal share, anomalous share) up to `limit`, over `limit`, of each row of image counts [r, n]."""
    parts = np.array_split(counts, max(1, len(counts) // _CHUNK))
    return np.concatenate([_curve_area(part @ levels.normal, part @ levels.anomalous, limit) for part in parts])


def _curve_area(normal: FloatArray, anomalous: FloatArray, limit: float) -> FloatArray:
    x, y = (np.pad(np.cumsum(w, axis=1), ((0, 0), (1, 0))) for w in (normal, anomalous))
    with np.errstate(invalid="ignore"):
        # A resample without any masked defect is NaN, and leaves the interval.
        x, y = x / x[:, -1:], y / y[:, -1:]
    step, rise = np.diff(x), np.diff(y)
    # The part of each step that lies below the limit: a trapezoid cut off at the limit.
    part = np.clip(limit - x[:, :-1], 0, step)
    share = np.divide(part, step, out=np.zeros_like(step), where=step > 0)
    area: FloatArray = (part * (y[:, :-1] + rise * share / 2)).sum(axis=1) / limit
    return area


def _check_scores(score: NDArray[np.floating], anomalous: BoolArray) -> None:
    if score.ndim != 1 or score.shape != anomalous.shape:
        raise ShapeError("one score and one truth an image", found=(score.shape, anomalous.shape), expected="[n], [n]")
    if not np.isfinite(score).all():
        raise DataError("an anomaly score is not finite", where=f"image {int(np.argmin(np.isfinite(score)))}")
    if anomalous.all() or not anomalous.any():
        kind = "normal" if len(anomalous) and anomalous.all() else "anomalous"
        raise DataError(f"an AUROC needs both kinds of image, and none is {kind}", found=f"{len(anomalous)} images")


def _check_maps(maps: NDArray[np.floating], masks: BoolArray) -> None:
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ShapeError("one map and one mask an image", found=(maps.shape, masks.shape), expected="[n, H, W] twice")
    if not np.isfinite(maps).all():
        raise DataError("an anomaly map is not finite", where=f"image {int(np.argmin(np.isfinite(maps).all((1, 2))))}")
    if masks.all() or not masks.any():
        raise DataError("pixel measures need pixels in and outside of defects", found=f"{masks.mean():.0%} in defects")
