"""Ranking of a yes-or-no question: ROC and precision-recall curves, the areas under them, and DeLong's variance.

Areas depend on the order of the scores only. With several images of one patient, `clusters` replaces DeLong's variance
by Obuchowski's, which is the same number where every cluster holds one sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.binary import as_scored, logit, normal_quantile
from nearfar.evaluate.bootstrap import FloatArray, IntArray, Interval, cluster_matrix


@dataclass(frozen=True)
class Curve:
    """What is called 1 as the threshold falls (called 1 where score >= threshold), from nothing to everything."""

    threshold: FloatArray
    """[L + 1], falling: infinity, then every distinct score"""
    true_positives: FloatArray
    """[L + 1] weight of the samples labelled 1 at or above the threshold"""
    false_positives: FloatArray
    """[L + 1] weight of the samples labelled 0 at or above the threshold"""

    @property
    def tpr(self) -> FloatArray:
        """Sensitivity, recall."""
        return np.asarray(self.true_positives / self.true_positives[-1])

    @property
    def fpr(self) -> FloatArray:
        """1 - specificity."""
        return np.asarray(self.false_positives / self.false_positives[-1])

    @property
    def precision(self) -> FloatArray:
        """Share of label 1 among those called 1; 1 by convention where nothing is."""
        called = self.true_positives + self.false_positives
        return np.divide(self.true_positives, called, out=np.ones_like(called), where=called > 0)


def curve(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Curve:
    """The ROC and precision-recall curve of labels [n] and scores [n], optionally of samples with weights [n].

    Raises ShapeError or DataError as `as_scored`, and DataError for negative weights.
    """
    truth, values = as_scored(labels, scores)
    positive, negative = _level_sums(truth, values, _checked_weights(weights, truth))
    return Curve(
        np.concatenate([[np.inf], np.unique(values)[::-1]]),
        *(np.concatenate([[0.0], np.cumsum(side[0, ::-1])]) for side in (positive, negative)),
    )


def roc_auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Probability that a 1 scores above a 0, ties counting half (Hanley and McNeil 1982).

    labels, scores and weights [n]. Raises ShapeError or DataError as `curve`; constant scores give 0.5.
    """
    truth, values = as_scored(labels, scores)
    return float(weighted_roc_auc(truth, values, _checked_weights(weights, truth))[0])


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean precision over the steps of recall, sum_k (R_k - R_(k-1)) P_k, without interpolation; the PR-AUC reported.

    A trapezoid under the precision-recall curve is too high (Davis and Goadrich 2006). Constant scores give the
    prevalence. Raises as `roc_auc`.
    """
    truth, values = as_scored(labels, scores)
    return float(weighted_average_precision(truth, values, _checked_weights(weights, truth))[0])


def weighted_roc_auc(labels: IntArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """`roc_auc` for every row of weights [r, n]: [r], NaN where a row leaves one of the classes out."""
    positive, negative = _level_sums(labels, scores, weights)
    below = np.cumsum(negative, axis=1) - negative / 2
    return _ratio((positive * below).sum(1), positive.sum(1) * negative.sum(1))


def weighted_average_precision(labels: IntArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """`average_precision` for every row of weights [r, n]: [r], NaN where a row leaves one of the classes out."""
    positive, negative = (side[:, ::-1] for side in _level_sums(labels, scores, weights))
    found, called = np.cumsum(positive, axis=1), np.cumsum(positive + negative, axis=1)
    precision = np.divide(found, called, out=np.zeros_like(called), where=called > 0)
    area = _ratio((positive * precision).sum(1), positive.sum(1))
    return np.where(negative.sum(1) > 0, area, np.nan)


@dataclass(frozen=True)
class DeLong:
    """Areas of k systems on the same samples, with their covariance."""

    auc: FloatArray
    """[k]"""
    covariance: FloatArray
    """[k, k]; NaN where a class has a single sample (or lies in a single cluster)"""


def delong(labels: ArrayLike, scores: ArrayLike, *, clusters: ArrayLike | None = None) -> DeLong:
    """Areas under the ROC curves of scores [n] or [k, n] and their covariance.

    DeLong, DeLong and Clarke-Pearson 1988, by midranks (Sun and Xu 2014): O(k n log n). With `clusters` [n] (patients)
    the covariance of Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data", equations 5 to 8.
    Raises ShapeError or DataError as `as_scored`.
    """
    systems = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    truth = as_scored(labels, systems[0])[0]
    parts = [_placements(truth, as_scored(truth, values)[1]) for values in systems]
    auc = np.array([value for value, _ in parts])
    members = cluster_matrix(np.arange(len(truth)) if clusters is None else _checked_clusters(clusters, truth))
    residuals = np.stack([part for _, part in parts])
    ones = truth == 1
    by_class = [np.asarray((members @ (residuals * kind).T).T) for kind in (ones, ~ones)]
    present = [np.asarray(members @ kind) > 0 for kind in (ones, ~ones)]
    sizes = (int(ones.sum()), int((~ones).sum()))
    return DeLong(auc, _covariance(by_class, present, sizes))


def auc_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
    method: str = "logit",
) -> Interval:
    """Area under the ROC curve with its DeLong interval, Obuchowski's with `clusters` [n].

    "logit" is symmetric in log(A / (1 - A)) and stays within 0..1 (Pepe 2003, section 5.2.5); "normal" is A +- z s and
    may leave it. Where the variance says nothing (A of exactly 0 or 1, or a class of one sample) the interval is
    Newcombe's 2006 method 5, from Hanley and McNeil's variance, with clusters in the place of samples.
    Raises ConfigError for another method, ShapeError or DataError as `as_scored`.
    """
    if method not in {"logit", "normal"}:
        raise ConfigError(f"unknown interval '{method}'", expected="logit or normal")
    found = delong(labels, scores, clusters=clusters)
    auc, variance = float(found.auc[0]), float(found.covariance[0, 0])
    width = normal_quantile(confidence) * np.sqrt(max(variance, 0.0))
    if np.isnan(variance) or auc in (0.0, 1.0):
        low, high = _newcombe(auc, *_sizes(labels, clusters), confidence)
    elif method == "normal":
        low, high = auc - width, auc + width
    else:
        middle, scale = float(logit(auc)), auc * (1 - auc)
        low, high = scipy.special.expit([middle - width / scale, middle + width / scale])
    return {"value": auc, "low": float(low), "high": float(high)}


@dataclass(frozen=True)
class PairedAuc:
    """Area of the first system minus that of the second on the same samples."""

    difference: float
    low: float
    high: float
    z: float
    p: float
    """two-sided"""


def paired_delong(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
) -> PairedAuc:
    """Are two areas on the same samples [n] different? DeLong's test, Obuchowski's with `clusters` [n].

    Two systems that order the samples alike differ by 0 with p = 1; z and p are NaN where the variance is not known.
    Raises ShapeError or DataError as `as_scored`.
    """
    _, one = as_scored(labels, first)
    truth, two = as_scored(labels, second)
    found = delong(truth, np.stack([one, two]), clusters=clusters)
    difference = float(found.auc[0] - found.auc[1])
    contrast = np.array([1.0, -1.0])
    deviation = float(np.sqrt(max(float(contrast @ found.covariance @ contrast), 0.0)))
    undefined = 0.0 if difference == 0 else float("nan")
    z = difference / deviation if deviation > 0 else undefined
    half = normal_quantile(confidence) * deviation
    p = float(2 * scipy.special.ndtr(-abs(z)))
    return PairedAuc(difference, difference - half, difference + half, z, p)


def _level_sums(labels: IntArray, scores: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weight of the ones and of the zeros at every distinct score, the lowest first: [r, L] twice."""
    order = np.argsort(scores, kind="stable")
    ordered, truth = scores[order], labels[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sorted_weights = weights[:, order]
    positive = np.add.reduceat(sorted_weights * truth, starts, axis=1)
    return positive, np.add.reduceat(sorted_weights, starts, axis=1) - positive


def _placements(truth: IntArray, scores: FloatArray) -> tuple[float, FloatArray]:
    """The area, and how far each sample's share of rightly ordered pairs lies above it [n]."""
    ones = truth == 1
    joint = rankdata(scores)
    share = np.empty(len(scores))
    share[ones] = (joint[ones] - rankdata(scores[ones])) / (~ones).sum()
    share[~ones] = 1 - (joint[~ones] - rankdata(scores[~ones])) / ones.sum()
    auc = float(share[ones].mean())
    return auc, share - auc


def _covariance(by_class: list[FloatArray], present: list[np.ndarray], sizes: tuple[int, int]) -> FloatArray:
    """[k, k] from residuals summed within clusters, [k, clusters] of the ones and of the zeros."""
    (ones, zeros), (m, n) = by_class, sizes
    counts = [int(kind.sum()) for kind in present]
    if min(counts) < 2:
        return np.full((len(ones), len(ones)), np.nan)
    total = ones.shape[1]
    within = [
        count / (count - 1) * part @ part.T / size**2 for count, part, size in zip(counts, by_class, sizes, strict=True)
    ]
    across = total / (total - 1) * ones @ zeros.T / (m * n)
    covariance: FloatArray = within[0] + within[1] + across + across.T
    return covariance


def _newcombe(auc: float, ones: int, zeros: int, confidence: float) -> tuple[float, float]:
    z, extra = normal_quantile(confidence), (ones + zeros) / 2 - 1
    bounds = {-1: (0.0, auc), 1: (auc, 1.0)}

    def distance(area: float, side: int) -> float:
        pairs = 1 + extra * (1 - area) / (2 - area) + extra * area / (1 + area)
        return side * (area - auc) - z * float(np.sqrt(area * (1 - area) * pairs / (ones * zeros)))

    def bound(side: int) -> float:
        start, end = bounds[side]
        if start == end:
            return auc
        # At the estimate itself the distance is 0 where the area is 0 or 1: the other root is the bound.
        inner = (max(start, 1e-12), min(end, 1 - 1e-12))
        return float(scipy.optimize.brentq(partial(distance, side=side), *inner))

    return bound(-1), bound(1)


def _sizes(labels: ArrayLike, clusters: ArrayLike | None) -> tuple[int, int]:
    truth = np.asarray(labels).astype(bool)
    units = np.arange(len(truth)) if clusters is None else np.asarray(clusters)
    return len(np.unique(units[truth])), len(np.unique(units[~truth]))


def _checked_weights(weights: ArrayLike | None, labels: IntArray) -> FloatArray:
    """[1, n]; both classes keep some weight."""
    if weights is None:
        return np.ones((1, len(labels)))
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != labels.shape:
        raise ShapeError("one weight a sample", found=values.shape, expected=labels.shape)
    if not (np.isfinite(values) & (values >= 0)).all() or not all(values[labels == k].sum() > 0 for k in (0, 1)):
        raise DataError("weights are finite, not negative, and leave no class without any")
    return values[None]


def _checked_clusters(clusters: ArrayLike, labels: IntArray) -> ArrayLike:
    if np.shape(clusters) != labels.shape:
        raise ShapeError("one cluster a sample", found=np.shape(clusters), expected=labels.shape)
    return clusters


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
