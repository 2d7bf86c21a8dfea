"""Percentile intervals by the bootstrap (Efron and Tibshirani 1993, chapters 13 and 16), vectorised over resamples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
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


def bootstrap_mean(values: ArrayLike, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Mean of independent values [n] with its interval. Raises DataError for no values or a NaN."""
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not data.size or np.isnan(data).any():
        raise DataError("a mean needs at least one value and no NaN", found=f"shape {data.shape}")
    rng = np.random.default_rng(seed)
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
