"""What the clinical measures share: checked labels, scores and probabilities of a yes-or-no question.

A measure comes in two forms. The plain one takes labels [n] and scores [n], checks them and raises DataError where it
is undefined. The weighted one (`Metric`) takes weights [r, n] as well, one row a resample, trusts what it gets, and
returns [r] with NaN where a row leaves it undefined: bootstrap intervals leave those rows out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.special
from numpy.typing import ArrayLike

from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.bootstrap import FloatArray, IntArray

Metric = Callable[[IntArray, FloatArray, FloatArray], FloatArray]
"""labels [n] in {0, 1}, scores [n], weights [r, n] -> [r]"""

CLIP = 1e-7
"""Probabilities keep this distance from 0 and 1 before a logit is taken: single-precision sigmoids end about there."""


def as_scored(labels: ArrayLike, scores: ArrayLike, *, both: bool = True) -> tuple[IntArray, FloatArray]:
    """Labels as int64 [n] and scores as float64 [n], checked; a score is higher where 1 is likelier.

    Raises ShapeError where they do not have the same one axis, DataError for no sample, a label other than 0 and 1, a
    score that is not finite and, with `both`, where one of the classes is missing.
    """
    truth, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ShapeError("one label and one score a sample", found=f"{truth.shape} and {values.shape}", expected="[n]")
    if not truth.size or not np.isin(truth, (0, 1)).all():
        found = np.unique(truth)[:5].tolist() if truth.size else "no labels"
        raise DataError("labels of a binary question are 0 or 1", found=found)
    if not np.isfinite(values).all():
        raise DataError("a score is not finite", where=f"sample {int(np.argmin(np.isfinite(values)))}")
    if both and (truth.all() or not truth.any()):
        only = int(truth[0])
        raise DataError(
            f"no sample is labelled {1 - only}, so the classes cannot be told apart",
            found=f"{truth.size} samples, all labelled {only}",
            fix="Measure on samples of both classes.",
        )
    return truth.astype(np.int64), values


def as_probable(labels: ArrayLike, probabilities: ArrayLike, *, both: bool = False) -> tuple[IntArray, FloatArray]:
    """As `as_scored`, for probabilities of label 1; raises DataError also for one outside 0..1."""
    truth, values = as_scored(labels, probabilities, both=both)
    return truth, checked_probabilities(values)


def checked_probabilities(probabilities: ArrayLike) -> FloatArray:
    """Probabilities as float64. Raises DataError for a value outside 0..1 or NaN."""
    values = np.asarray(probabilities, dtype=np.float64)
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        raise DataError(
            "a probability lies outside 0..1",
            where=f"sample {int(np.argmax(outside.ravel()))}",
            found=float(values.ravel()[np.argmax(outside.ravel())]),
            fix="Turn logits into probabilities first.",
        )
    return values


def logit(probabilities: ArrayLike) -> FloatArray:
    """log(p / (1 - p)), with p kept 1e-7 away from 0 and 1 (`CLIP`), so that it is finite."""
    odds: FloatArray = scipy.special.logit(np.clip(np.asarray(probabilities, dtype=np.float64), CLIP, 1 - CLIP))
    return odds


def normal_quantile(confidence: float) -> float:
    """Half-width of a normal interval in standard deviations: 1.96 for 0.95."""
    return float(scipy.special.ndtri((1 + confidence) / 2))


def once(metric: Metric, labels: IntArray, scores: FloatArray) -> float:
    """The metric on the samples as they are, every weight 1."""
    return float(metric(labels, scores, np.ones((1, len(labels))))[0])
