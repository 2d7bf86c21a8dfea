"""Logistic regression on one number, for every row of weights at once, by Newton's method."""

from __future__ import annotations

import numpy as np
import scipy.special

from nearfar.evaluate.bootstrap import FloatArray, IntArray

_STEPS, _LARGEST, _CLOSE = 60, 4.0, 1e-11


def logistic(x: FloatArray, y: FloatArray | IntArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(slope [r], intercept [r]) that maximise the likelihood of y [n] in 0..1 on x [n] under weights [r, n].

    NaN where there is no maximum: x is constant, a class has no weight, or the classes are separated by x.
    """
    middle, scale = float(x.mean()), float(x.std())
    undefined = _separated(x, y, weights)
    if scale < 1e-12 * max(1.0, abs(middle)) or undefined.all():
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    slope, intercept = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    rows = ~undefined
    slope[rows], intercept[rows] = _newton((x - middle) / scale, y, weights[rows])
    return slope / scale, intercept - slope * middle / scale


def intercept_with_slope_one(x: FloatArray, y: FloatArray | IntArray, weights: FloatArray) -> FloatArray:
    """The intercept [r] beside the offset x [n]; NaN where a class has no weight."""
    total, ones = weights.sum(axis=1), weights @ y
    intercept = np.zeros(len(weights))
    for _ in range(_STEPS):
        p = scipy.special.expit(x + intercept[:, None])
        gradient = ones - (weights * p).sum(axis=1)
        curvature = np.maximum((weights * p * (1 - p)).sum(axis=1), 1e-300)
        step = np.clip(gradient / curvature, -_LARGEST, _LARGEST)
        intercept = intercept + step
        if (np.abs(step) < _CLOSE).all():
            break
    return np.where((ones > 0) & (ones < total), intercept, np.nan)


def _newton(x: FloatArray, y: FloatArray | IntArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    share = weights @ y / weights.sum(axis=1)
    slope, intercept = np.zeros(len(weights)), scipy.special.logit(share)
    for _ in range(_STEPS):
        p = scipy.special.expit(slope[:, None] * x + intercept[:, None])
        residual, spread = weights * (y - p), weights * p * (1 - p)
        g0, g1 = residual.sum(axis=1), residual @ x
        h0, h1, h2 = spread.sum(axis=1), spread @ x, spread @ x**2
        determinant = h0 * h2 - h1**2
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.stack([(h0 * g1 - h1 * g0) / determinant, (h2 * g0 - h1 * g1) / determinant])
        # Far from the maximum the quadratic model overshoots; a bounded step always comes back.
        steps = np.clip(steps, -_LARGEST, _LARGEST)
        slope, intercept = slope + steps[0], intercept + steps[1]
        if not (np.abs(steps) >= _CLOSE).any():
            break
    lost = ~(np.abs(steps).max(axis=0) < 1e-6)
    return np.where(lost, np.nan, slope), np.where(lost, np.nan, intercept)


def _separated(x: FloatArray, y: FloatArray | IntArray, weights: FloatArray) -> np.ndarray:
    """Rows [r] where some threshold on x parts the ones from the zeros, or where a class is missing."""
    if not np.isin(y, (0, 1)).all():
        return np.zeros(len(weights), dtype=bool)
    used = weights > 0

    def ends(kind: np.ndarray) -> tuple[FloatArray, FloatArray]:
        inside = used & kind
        return np.where(inside, x, np.inf).min(axis=1), np.where(inside, x, -np.inf).max(axis=1)

    (low1, high1), (low0, high0) = ends(y == 1), ends(y == 0)
    return np.asarray((low1 >= high0) | (low0 >= high1))
