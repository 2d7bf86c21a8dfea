"""Do probabilities mean what they say? Brier score, calibration error, reliability, slope and intercept.

Calibrators, which are fitted on validation data, are in `nearfar.evaluate.calibrators`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from nearfar.errors import ConfigError
from nearfar.evaluate.binary import Metric, as_probable, logit, once
from nearfar.evaluate.bootstrap import FloatArray, IntArray
from nearfar.evaluate.calibrators import (
    CALIBRATORS,
    Calibrator,
    fit_calibrator,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from nearfar.evaluate.logistic import intercept_with_slope_one, logistic
from nearfar.evaluate.operating import wilson_bounds

__all__ = [
    "CALIBRATORS",
    "Calibrator",
    "Reliability",
    "Slope",
    "brier",
    "calibration_error",
    "calibration_slope",
    "ece",
    "fit_calibrator",
    "fit_isotonic",
    "fit_platt",
    "fit_temperature",
    "log_loss",
    "reliability",
    "weighted_brier",
    "weighted_calibration_error",
    "weighted_intercept",
    "weighted_log_loss",
    "weighted_slope",
]

_TINY = float(np.finfo(np.float64).eps)


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance of probabilities [n] of label 1 from the labels [n] (Brier 1950), lower is better.

    Raises ShapeError or DataError as `nearfar.evaluate.binary.as_probable`; one class alone is legal.
    """
    return once(weighted_brier, *as_probable(labels, probabilities))


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative log likelihood in nats; probabilities are kept 2e-16 away from 0 and 1. Raises as `brier`."""
    return once(weighted_log_loss, *as_probable(labels, probabilities))


def calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, *, bins: int = 10, binning: str = "width", worst: bool = False
) -> float:
    """Expected calibration error: mean over samples of |observed share - mean probability| of their bin.

    binning "width": bin k holds k/bins <= p < (k+1)/bins, the last one p = 1 too (Naeini et al. 2015). "mass": bins
    end at quantiles of the probabilities, equal ones stay together (Nguyen and O'Connor 2015). worst: the largest gap
    of a bin instead (maximum calibration error). The error of finitely many samples is above 0 even for perfect
    probabilities, about by sqrt(bins / n) / 3. Raises ConfigError on bad bins, ShapeError or DataError as `brier`.
    """
    truth, values = as_probable(labels, probabilities)
    return once(partial(weighted_calibration_error, bins=bins, binning=binning, worst=worst), truth, values)


def weighted_brier(labels: IntArray, probabilities: FloatArray, weights: FloatArray) -> FloatArray:
    """`brier` for every row of weights [r, n]: [r]."""
    return _mean((probabilities - labels) ** 2, weights)


def weighted_log_loss(labels: IntArray, probabilities: FloatArray, weights: FloatArray) -> FloatArray:
    """`log_loss` for every row of weights [r, n]: [r]."""
    right = np.where(labels == 1, probabilities, 1 - probabilities)
    return _mean(-np.log(np.clip(right, _TINY, 1)), weights)


def weighted_calibration_error(
    labels: IntArray,
    probabilities: FloatArray,
    weights: FloatArray,
    *,
    bins: int = 10,
    binning: str = "width",
    worst: bool = False,
) -> FloatArray:
    """`calibration_error` for every row of weights [r, n]: [r]. Bins are those of all samples."""
    inside = _bin_of(probabilities, _edges(probabilities, bins, binning))[:, None] == np.arange(bins)
    gap = np.abs(weights @ (inside * (labels - probabilities)[:, None]))
    if not worst:
        return np.asarray(gap.sum(axis=1) / weights.sum(axis=1))
    count = weights @ inside.astype(np.float64)
    return np.asarray(np.divide(gap, count, out=np.zeros_like(gap), where=count > 0).max(axis=1))


@dataclass(frozen=True)
class Reliability:
    """What a reliability diagram shows, one entry a bin [bins]; NaN in the means of an empty bin."""

    low: FloatArray
    high: FloatArray
    count: IntArray
    predicted: FloatArray
    """mean probability"""
    observed: FloatArray
    """share of label 1"""
    observed_low: FloatArray
    """Wilson's interval, for independent samples"""
    observed_high: FloatArray


def reliability(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    bins: int = 10,
    binning: str = "width",
    confidence: float = 0.95,
) -> Reliability:
    """Bins as in `calibration_error`, whose value is the mean of |observed - predicted| weighted by count.

    Raises ConfigError on bad bins, ShapeError or DataError as `brier`.
    """
    truth, values = as_probable(labels, probabilities)
    edges = _edges(values, bins, binning)
    place = _bin_of(values, edges)
    count = np.bincount(place, minlength=bins)
    ones, mass = (np.bincount(place, weights=w, minlength=bins) for w in (truth.astype(np.float64), values))
    empty = np.where(count > 0, count, np.nan)
    low, high = wilson_bounds(ones, count, confidence)
    return Reliability(edges[:-1], edges[1:], count.astype(np.int64), mass / empty, ones / empty, low, high)


@dataclass(frozen=True)
class Slope:
    """Logistic recalibration of the log odds; perfect probabilities have slope 1 and both intercepts 0."""

    slope: float
    """below 1: too extreme; NaN where the classes are separated or all probabilities are equal"""
    intercept: float
    """fitted together with the slope"""
    in_the_large: float
    """intercept with the slope held at 1: below 0, probabilities are too high on the whole"""


def calibration_slope(labels: ArrayLike, probabilities: ArrayLike) -> Slope:
    """Slope and intercept of label on log odds (Cox 1958; Van Calster et al. 2019), by maximum likelihood.

    Probabilities [n] are kept 1e-7 away from 0 and 1. Raises ShapeError or DataError as `as_probable`, also for one
    class only. Intervals: bootstrap `weighted_slope` and `weighted_intercept`.
    """
    truth, values = as_probable(labels, probabilities, both=True)
    slope, intercept = logistic(logit(values), truth, np.ones((1, len(truth))))
    return Slope(float(slope[0]), float(intercept[0]), once(weighted_intercept, truth, values))


def weighted_slope(labels: IntArray, probabilities: FloatArray, weights: FloatArray) -> FloatArray:
    """The calibration slope for every row of weights [r, n]: [r], NaN where it is not determined."""
    return logistic(logit(probabilities), labels, weights)[0]


def weighted_intercept(labels: IntArray, probabilities: FloatArray, weights: FloatArray) -> FloatArray:
    """Calibration in the large for every row of weights [r, n]: [r], NaN where a class is missing."""
    return intercept_with_slope_one(logit(probabilities), labels, weights)


def ece(bins: int = 10, binning: str = "width") -> Metric:
    """The expected calibration error of these bins as a weighted measure."""
    return partial(weighted_calibration_error, bins=bins, binning=binning)


def _edges(probabilities: FloatArray, bins: int, binning: str) -> FloatArray:
    if bins < 1 or binning not in {"width", "mass"}:
        raise ConfigError("bins are at least one, of equal width or mass", found=f"{bins} by '{binning}'")
    shares = np.arange(bins + 1) / bins
    if binning == "width":
        return shares
    edges = np.quantile(probabilities, shares, method="inverted_cdf")
    edges[0], edges[-1] = 0.0, 1.0
    return edges


def _bin_of(probabilities: FloatArray, edges: FloatArray) -> IntArray:
    place = np.searchsorted(edges, probabilities, side="right") - 1
    return np.clip(place, 0, len(edges) - 2).astype(np.int64)


def _mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    return np.asarray(weights @ values / weights.sum(axis=1), dtype=np.float64)
