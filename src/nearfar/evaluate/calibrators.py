"""Maps from a model's logit to a probability that means what it says: fitted on validation data, stored, applied.

All of them keep the order of the logits (isotonic may merge neighbours): the ROC curve stays, calibration changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import ArrayLike
from sklearn.isotonic import IsotonicRegression

from nearfar.errors import ConfigError, DataError, did_you_mean
from nearfar.evaluate.binary import as_scored
from nearfar.evaluate.bootstrap import FloatArray
from nearfar.evaluate.logistic import logistic

TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Calibrator:
    """A monotone map of logits [n] to probabilities [n]."""

    kind: str
    parameters: dict[str, Any]

    def apply(self, logits: ArrayLike) -> FloatArray:
        """Probabilities of label 1, in the shape of the logits. Raises DataError for a logit that is NaN."""
        values = np.asarray(logits, dtype=np.float64)
        if np.isnan(values).any():
            raise DataError("a logit is NaN", where=f"sample {int(np.argmax(np.isnan(values).ravel()))}")
        return _APPLY[self.kind](values, self.parameters)

    def state(self) -> dict[str, Any]:
        """What JSON keeps of it; `from_state` gives the same map back."""
        return {"kind": self.kind, **self.parameters}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Calibrator:
        """Raises ConfigError for an unknown kind or missing parameters."""
        kind = str(state.get("kind"))
        _known(kind)
        if set(state) != {"kind", *_PARAMETERS[kind]}:
            expected = ", ".join(_PARAMETERS[kind]) or "nothing else"
            raise ConfigError(f"a calibrator '{kind}' has other parameters", found=sorted(state), expected=expected)
        return cls(kind, {name: state[name] for name in _PARAMETERS[kind]})


def fit_calibrator(kind: str, labels: ArrayLike, logits: ArrayLike) -> Calibrator:
    """The calibrator of that name of `CALIBRATORS`; raises ConfigError for another, otherwise as the fits."""
    return CALIBRATORS[_known(kind)](labels, logits)


def fit_none(labels: ArrayLike, logits: ArrayLike) -> Calibrator:
    """The model's own probability, 1 / (1 + exp(-logit)); checks what it gets as the others do."""
    as_scored(labels, logits)
    return Calibrator("none", {})


def fit_temperature(labels: ArrayLike, logits: ArrayLike) -> Calibrator:
    """sigma(logit / T) with the T of greatest likelihood (Guo et al. 2017); logits [n], labels [n].

    T stays in 0.05..20 (`TEMPERATURES`): an end is reached where the sign of the logit is always right (separated
    validation data), or says nothing. Raises ShapeError or DataError as `as_scored`, also for one class only.
    """
    truth, values = as_scored(labels, logits)

    def gradient(inverse: float) -> float:
        return float(((scipy.special.expit(inverse * values) - truth) * values).sum())

    # The likelihood is concave in 1/T, so its derivative has one sign change at most.
    least, most = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if gradient(least) >= 0:
        inverse = least
    elif gradient(most) <= 0:
        inverse = most
    else:
        inverse = float(scipy.optimize.brentq(gradient, least, most, xtol=1e-14, rtol=1e-14))
    return Calibrator("temperature", {"temperature": 1 / inverse})


def fit_platt(labels: ArrayLike, logits: ArrayLike) -> Calibrator:
    """sigma(a logit + b) fitted to Platt's smoothed targets (Platt 1999; Lin, Lin and Weng 2007), with a >= 0.

    Targets are (n1 + 1) / (n1 + 2) for ones and 1 / (n0 + 2) for zeros, which keeps a finite on separated data. Where
    a would be negative, or the logits are constant, a is 0 and every probability the smoothed prevalence: a
    calibrator never turns a ranking round. Raises as `fit_temperature`.
    """
    truth, values = as_scored(labels, logits)
    ones, zeros = int(truth.sum()), int((1 - truth).sum())
    targets = np.where(truth == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    slope, intercept = (float(part[0]) for part in logistic(values, targets, np.ones((1, len(values)))))
    if not slope > 0:
        slope, intercept = 0.0, float(scipy.special.logit(targets.mean()))
    return Calibrator("platt", {"slope": slope, "intercept": intercept})


def fit_isotonic(labels: ArrayLike, logits: ArrayLike) -> Calibrator:
    """The non-decreasing map nearest the labels (Zadrozny and Elkan 2002), linear between corners, constant outside.

    It wants a thousand validation samples or so; with fewer it fits noise. It gives probabilities of exactly 0 and 1
    at the ends. Raises as `fit_temperature`.
    """
    truth, values = as_scored(labels, logits)
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(values, truth)
    return Calibrator(
        "isotonic", {"logits": fitted.X_thresholds_.tolist(), "probabilities": fitted.y_thresholds_.tolist()}
    )


CALIBRATORS: dict[str, Callable[[ArrayLike, ArrayLike], Calibrator]] = {
    "none": fit_none,
    "temperature": fit_temperature,
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "none": (),
    "temperature": ("temperature",),
    "platt": ("slope", "intercept"),
    "isotonic": ("logits", "probabilities"),
}
_APPLY: dict[str, Callable[[FloatArray, Mapping[str, Any]], FloatArray]] = {
    "none": lambda x, _: _expit(x),
    "temperature": lambda x, state: _expit(x / state["temperature"]),
    "platt": lambda x, state: _expit(state["slope"] * x + state["intercept"]),
    "isotonic": lambda x, state: np.interp(x, state["logits"], state["probabilities"]),
}


def _expit(x: FloatArray) -> FloatArray:
    return np.asarray(scipy.special.expit(x), dtype=np.float64)


def _known(kind: str) -> str:
    if kind not in CALIBRATORS:
        raise ConfigError(
            f"unknown calibrator '{kind}'", fix=did_you_mean(kind, CALIBRATORS, f"Known: {', '.join(CALIBRATORS)}.")
        )
    return kind
