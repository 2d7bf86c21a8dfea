"""Numbers of a diagnosis in one cohort, at a decision that was frozen before: pure functions of labels and logits.

Every number is {"value", "low", "high"} or plain; None where it is undefined (one class alone, separated classes).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.config import EvalConfig
from nearfar.data.study import CLASSES
from nearfar.evaluate.bootstrap import interval
from nearfar.evaluate.calibration import fit_calibrator, reliability
from nearfar.evaluate.clustered import clinical_metrics, clustered_intervals, resampled_groups
from nearfar.evaluate.decision import Decision
from nearfar.evaluate.diagnosis import Scores
from nearfar.evaluate.operating import ABSTAIN, decision_curve, rates
from nearfar.evaluate.roc import auc_interval, weighted_roc_auc
from nearfar.evaluate.shift import adjust_prevalence, estimate_prevalence

Array = NDArray[Any]
RATES = (
    "average_precision", "accuracy", "balanced_accuracy", "f1", "sensitivity", "specificity", "ppv", "npv",
)  # fmt: skip
CALIBRATION = {"brier": "brier", "ece": "ece", "ece_equal_mass": "ece_mass", "slope": "slope", "intercept": "intercept"}
SELECTIVE = ("accuracy", "sensitivity", "specificity")
GRID = np.arange(1, 100) / 100
"""threshold probabilities of the decision curve"""


@dataclass(frozen=True)
class Labelled:
    """The samples of a cohort whose label is known."""

    labels: Array
    logits: Array
    patients: Array

    @classmethod
    def of(cls, scores: Scores) -> Labelled:
        """Those of a cohort's scores."""
        rows = scores.labelled
        return cls(scores.label[rows], scores.logit[rows], scores.group[rows])

    @property
    def both(self) -> bool:
        """Whether both classes are there."""
        return len(np.unique(self.labels)) == 2


def cohort_measures(scores: Scores, decision: Decision, config: EvalConfig) -> dict[str, Any]:
    """Counts, discrimination, decisions and calibration of one cohort.

    Intervals draw whole patients; `auc_delong` is DeLong's on the logit scale (Obuchowski's for patients). What
    needs both classes is None where one is missing. Rates are those of the threshold for all images; `decided` has
    those of images that the band does not leave to a person. Without any label only counts are given.
    """
    known = Labelled.of(scores)
    counts = {
        "samples": len(known.labels),
        "unlabelled": len(scores) - len(known.labels),
        "patients": len(np.unique(scores.group)),
        "abstained": float((decision.decide(scores.logit) == ABSTAIN).mean()),
    }
    if not len(known.labels):
        return counts
    p = decision.probabilities(known.logits)
    options = _options(known, config)
    names = ("roc_auc", *RATES)
    metrics = {name: clinical_metrics(decision.point.threshold)[name] for name in names}
    found = {name: number(v) for name, v in clustered_intervals(metrics, known.labels, p, **options).items()}
    measured: dict[str, Any] = {**counts, "prevalence": float(known.labels.mean()), "auc": found.pop("roc_auc")}
    measured["auc_delong"] = _delong(known, config) if known.both else None
    decided = _decided(known, decision, config)
    return {**measured, **found, **decided, "calibration": calibration(known, decision, config)}


def _delong(known: Labelled, config: EvalConfig) -> dict[str, Any] | None:
    return number(auc_interval(known.labels, known.logits, clusters=known.patients, confidence=config.confidence))


def _decided(known: Labelled, decision: Decision, config: EvalConfig) -> dict[str, Any]:
    calls = decision.decide(known.logits)
    forced = decision.probabilities(known.logits) >= decision.point.threshold
    counts = np.zeros((2, 2), np.int64)
    np.add.at(counts, (known.labels, forced.astype(np.int64)), 1)
    found: dict[str, Any] = {"confusion": {"classes": list(CLASSES), "counts": counts.tolist()}}
    if (calls == ABSTAIN).any():
        shares = rates(known.labels, calls, config.confidence)
        found["decided"] = {name: number(shares[name]) for name in SELECTIVE}
    return found


def calibration(known: Labelled, decision: Decision, config: EvalConfig) -> dict[str, Any]:
    """Brier score, calibration errors, slope, intercept and the bins of a reliability plot.

    Of the model's own probability (`raw`); by the frozen calibrator (`calibrated`); that brought to the share of
    standard images that it implies for this cohort, without labels (`adjusted`, Saerens et al. 2002); and, where both
    classes are there, by a calibrator fitted on this very cohort (`refitted`): the best that could be hoped for.
    """
    versions = {"raw": _sigmoid(known.logits), "calibrated": decision.probabilities(known.logits)}
    prevalence = float(decision.fitted.get("prevalence", 0))
    if 0 < prevalence < 1:
        now = estimate_prevalence(versions["calibrated"], prevalence)
        versions["adjusted"] = adjust_prevalence(versions["calibrated"], prevalence, now)
    kind = decision.calibrator.kind
    if known.both and kind != "none":
        versions["refitted"] = fit_calibrator(kind, known.labels, known.logits).apply(known.logits)
    return {name: _calibrated(known, p, config) for name, p in versions.items()}


def _calibrated(known: Labelled, p: Array, config: EvalConfig) -> dict[str, Any]:
    every = clinical_metrics(0.5)
    metrics = {name: every[key] for name, key in CALIBRATION.items()}
    found = clustered_intervals(metrics, known.labels, p, **_options(known, config))
    drawn = reliability(known.labels, p)
    columns = {"low": drawn.low, "high": drawn.high, "count": drawn.count, "mean": drawn.predicted}
    columns |= {"observed": drawn.observed, "observed_low": drawn.observed_low, "observed_high": drawn.observed_high}
    bins = [
        {key: int(v[k]) if key == "count" else plain(float(v[k])) for key, v in columns.items()}
        for k in range(len(drawn.count))
    ]
    return {**{name: number(value) for name, value in found.items()}, "bins": bins}


def net_benefit(known: Labelled, decision: Decision) -> dict[str, list[float]]:
    """Net benefit of calling images standard, over threshold probabilities: `model`, and `all`, calling each so."""
    drawn = decision_curve(known.labels, decision.probabilities(known.logits), GRID)
    return {"threshold": drawn.threshold.tolist(), "model": drawn.model.tolist(), "all": drawn.treat_all.tolist()}


def auc_drop(reference: Labelled, other: Labelled, config: EvalConfig) -> dict[str, float] | None:
    """ROC-AUC of the reference cohort minus that of another one, whose patients are others; None without both classes.

    Percentile interval of the difference of independent resamples of patients.
    """
    if not (reference.both and other.both):
        return None
    drawn = [
        resampled_groups(
            {"auc": weighted_roc_auc},
            part.labels,
            part.logits,
            [np.arange(len(part.labels))],
            clusters=part.patients,
            resamples=config.bootstrap,
            seed=config.seed + k,
        )["auc"][0]
        for k, part in enumerate((reference, other))
    ]
    ones = [
        weighted_roc_auc(part.labels, part.logits, np.ones((1, len(part.labels))))[0] for part in (reference, other)
    ]
    return number(interval(float(ones[0] - ones[1]), drawn[0] - drawn[1], config.confidence))


def gate_measures(gates: Array | None, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each modality's gate [n, K]; empty where there are none. No importance."""
    if gates is None:
        return {}
    return {name: {"mean": float(gates[:, k].mean()), "sd": float(gates[:, k].std())} for k, name in enumerate(names)}


def plain(value: float) -> float | None:
    """None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def number(found: Mapping[str, float]) -> dict[str, Any] | None:
    """An interval as plain values, None where its value is undefined."""
    made = {name: plain(float(value)) for name, value in found.items()}
    return made if made.get("value") is not None else None


def _options(known: Labelled, config: EvalConfig) -> dict[str, Any]:
    return {
        "clusters": known.patients,
        "resamples": config.bootstrap,
        "confidence": config.confidence,
        "seed": config.seed,
    }


def _sigmoid(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -700, 700))))
