"""Bootstrap over patients: intervals of any measure, and paired differences, from resamples that draw whole clusters.

Images of one patient are alike, so drawing them one by one gives intervals that are too narrow (Field and Welsh 2007,
"Bootstrapping clustered data"). Drawing patients turns into weights on their images, and every measure here is a
function of weights, so a thousand resamples are a few products of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import scipy.special
from numpy.typing import ArrayLike

from nearfar.evaluate import metrics
from nearfar.evaluate.binary import Metric, as_scored, once
from nearfar.evaluate.bootstrap import FloatArray, IntArray, Interval, cluster_weights, interval
from nearfar.evaluate.calibration import ece, weighted_brier, weighted_intercept, weighted_log_loss, weighted_slope
from nearfar.evaluate.roc import weighted_average_precision, weighted_roc_auc


def clinical_metrics(threshold: float, *, bins: int = 10) -> dict[str, Metric]:
    """The measures of a report, as functions of weights, with decisions made at `threshold`.

    roc_auc, average_precision; brier, log_loss, ece (equal width), ece_mass, slope, intercept (in the large);
    accuracy, balanced_accuracy, f1 (of label 1), sensitivity, specificity, ppv, npv.
    """
    return {
        "roc_auc": weighted_roc_auc,
        "average_precision": weighted_average_precision,
        "brier": weighted_brier,
        "log_loss": weighted_log_loss,
        "ece": ece(bins),
        "ece_mass": ece(bins, "mass"),
        "slope": weighted_slope,
        "intercept": weighted_intercept,
    } | {name: partial(_of_counts, threshold=threshold, rate=rate) for name, rate in _RATES.items()}


def clustered_intervals(
    measures: Mapping[str, Metric],
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Every measure of labels [n] and scores [n], {"value", "low", "high"}, with percentile intervals over `clusters`.

    clusters: the patient of each sample, default every sample on its own. Plain percentiles are too narrow for few
    clusters; they are taken further out by the ratio of Student's to normal quantiles (Hesterberg 2015, "What teachers
    should know about the bootstrap", section 4.4). A measure that is undefined on the data is NaN throughout;
    resamples that leave it undefined are left out. Intervals of an expected calibration error lie high, since
    resampling adds to its upward bias. One cluster has no interval: both ends are the value.
    Raises ShapeError or DataError on bad labels, scores or clusters; one class alone is legal.
    """
    truth, values = as_scored(labels, scores, both=False)
    drawn = _resampled(measures, truth, [values], clusters, resamples, seed)
    exact = {name: once(metric, truth, values) for name, metric in measures.items()}
    wider = expanded(confidence, len(truth) if clusters is None else len(np.unique(np.asarray(clusters))))
    return {name: bootstrap_interval(exact[name], drawn[name][0], wider) for name in measures}


def clustered_differences(
    measures: Mapping[str, Metric],
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """measure(first) - measure(second) on the same samples, {"value", "low", "high", "p"}, from the same resamples.

    p is two-sided: twice the smaller share of resampled differences on one side of 0, with one added to count and
    total (Davison and Hinkley 1997, section 4.4), so never below 2 / (resamples + 1); 1 where nothing differs.
    Raises as `clustered_intervals`.
    """
    truth, one = as_scored(labels, first, both=False)
    _, two = as_scored(truth, second, both=False)
    drawn = _resampled(measures, truth, [one, two], clusters, resamples, seed)
    wider = expanded(confidence, len(truth) if clusters is None else len(np.unique(np.asarray(clusters))))
    report = {}
    for name, metric in measures.items():
        value = once(metric, truth, one) - once(metric, truth, two)
        differences = drawn[name][0] - drawn[name][1]
        report[name] = bootstrap_interval(value, differences, wider) | {"p": _two_sided(differences)}
    return report


def resampled_groups(
    measures: Mapping[str, Metric],
    labels: IntArray,
    scores: FloatArray,
    members: list[np.ndarray],
    *,
    clusters: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, FloatArray]:
    """Every measure within each of g subsets (positions [m]) on the same resamples of patients: name -> [g, r].

    Trusts labels and scores. One seed gives the same resamples whatever the subsets, so differences between subsets,
    which may share patients, are paired.
    """
    chunks: dict[str, list[FloatArray]] = {name: [] for name in measures}
    for weights in cluster_weights(len(labels), clusters, resamples=resamples, seed=seed):
        for name, metric in measures.items():
            parts = [_guarded(metric, labels[part], scores[part], weights[:, part]) for part in members]
            chunks[name].append(np.stack(parts))
    return {
        name: np.concatenate(parts, axis=1) if parts else np.empty((len(members), 0)) for name, parts in chunks.items()
    }


def bootstrap_interval(value: float, samples: FloatArray, confidence: float) -> Interval:
    """`interval`, NaN throughout where the value is."""
    return interval(value, [] if np.isnan(value) else samples, confidence)


def expanded(confidence: float, clusters: int) -> float:
    """The confidence whose percentiles of a bootstrap over that many clusters give the one asked for."""
    if clusters < 2:
        return confidence
    quantile = scipy.special.stdtrit(clusters - 1, (1 + confidence) / 2) * np.sqrt(clusters / (clusters - 1))
    return float(2 * scipy.special.ndtr(quantile) - 1)


def _resampled(
    measures: Mapping[str, Metric],
    labels: IntArray,
    systems: list[FloatArray],
    clusters: ArrayLike | None,
    resamples: int,
    seed: int,
) -> dict[str, FloatArray]:
    """name -> [systems, r]; all systems on the same resamples."""
    everyone = [np.arange(len(labels))]
    options = {"clusters": clusters, "resamples": resamples, "seed": seed}
    found = [resampled_groups(measures, labels, scores, everyone, **options) for scores in systems]  # type: ignore[arg-type]
    return {name: np.concatenate([part[name] for part in found]) for name in measures}


def _guarded(metric: Metric, labels: IntArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """The metric where a row has any weight at all, NaN elsewhere."""
    filled = weights.sum(axis=1) > 0
    values = np.full(len(weights), np.nan)
    if filled.any():
        values[filled] = metric(labels, scores, weights[filled])
    return values


def _two_sided(differences: FloatArray) -> float:
    known = differences[~np.isnan(differences)]
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (known.size + 1))


def _of_counts(
    labels: IntArray,
    scores: FloatArray,
    weights: FloatArray,
    *,
    threshold: float,
    rate: Callable[[FloatArray], FloatArray],
) -> FloatArray:
    called = scores >= threshold
    cells = np.stack([(labels == truth) & (called == call) for truth in (0, 1) for call in (False, True)], axis=1)
    return rate((weights @ cells.astype(np.float64)).reshape(-1, 2, 2))


def _share(part: FloatArray, other: FloatArray) -> FloatArray:
    whole = part + other
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


_RATES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": lambda c: (_share(c[:, 1, 1], c[:, 1, 0]) + _share(c[:, 0, 0], c[:, 0, 1])) / 2,
    "f1": lambda c: _share(2 * c[:, 1, 1], c[:, 0, 1] + c[:, 1, 0]),
    "sensitivity": lambda c: _share(c[:, 1, 1], c[:, 1, 0]),
    "specificity": lambda c: _share(c[:, 0, 0], c[:, 0, 1]),
    "ppv": lambda c: _share(c[:, 1, 1], c[:, 0, 1]),
    "npv": lambda c: _share(c[:, 0, 0], c[:, 1, 0]),
}
"""rates of weighted confusions [r, 2, 2], rows the truth: [r]"""
