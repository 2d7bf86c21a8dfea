"""Classification metrics with intervals, all of them functions of the confusion matrix.

Averages over classes go over the classes that occur in the truth (as balanced accuracy does in scikit-learn);
a precision without predictions and an F1 without either count as 0 (scikit-learn's zero_division=0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nearfar.errors import ConfigError, ShapeError
from nearfar.evaluate.bootstrap import (
    FloatArray,
    IntArray,
    Interval,
    as_labels,
    clustered_confusions,
    interval,
    resampled_confusions,
)


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, classes: int) -> IntArray:
    """Counts [C, C], rows the truth, columns the prediction. Raises ShapeError or DataError on bad labels."""
    true, guess = _pair(truth, predicted, classes)
    return np.bincount(true * classes + guess, minlength=classes**2).reshape(classes, classes)


def accuracy(confusion: ArrayLike) -> FloatArray:
    """Share of samples on the diagonal; confusion [..., C, C] -> [...]."""
    counts = np.asarray(confusion, dtype=np.float64)
    return _ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def recall(confusion: ArrayLike) -> FloatArray:
    """Per class, confusion [..., C, C] -> [..., C]; 0 for a class that does not occur."""
    counts = np.asarray(confusion, dtype=np.float64)
    return _ratio(_diagonal(counts), counts.sum(axis=-1))


def precision(confusion: ArrayLike) -> FloatArray:
    """Per class, confusion [..., C, C] -> [..., C]; 0 for a class never predicted."""
    counts = np.asarray(confusion, dtype=np.float64)
    return _ratio(_diagonal(counts), counts.sum(axis=-2))


def f1(confusion: ArrayLike) -> FloatArray:
    """Per class, 2 TP / (2 TP + FP + FN); confusion [..., C, C] -> [..., C]."""
    counts = np.asarray(confusion, dtype=np.float64)
    return _ratio(2 * _diagonal(counts), counts.sum(axis=-1) + counts.sum(axis=-2))


def balanced_accuracy(confusion: ArrayLike) -> FloatArray:
    """Mean recall over the classes that occur; confusion [..., C, C] -> [...]."""
    return macro(recall, confusion)


def macro(metric: Callable[[ArrayLike], FloatArray], confusion: ArrayLike) -> FloatArray:
    """Mean of a per-class metric over the classes that occur in the truth; [..., C, C] -> [...]."""
    occurs = np.asarray(confusion).sum(axis=-1) > 0
    return _ratio((metric(confusion) * occurs).sum(axis=-1), occurs.sum(axis=-1).astype(np.float64))


METRICS: dict[str, Callable[[ArrayLike], FloatArray]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": lambda confusion: macro(f1, confusion),
}
_PER_CLASS = {"precision": precision, "recall": recall, "f1": f1}


def classification_report(
    truth: ArrayLike,
    predicted: ArrayLike,
    classes: Sequence[str],
    *,
    clusters: ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy, balanced accuracy, macro and per-class precision, recall and F1 of labels [n], with intervals.

    Intervals are percentiles of a bootstrap stratified by the truth, or one that draws whole `clusters` [n]. Every
    number is {"value", "low", "high"}; `per_class` holds the classes that occur in the truth, with their `support`;
    `confusion` holds {"classes", "counts"}, rows the truth. Raises ShapeError or DataError on bad labels.
    """
    count = len(classes)
    true, guess = _pair(truth, predicted, count)
    matrix = confusion_matrix(true, guess, count)
    draws = _measure_resamples(_resampled(true, [guess], count, clusters, resamples, seed), _everything)
    exact = _everything(matrix)

    def number(key: str, column: int = 0) -> Interval:
        samples: ArrayLike = draws[key][0, :, column] if resamples else []
        return interval(float(exact[key][column]), samples, confidence)

    support = matrix.sum(axis=1)
    return {
        "accuracy": number("accuracy"),
        "balanced_accuracy": number("balanced_accuracy"),
        "macro": {name: number(f"macro_{name}") for name in _PER_CLASS},
        "per_class": {
            classes[c]: {name: number(name, c) for name in _PER_CLASS} | {"support": int(support[c])}
            for c in np.flatnonzero(support).tolist()
        },
        "confusion": {"classes": list(classes), "counts": matrix.tolist()},
        "samples": len(true),
    }


def paired_difference(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    classes: int,
    *,
    metric: str = "balanced_accuracy",
    clusters: ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """metric(first) - metric(second) on the same samples [n], with a paired bootstrap interval (stratified, or drawing
    whole `clusters` [n]).

    `metric` is a name of `METRICS`; raises ConfigError for another, ShapeError or DataError on bad labels.
    """
    if metric not in METRICS:
        raise ConfigError(f"unknown metric '{metric}'", fix=f"Known: {', '.join(METRICS)}.")
    true, one = _pair(truth, first, classes)
    _, two = _pair(truth, second, classes)
    measure = METRICS[metric]
    difference = measure(confusion_matrix(true, one, classes)) - measure(confusion_matrix(true, two, classes))
    confusions = _resampled(true, [one, two], classes, clusters, resamples, seed)
    draws = _measure_resamples(confusions, lambda c: {metric: measure(c)[..., None]})
    samples: ArrayLike = draws[metric][0, :, 0] - draws[metric][1, :, 0] if resamples else []
    return interval(float(difference), samples, confidence)


def _resampled(
    truth: IntArray, predictions: list[IntArray], classes: int, clusters: ArrayLike | None, resamples: int, seed: int
) -> Iterable[FloatArray]:
    if clusters is None:
        return resampled_confusions(truth, predictions, classes, resamples=resamples, seed=seed)
    return clustered_confusions(truth, predictions, classes, clusters, resamples=resamples, seed=seed)


def _everything(confusion: ArrayLike) -> dict[str, FloatArray]:
    """All metrics of confusion [..., C, C]: scalars as [..., 1], per-class ones as [..., C]."""
    columns = {name: metric(confusion) for name, metric in _PER_CLASS.items()}
    scalars = {f"macro_{name}": macro(metric, confusion) for name, metric in _PER_CLASS.items()}
    scalars |= {"accuracy": accuracy(confusion), "balanced_accuracy": scalars["macro_recall"]}
    return columns | {name: value[..., None] for name, value in scalars.items()}


def _measure_resamples(
    draws: Iterable[FloatArray], measure: Callable[[ArrayLike], dict[str, FloatArray]]
) -> dict[str, FloatArray]:
    """`measure` on every resample of chunks [S, r, C, C]: name -> [S, resamples, columns]."""
    chunks = [measure(confusions) for confusions in draws]
    return {name: np.concatenate([chunk[name] for chunk in chunks], axis=1) for name in (chunks[0] if chunks else {})}


def _pair(truth: ArrayLike, predicted: ArrayLike, classes: int) -> tuple[IntArray, IntArray]:
    true, guess = as_labels(truth, classes, "the true labels"), as_labels(predicted, classes, "the predictions")
    if true.shape != guess.shape:
        raise ShapeError("true labels and predictions do not match", found=f"{true.shape} and {guess.shape}")
    return true, guess


def _diagonal(counts: FloatArray) -> FloatArray:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _ratio(part: ArrayLike, whole: ArrayLike) -> FloatArray:
    """part / whole, 0 where whole is 0."""
    top, bottom = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(top, bottom, out=np.zeros(np.broadcast_shapes(top.shape, bottom.shape)), where=bottom > 0)
