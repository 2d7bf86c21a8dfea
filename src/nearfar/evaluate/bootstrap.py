"""Percentile intervals by the bootstrap (Efron and Tibshirani 1993, chapters 13 and 16), vectorised over resamples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray

from nearfar.errors import DataError, ShapeError

Interval = dict[str, float]
"""{"value", "low", "high"}: the estimate on the data and the ends of its percentile interval"""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CELLS = 1 << 22  # numbers a chunk of resamples may hold: 32 MB of float64


def interval(value: float, resampled: ArrayLike, confidence: float = 0.95) -> Interval:
    """The estimate with its percentile interval; resamples where the estimate is undefined (NaN) are left out."""
    samples = np.asarray(resampled, dtype=np.float64)
    samples = samples[~np.isnan(samples)]
    if not samples.size:
        return {"value": float(value), "low": float(value), "high": float(value)}
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(value), "low": float(low), "high": float(high)}


def bootstrap_mean(
    values: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean of values [n] with its interval. Raises DataError for no values or a NaN.

    The values are independent, or, with `clusters` [n], those of one cluster belong together and are drawn together.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not data.size or np.isnan(data).any():
        raise DataError("a mean needs at least one value and no NaN", found=f"shape {data.shape}")
    rng = np.random.default_rng(seed)
    if clusters is not None:
        members = cluster_matrix(clusters)
        sums, sizes = members @ data, np.asarray(members.sum(1)).ravel()
        drawn = [_drawn_clusters(rng, len(sums), size) for size in _sizes(resamples, max(1, _CELLS // len(sums)))]
        ratios = [weights @ sums / (weights @ sizes) for weights in drawn]
        return interval(float(data.mean()), np.concatenate(ratios) if ratios else [], confidence)
    chunk = max(1, _CELLS // data.size)
    means = [data[rng.integers(0, data.size, (size, data.size))].mean(axis=1) for size in _sizes(resamples, chunk)]
    return interval(float(data.mean()), np.concatenate(means) if means else [], confidence)


def resampled_confusions(
    truth: IntArray, predictions: Sequence[IntArray], classes: int, *, resamples: int = 1000, seed: int = 0
) -> Iterator[FloatArray]:
    """Confusion matrices of stratified resamples, in chunks [S, r, C, C] (system, resample, truth, prediction).

    Resampling n_c samples of class c with replacement makes the counts of the distinct outcomes of that class
    multinomial, so outcomes are drawn and not samples: exact, and without an index array. All S systems are
    scored on the same resample, which is what makes a difference between two of them paired.
    """
    outcomes, counts = np.unique(np.stack([truth, *predictions]), axis=1, return_counts=True)
    strata = [np.flatnonzero(outcomes[0] == label) for label in np.unique(truth)]
    cells = len(predictions) * classes**2 + outcomes.shape[1]
    rng = np.random.default_rng(seed)
    for size in _sizes(resamples, max(1, _CELLS // cells)):
        drawn = np.empty((size, outcomes.shape[1]))
        for members in strata:
            total = counts[members].sum()
            drawn[:, members] = rng.multinomial(total, counts[members] / total, size=size)
        yield np.stack([_confusions(outcomes[0], guesses, drawn, classes) for guesses in outcomes[1:]])


def clustered_confusions(
    truth: IntArray,
    predictions: Sequence[IntArray],
    classes: int,
    clusters: ArrayLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Iterator[FloatArray]:
    """Confusion matrices of resamples that draw whole clusters [n] (images, patients), in chunks [S, r, C, C].

    Samples of one cluster are alike, so intervals that draw them one by one are too narrow. Classes are not strata
    here; all systems are scored on the same resample.
    """
    outcomes, place = np.unique(np.stack([truth, *predictions]), axis=1, return_inverse=True)
    kinds = scipy.sparse.csr_array((np.ones(len(truth)), (np.arange(len(truth)), place.ravel())))
    counts = cluster_matrix(clusters) @ kinds
    total = counts.shape[0]
    cells = len(predictions) * classes**2 + outcomes.shape[1] + total
    rng = np.random.default_rng(seed)
    for size in _sizes(resamples, max(1, _CELLS // cells)):
        drawn = np.asarray((counts.T @ _drawn_clusters(rng, total, size).T).T, dtype=np.float64)
        yield np.stack([_confusions(outcomes[0], guesses, drawn, classes) for guesses in outcomes[1:]])


def cluster_weights(
    samples: int, clusters: ArrayLike | None = None, *, resamples: int = 1000, seed: int = 0
) -> Iterator[FloatArray]:
    """How often each sample is in a resample that draws whole clusters [n], in chunks [r, n].

    A patient drawn twice counts twice with all images. Without clusters every sample is one of its own. Raises
    ShapeError where there is not one cluster a sample.
    """
    names = np.arange(samples) if clusters is None else np.asarray(clusters)
    if names.shape != (samples,):
        raise ShapeError("one cluster a sample", found=names.shape, expected=(samples,))
    place = np.unique(names, return_inverse=True)[1].ravel()
    rng = np.random.default_rng(seed)
    for size in _sizes(resamples, max(1, _CELLS // samples)):
        yield _drawn_clusters(rng, int(place.max()) + 1, size)[:, place]


def cluster_matrix(clusters: ArrayLike) -> scipy.sparse.csr_array:
    """Which cluster each of n samples is in: ones in a sparse [clusters, n]."""
    place = np.unique(np.asarray(clusters), return_inverse=True)[1].ravel()
    return scipy.sparse.csr_array((np.ones(len(place)), (place, np.arange(len(place)))))


def _drawn_clusters(rng: np.random.Generator, count: int, size: int) -> FloatArray:
    """How often each cluster is in each of `size` resamples [size, count]."""
    return rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)


def _confusions(truth: IntArray, predicted: IntArray, weights: FloatArray, classes: int) -> FloatArray:
    """Weighted confusion matrices [r, C, C] of outcomes [u] with weights [r, u]."""
    cell = np.arange(len(weights))[:, None] * classes**2 + truth * classes + predicted
    flat = np.bincount(cell.ravel(), weights=weights.ravel(), minlength=len(weights) * classes**2)
    return np.asarray(flat.reshape(-1, classes, classes), dtype=np.float64)


def _sizes(total: int, chunk: int) -> list[int]:
    return [min(chunk, total - start) for start in range(0, total, chunk)]


def as_labels(labels: ArrayLike, classes: int, name: str) -> IntArray:
    """Labels as int64 [n], checked. Raises ShapeError (not one axis) or DataError (empty, or outside 0..C-1)."""
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ShapeError(f"{name} must have one axis", found=array.shape, expected="[n]")
    if not array.size or array.min() < 0 or array.max() >= classes:
        found = f"{array.min()} to {array.max()}" if array.size else "no labels"
        raise DataError(f"{name} cannot be scored", found=found, expected=f"labels from 0 to {classes - 1}")
    return array.astype(np.int64)
