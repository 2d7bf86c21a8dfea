"""Has the population changed? Two-sample tests on embeddings, and probabilities under another prevalence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.binary import CLIP, checked_probabilities
from nearfar.evaluate.bootstrap import FloatArray, IntArray
from nearfar.evaluate.roc import auc_interval, delong

_LIMIT = 1500  # samples of each cohort that the kernel test looks at: its matrix grows with the square
_CHUNK = 64


@dataclass(frozen=True)
class TwoSample:
    """A test that two samples come from one distribution."""

    statistic: float
    p: float
    """one-sided: small where the samples differ"""
    low: float = float("nan")
    high: float = float("nan")
    """interval of the statistic, where the test has one"""


def mmd(
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: tuple[ArrayLike, ArrayLike] | None = None,
    permutations: int = 500,
    bandwidth: float | None = None,
    seed: int = 0,
) -> TwoSample:
    """Squared maximum mean discrepancy of embeddings [n, D] and [m, D], unbiased, with a permutation test.

    Gretton et al. 2012, "A kernel two-sample test", equation 3, with the kernel exp(-|x - y|^2 / (2 s^2)) and s the
    median distance of the joined sample (`bandwidth` sets another). `clusters` ([n], [m]) are patients: whole ones
    are permuted, since images of one patient are alike. Cohorts of more than 1,500 samples are thinned at random.
    p = (1 + permutations that reach the statistic) / (1 + permutations). Raises ConfigError, ShapeError or DataError.
    """
    if permutations < 1 or (bandwidth is not None and bandwidth <= 0):
        raise ConfigError("a permutation test needs a permutation and a bandwidth above 0")
    rng = np.random.default_rng(seed)
    joined, side, units = _joined(first, second, clusters)
    kept = np.concatenate([_thinned(rng, np.flatnonzero(side == k)) for k in (1, 0)])
    joined, side, units = joined[kept], side[kept], np.unique(units[kept], return_inverse=True)[1].ravel()
    kernel = _gaussian(joined, bandwidth)
    unit_side = np.zeros(int(units.max()) + 1)
    unit_side[units] = side
    found = float(_discrepancy(kernel, side[None].astype(np.float64))[0])
    reached = 0
    for size in (min(_CHUNK, permutations - done) for done in range(0, permutations, _CHUNK)):
        drawn = rng.permuted(np.tile(unit_side, (size, 1)), axis=1)[:, units]
        # Clusters differ in size: a permutation may leave one side too small to compare, which reaches nothing.
        reached += int((_discrepancy(kernel, drawn) >= found - 1e-12).sum())
    return TwoSample(found, (1 + reached) / (1 + permutations))


def classifier_two_sample(
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: tuple[ArrayLike, ArrayLike] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> TwoSample:
    """How well a classifier tells embeddings [n, D] from [m, D]: its ROC-AUC on samples it has not seen.

    Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests", with a logistic regression (balanced classes)
    fitted on a random half and judged on the other; `clusters` ([n], [m]) are patients, halved whole. 0.5 is no
    difference, 1 a complete one. p is that of AUC > 0.5 by DeLong's variance, Obuchowski's with clusters. A linear
    classifier sees differences of means: for others use `mmd`. Raises ShapeError or DataError, also where a half
    would hold fewer than two units of a cohort.
    """
    joined, side, units = _joined(first, second, clusters)
    fitted = np.isin(units, _half(np.random.default_rng(seed), units, side))
    scaler = StandardScaler().fit(joined[fitted])
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
    model.fit(scaler.transform(joined[fitted]), side[fitted])
    score = model.decision_function(scaler.transform(joined[~fitted]))
    truth, who = side[~fitted], units[~fitted]
    ends = auc_interval(truth, score, clusters=who, confidence=confidence)
    deviation = float(np.sqrt(max(delong(truth, score, clusters=who).covariance[0, 0], 1e-12)))
    p = float(scipy.special.ndtr(-(ends["value"] - 0.5) / deviation))
    return TwoSample(ends["value"], p, ends["low"], ends["high"])


def adjust_prevalence(probabilities: ArrayLike, fitted: float, now: float) -> FloatArray:
    """Probabilities [n] calibrated at the prevalence `fitted`, as they are at the prevalence `now`.

    Odds are multiplied by the ratio of prior odds (Elkan 2001, theorem 2; Saerens et al. 2002, equation 2.4): right
    where the prevalence alone has changed, and images of a class look as before. Raises ConfigError for a
    prevalence outside 0 < p < 1, DataError for a probability outside 0..1.
    """
    values = checked_probabilities(probabilities)
    for prevalence in (fitted, now):
        if not 0 < prevalence < 1:
            raise ConfigError("a prevalence lies in 0 < p < 1", found=prevalence)
    ones, zeros = values * now / fitted, (1 - values) * (1 - now) / (1 - fitted)
    return np.asarray(ones / (ones + zeros))


def estimate_prevalence(probabilities: ArrayLike, fitted: float) -> float:
    """The prevalence of unlabelled samples [n] from probabilities calibrated at the prevalence `fitted`.

    The likelihood's maximum, by the iteration of Saerens, Latinne and Decaestecker 2002; the assumption is that of
    `adjust_prevalence`, and miscalibrated probabilities mislead it. Raises as `adjust_prevalence`, and DataError
    without samples.
    """
    values = checked_probabilities(probabilities)
    if not values.size:
        raise DataError("no probabilities to estimate a prevalence from")
    now = fitted
    for _ in range(10_000):
        after = float(np.clip(adjust_prevalence(values, fitted, now).mean(), CLIP, 1 - CLIP))
        if abs(after - now) < 1e-10:
            break
        now = after
    return after


def _joined(
    first: ArrayLike, second: ArrayLike, clusters: tuple[ArrayLike, ArrayLike] | None
) -> tuple[FloatArray, IntArray, IntArray]:
    """Both samples [n + m, D], 0 for the first and 1 for the second [n + m], and the unit of each row."""
    parts = [np.asarray(part, dtype=np.float64) for part in (first, second)]
    if any(part.ndim != 2 for part in parts) or parts[0].shape[1] != parts[1].shape[1]:
        raise ShapeError("two samples of the same dimension", found=[p.shape for p in parts], expected="[n, D], [m, D]")
    if min(map(len, parts)) < 2 or not all(np.isfinite(part).all() for part in parts):
        raise DataError("a comparison needs two finite rows on each side", found=[len(part) for part in parts])
    names = [np.arange(len(part)) for part in parts] if clusters is None else [np.asarray(c) for c in clusters]
    if any(name.shape != (len(part),) for name, part in zip(names, parts, strict=True)):
        raise ShapeError("one cluster a row", found=[n.shape for n in names], expected=[(len(p),) for p in parts])
    places = [np.unique(name, return_inverse=True)[1].ravel() for name in names]
    side = np.repeat([0, 1], [len(part) for part in parts])
    return np.concatenate(parts), side, np.concatenate([places[0], places[0].max() + 1 + places[1]])


def _thinned(rng: np.random.Generator, rows: IntArray) -> IntArray:
    return rows if len(rows) <= _LIMIT else np.sort(rng.choice(rows, _LIMIT, replace=False))


def _gaussian(rows: FloatArray, bandwidth: float | None) -> FloatArray:
    """Kernel matrix with an empty diagonal, which the unbiased estimate leaves out."""
    centred = rows - rows.mean(axis=0)
    norms = (centred**2).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms - 2 * centred @ centred.T, 0)
    apart = squares[np.triu_indices(len(rows), 1)]
    middle = float(np.median(apart)) if bandwidth is None else bandwidth**2
    kernel = np.exp(-squares / (2 * middle)) if middle > 0 else (squares <= 0).astype(np.float64)
    np.fill_diagonal(kernel, 0)
    return np.asarray(kernel)


def _discrepancy(kernel: FloatArray, second: FloatArray) -> FloatArray:
    """Unbiased squared discrepancy for every assignment [r, N] of rows to the first (0) and the second (1): [r]."""
    m = second.sum(axis=1)
    n = second.shape[1] - m
    product = second @ kernel
    total, ones = kernel.sum(), (product * second).sum(axis=1)
    across = product.sum(axis=1) - ones
    zeros = total - ones - 2 * across
    with np.errstate(divide="ignore", invalid="ignore"):
        found = ones / (m * (m - 1)) + zeros / (n * (n - 1)) - 2 * across / (m * n)
    return np.where((m > 1) & (n > 1), found, -np.inf)


def _half(rng: np.random.Generator, units: IntArray, side: IntArray) -> IntArray:
    """A random half of the units of each cohort."""
    halves = []
    for kind in (0, 1):
        names = np.unique(units[side == kind])
        if len(names) < 4:
            raise DataError("a cohort has fewer than four patients or samples to split", found=len(names))
        halves.append(rng.permutation(names)[: len(names) // 2])
    return np.concatenate(halves)
