"""Metrics of predicted maps, pooled: one confusion matrix over all pixels of all scenes, and all numbers from it.

Averaging a metric over images weighs an image with ten changed pixels like one with ten thousand; pooling does not.
Averages over classes go over the classes that occur in the truth, as in `nearfar.evaluate.metrics`: a class that a test
set does not have says nothing about a map. Intervals resample scenes, because pixels of one scene are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate import metrics
from nearfar.evaluate.bootstrap import FloatArray, IntArray, Interval, interval

IGNORED = 255
"""the target of pixels that nobody labelled"""

Measure = Callable[[FloatArray], FloatArray]


def pixel_confusion(
    target: ArrayLike, predicted: ArrayLike, classes: int, valid: NDArray[np.bool_] | None = None
) -> IntArray:
    """Counts [C, C] (rows the truth) over pixels of any shape; targets of 255 and pixels not `valid` are left out.

    Raises ShapeError where the shapes differ, DataError for another label outside 0..C-1.
    """
    truth, guess = np.asarray(target), np.asarray(predicted)
    if truth.shape != guess.shape or (valid is not None and valid.shape != truth.shape):
        raise ShapeError(
            "target and prediction do not cover the same pixels",
            found=(truth.shape, guess.shape) if valid is None else (truth.shape, guess.shape, valid.shape),
        )
    counted = truth != IGNORED if valid is None else (truth != IGNORED) & valid
    true, chosen = truth[counted].astype(np.int64), guess[counted].astype(np.int64)
    for name, labels in (("target", true), ("prediction", chosen)):
        if labels.size and (labels.min() < 0 or labels.max() >= classes):
            raise DataError(
                f"the {name} holds labels of no class",
                found=f"{labels.min()} to {labels.max()}",
                expected=f"0 to {classes - 1}, or {IGNORED} in the target for pixels to leave out",
            )
    return np.bincount(true * classes + chosen, minlength=classes**2).reshape(classes, classes)


def iou(confusion: ArrayLike) -> FloatArray:
    """Intersection over union per class, TP / (TP + FP + FN); confusion [..., C, C] -> [..., C], 0 without pixels."""
    counts = np.asarray(confusion, dtype=np.float64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(axis=-1) + counts.sum(axis=-2) - hits
    return np.asarray(np.divide(hits, union, out=np.zeros_like(union), where=union > 0))


def without_truth(confusion: ArrayLike, ignored: Sequence[int]) -> FloatArray:
    """The confusion [..., C, C] without pixels whose truth is of `ignored` classes.

    Predictions of an ignored class on other pixels stay, as misses.
    """
    counts = np.array(confusion, dtype=np.float64)
    counts[..., list(ignored), :] = 0
    return counts


def map_report(
    confusions: ArrayLike,
    classes: Sequence[str],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Metrics of confusions [S, C, C], one a scene, pooled over the scenes.

    `overall_accuracy`, `mean_iou` and `macro` {precision, recall, f1} with intervals from resampled scenes (one scene:
    both ends are the value); `averaged_over`, the classes that occur in the truth; `mean_iou_absent_as_0`, over all
    classes, as some publish it; `per_class` {iou, precision, recall, f1, support} of the classes that occur;
    `confusion` {"classes", "counts"}. Raises ShapeError, or DataError where no pixel is labelled.
    """
    stacked = _stacked(confusions, len(classes))
    total = stacked.sum(axis=0)
    options = {"resamples": resamples, "confidence": confidence, "seed": seed}

    def number(measure: Measure) -> Interval:
        return scene_interval(stacked, measure, **options)  # type: ignore[arg-type]

    present = np.flatnonzero(total.sum(axis=1)).tolist()
    columns = {"iou": iou, "precision": metrics.precision, "recall": metrics.recall, "f1": metrics.f1}
    values = {name: metric(total) for name, metric in columns.items()}
    return {
        "overall_accuracy": number(metrics.accuracy),
        "mean_iou": number(lambda c: metrics.macro(iou, c)),
        "mean_iou_absent_as_0": float(values["iou"].mean()),
        "averaged_over": [classes[c] for c in present],
        "macro": {name: number(_mean_of(columns[name])) for name in ("precision", "recall", "f1")},
        "per_class": {
            classes[c]: {name: float(column[c]) for name, column in values.items()} | {"support": int(total[c].sum())}
            for c in present
        },
        "confusion": {"classes": list(classes), "counts": total.astype(np.int64).tolist()},
        "pixels": int(total.sum()),
        "scenes": len(stacked),
    }


def binary_report(
    confusions: ArrayLike, *, positive: int = 1, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """Precision, recall, F1, IoU of one class and overall accuracy of confusions [S, C, C], pooled, with intervals.

    A precision without a positive prediction counts as 0. Raises ShapeError or DataError as `map_report`.
    """
    stacked = _stacked(confusions, np.asarray(confusions).shape[-1])
    options: dict[str, Any] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    columns = {"precision": metrics.precision, "recall": metrics.recall, "f1": metrics.f1, "iou": iou}
    report: dict[str, Any] = {
        name: scene_interval(stacked, _class_of(metric, positive), **options) for name, metric in columns.items()
    }
    return {**report, "overall_accuracy": scene_interval(stacked, metrics.accuracy, **options)}


def scene_interval(
    confusions: FloatArray, measure: Measure, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """`measure` of the pooled confusions [S, C, C], with a percentile interval over resampled scenes.

    `measure` maps [..., C, C] -> [...]. The scenes drawn depend on S, `resamples` and `seed` alone, so two systems on
    the same scenes are measured on the same resamples.
    """
    rng = np.random.default_rng(seed)
    scenes = len(confusions)
    weights = rng.multinomial(scenes, np.full(scenes, 1 / scenes), size=resamples).astype(np.float64)
    value = float(measure(confusions.sum(axis=0)))
    if scenes < 2 or not resamples:
        return interval(value, [], confidence)
    return interval(value, measure(np.tensordot(weights, confusions, axes=1)), confidence)


def best_threshold(probabilities: ArrayLike, truth: ArrayLike) -> tuple[float, float]:
    """(threshold, F1): a pixel is positive where its probability [n] exceeds the threshold; truth bool [n].

    The threshold with the best F1 lies halfway between two probabilities that occur; 0.5 where nothing is positive.
    Raises ConfigError for arrays that differ in shape.
    """
    p, y = np.asarray(probabilities, dtype=np.float64).ravel(), np.asarray(truth, dtype=bool).ravel()
    if p.shape != y.shape:
        raise ConfigError("probabilities and truth differ in length", found=(p.shape, y.shape))
    if not y.any():
        return 0.5, 0.0
    order = np.argsort(-p, kind="stable")
    p, hits = p[order], np.cumsum(y[order])
    scores = 2 * hits / (np.arange(1, len(p) + 1) + y.sum())
    last = np.append(p[1:] < p[:-1], True)  # only where the next probability differs can a threshold lie
    best = int(np.argmax(np.where(last, scores, -1.0)))
    below = p[best + 1] if best + 1 < len(p) else 0.0
    return float((p[best] + below) / 2), float(scores[best])


def _stacked(confusions: ArrayLike, classes: int) -> FloatArray:
    stacked = np.asarray(confusions, dtype=np.float64)
    if stacked.ndim != 3 or stacked.shape[1:] != (classes, classes) or not len(stacked):
        raise ShapeError(
            "the confusion matrices have the wrong shape",
            found=stacked.shape,
            expected=f"[scenes, {classes}, {classes}]",
        )
    if not stacked.sum():
        raise DataError("no pixel can be scored", found="none that is labelled and has data")
    return stacked


def _mean_of(metric: Callable[[ArrayLike], FloatArray]) -> Measure:
    return lambda confusion: metrics.macro(metric, confusion)


def _class_of(metric: Callable[[ArrayLike], FloatArray], index: int) -> Measure:
    return lambda confusion: np.asarray(metric(confusion)[..., index])
