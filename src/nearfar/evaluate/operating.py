"""From a probability to a decision: the threshold, the cases left open, what decisions are worth, and their rates.

Everywhere a sample is called 1 when its probability is at or above the threshold. Thresholds are chosen on validation
data and kept in an `OperatingPoint`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from nearfar.errors import ConfigError, DataError
from nearfar.evaluate.binary import as_probable, as_scored, checked_probabilities, logit, normal_quantile
from nearfar.evaluate.bootstrap import FloatArray, IntArray, Interval, as_labels
from nearfar.evaluate.roc import Curve, curve

ABSTAIN = -1
"""the decision about a sample inside the band"""


@dataclass(frozen=True)
class OperatingPoint:
    """A frozen rule of decision."""

    threshold: float
    """called 1 at or above it; just above the highest validation score where nothing is to be called 1"""
    rule: str
    """how it was chosen, in words"""
    band: tuple[float, float] | None = None
    """no decision strictly between the two; it holds the threshold"""

    def __post_init__(self) -> None:
        if self.band is not None and not self.band[0] <= self.threshold <= self.band[1]:
            raise ConfigError("the band of no decision holds the threshold", found=(self.band, self.threshold))

    def decide(self, probabilities: ArrayLike) -> IntArray:
        """1, 0 or `ABSTAIN` (-1) for probabilities [n]. Raises DataError for one outside 0..1 or NaN."""
        values = checked_probabilities(probabilities)
        decisions = (values >= self.threshold).astype(np.int64)
        if self.band is not None:
            decisions[(values > self.band[0]) & (values < self.band[1])] = ABSTAIN
        return decisions

    def state(self) -> dict[str, Any]:
        """What JSON keeps of it; `from_state` gives the same decisions back."""
        return {"threshold": self.threshold, "rule": self.rule, "band": list(self.band) if self.band else None}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> OperatingPoint:
        """Raises ConfigError where a part is missing."""
        if not {"threshold", "rule"} <= set(state):
            raise ConfigError("an operating point needs a threshold and a rule", found=sorted(state))
        band = state.get("band")
        pair = (float(band[0]), float(band[1])) if band else None
        return cls(float(state["threshold"]), str(state["rule"]), pair)


def youden(labels: ArrayLike, probabilities: ArrayLike) -> OperatingPoint:
    """Largest sensitivity + specificity - 1 (Youden 1950); of equal ones the highest threshold.

    Scores [n] of any scale. Raises ShapeError or DataError (one class only) as `nearfar.evaluate.binary.as_scored`.
    """
    drawn = curve(labels, probabilities)
    # Whole numbers: rates that are equal in truth may differ in their last digit, and then the tie is lost.
    ones, zeros = drawn.true_positives, drawn.false_positives
    gain = (ones * zeros[-1] - zeros * ones[-1])[1:]
    return OperatingPoint(float(drawn.threshold[1 + int(np.argmax(gain))]), "largest Youden index")


def at_sensitivity(labels: ArrayLike, probabilities: ArrayLike, target: float) -> OperatingPoint:
    """The highest threshold, and so the best specificity, that finds at least `target` of the ones.

    Raises ConfigError for a target outside 0..1, ShapeError or DataError as `youden`.
    """
    drawn = curve(labels, probabilities)
    enough = drawn.true_positives >= _target(target) * drawn.true_positives[-1] - 1e-9
    return OperatingPoint(_threshold(drawn, int(np.argmax(enough))), f"sensitivity at least {target:g}")


def at_specificity(labels: ArrayLike, probabilities: ArrayLike, target: float) -> OperatingPoint:
    """The lowest threshold, and so the best sensitivity, that calls at least `target` of the zeros 0.

    Where even the highest scores are zeros it may call nothing 1. Raises as `at_sensitivity`.
    """
    drawn = curve(labels, probabilities)
    allowed = drawn.false_positives <= (1 - _target(target)) * drawn.false_positives[-1] + 1e-9
    return OperatingPoint(_threshold(drawn, int(np.flatnonzero(allowed)[-1])), f"specificity at least {target:g}")


def at_cost(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    false_negative: float,
    false_positive: float,
    prevalence: float | None = None,
) -> OperatingPoint:
    """Least cost of errors on the data, of equal ones the highest threshold.

    prevalence: of the ones where the rule will be used, default that of the data. For calibrated probabilities the
    minimum lies near false_positive / (false_positive + false_negative) (Elkan 2001), whatever the prevalence of the
    data. Raises ConfigError for a negative cost or two zeros, DataError as `youden`.
    """
    if min(false_negative, false_positive) < 0 or false_negative + false_positive <= 0:
        raise ConfigError("costs are not negative and not both 0", found=(false_negative, false_positive))
    drawn = curve(labels, probabilities)
    ones = float(np.asarray(labels).mean()) if prevalence is None else _target(prevalence)
    cost = false_negative * ones * (1 - drawn.tpr) + false_positive * (1 - ones) * drawn.fpr
    first = int(np.argmax(cost <= cost.min() + 1e-12))
    return OperatingPoint(
        _threshold(drawn, first), f"least cost, {false_negative:g} a missed one and {false_positive:g} a false alarm"
    )


def with_band(point: OperatingPoint, probabilities: ArrayLike, share: float) -> OperatingPoint:
    """The same threshold with a band that leaves open at most `share` of the probabilities [n]: those nearest it.

    Nearest in log odds; equal distances are decided, so that ties never exceed the share. The reject option of Chow
    1970. Raises ConfigError for a share outside 0..1, DataError for a probability outside 0..1.
    """
    values = checked_probabilities(probabilities)
    distance = np.abs(logit(values) - logit(min(max(point.threshold, 0.0), 1.0)))
    count = int(np.floor(_target(share) * values.size + 1e-9))
    edge = np.inf if count >= values.size else np.sort(distance)[count]
    decided = values[distance >= edge]
    low = decided[decided < point.threshold].max(initial=0.0)
    high = decided[decided >= point.threshold].min(initial=max(1.0, point.threshold))
    return dataclasses.replace(point, band=(float(low), float(high)))


def wilson(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """Share of successes with Wilson's 1927 interval; of nothing the share is NaN and the interval 0..1."""
    low, high = wilson_bounds(successes, total, confidence)
    value = successes / total if total else float("nan")
    return {"value": value, "low": float(low), "high": float(high)}


def wilson_bounds(successes: ArrayLike, totals: ArrayLike, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Ends of Wilson's intervals for arrays of counts; 0 and 1 where a total is 0."""
    count, total = np.asarray(successes, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    square = normal_quantile(confidence) ** 2
    middle = count + square / 2
    half = np.sqrt(
        square * (np.divide(count * (total - count), total, out=np.zeros(total.shape), where=total > 0) + square / 4)
    )
    return np.clip((middle - half) / (total + square), 0, 1), np.clip((middle + half) / (total + square), 0, 1)


def rates(labels: ArrayLike, decisions: ArrayLike, confidence: float = 0.95) -> dict[str, Any]:
    """Confusion of decisions [n] in {1, 0, -1} and its rates, each {"value", "low", "high"} by Wilson.

    sensitivity, specificity, ppv, npv and accuracy are of the decided samples; `abstained` is the share left open.
    `counts` holds tp, fp, fn, tn and abstained. A rate of nothing is NaN. Wilson's interval takes samples for
    independent; with several images of a patient use `nearfar.evaluate.clustered`.
    Raises ShapeError or DataError on bad labels or decisions.
    """
    truth, found = as_scored(labels, decisions, both=False)
    if not np.isin(found, (0, 1, ABSTAIN)).all():
        raise DataError("a decision is 1, 0 or -1 (left open)", found=np.unique(found)[:5].tolist())
    tp, fp, fn, tn = (int(((truth == t) & (found == d)).sum()) for t, d in ((1, 1), (0, 1), (1, 0), (0, 0)))
    abstained = int((found == ABSTAIN).sum())
    parts = {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "accuracy": (tp + tn, tp + fp + fn + tn),
        "abstained": (abstained, len(truth)),
    }
    report: dict[str, Any] = {name: wilson(*part, confidence) for name, part in parts.items()}
    return report | {"counts": {"tp": tp, "fp": fp, "fn": fn, "tn": tn, "abstained": abstained}}


def net_benefit(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> float:
    """TP/n - FP/n * t/(1-t) of calling 1 at or above the threshold probability t (Vickers and Elkin 2006).

    Raises ConfigError for a threshold outside 0 <= t < 1, ShapeError or DataError as `as_probable`.
    """
    return float(decision_curve(labels, probabilities, [threshold]).model[0])


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit [k] of the model and of the two ways to do without one."""

    threshold: FloatArray
    model: FloatArray
    treat_all: FloatArray
    treat_none: FloatArray


def decision_curve(labels: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike | None = None) -> DecisionCurve:
    """Net benefit of the model, of calling everything 1 and of calling nothing 1 (Vickers and Elkin 2006).

    thresholds [k]: threshold probabilities, default 0.01 to 0.99. One class alone is legal. Raises as `net_benefit`.
    """
    truth, values = as_probable(labels, probabilities)
    grid = np.arange(1, 100) / 100 if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    if grid.ndim != 1 or not ((grid >= 0) & (grid < 1)).all():
        raise ConfigError("threshold probabilities lie in 0 <= t < 1", found=grid)
    odds = grid / (1 - grid)
    share = [(len(side) - np.searchsorted(np.sort(side), grid)) / len(truth) for side in _sides(truth, values)]
    prevalence = float(truth.mean())
    return DecisionCurve(grid, share[0] - share[1] * odds, prevalence - (1 - prevalence) * odds, np.zeros_like(grid))


@dataclass(frozen=True)
class McNemar:
    """Where two deciders disagree about being right."""

    only_first: int
    """samples that the first alone got right"""
    only_second: int
    p: float
    """two-sided, exact"""


def mcnemar(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> McNemar:
    """McNemar's test 1947, exact: of the samples [n] that one decider alone got right, is half the first's?

    The p-value is the two-sided binomial one, 1 without a disagreement. It takes samples for independent: with several
    images of a patient use the paired bootstrap of `nearfar.evaluate.clustered`. Raises ShapeError or DataError.
    """
    truth = as_labels(labels, 2, "the true labels")
    right = [as_scored(truth, decisions, both=False)[1] == truth for decisions in (first, second)]
    ours, theirs = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    p = float(binomtest(ours, ours + theirs).pvalue) if ours + theirs else 1.0
    return McNemar(ours, theirs, p)


def _sides(truth: IntArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    return values[truth == 1], values[truth == 0]


def _threshold(drawn: Curve, position: int) -> float:
    """The threshold there; where nothing is called 1, the next number above the highest score."""
    return float(drawn.threshold[position] if position else np.nextafter(drawn.threshold[1], np.inf))


def _target(share: float) -> float:
    if not 0 <= share <= 1:
        raise ConfigError("a share lies in 0..1", found=share)
    return share
