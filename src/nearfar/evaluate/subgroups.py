"""Is the model as good for everyone? Measures by view, centre, device or gestational age, and tests of the gaps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.binary import Metric, as_scored, once
from nearfar.evaluate.bootstrap import FloatArray, IntArray, Interval
from nearfar.evaluate.clustered import bootstrap_interval, expanded, resampled_groups
from nearfar.evaluate.roc import auc_interval

UNKNOWN = "unknown"
OVERALL = "all"
_WEEKS_AND_DAYS = re.compile(r"\s*(\d+)\s*(?:\+|w(?:eeks?)?)\s*([0-6])\s*d?(?:ays?)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Group:
    """One row of a subgroup table."""

    column: str
    value: str
    samples: int
    patients: int
    positives: int
    """samples labelled 1"""
    measures: dict[str, Interval]
    """by name; NaN where `note` says why, or where the measure is undefined in the group"""
    note: str = ""
    """why nothing was measured, empty where it was"""

    def row(self) -> dict[str, Any]:
        """Flat: column, value, samples, patients, positives, note, and NAME, NAME_low, NAME_high of every measure."""
        flat: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        for name, part in self.measures.items():
            flat |= {name: part["value"], f"{name}_low": part["low"], f"{name}_high": part["high"]}
        return flat | {"note": self.note}


_PLAIN = ("column", "value", "samples", "patients", "positives")


def subgroup_table(
    columns: Mapping[str, Sequence[str]],
    measures: Mapping[str, Metric],
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    minimum: int = 20,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Group]:
    """Every measure for all samples (the first row) and for every value of every column [n], sorted by value.

    Intervals draw patients (`clusters` [n]), as in `nearfar.evaluate.clustered`; that of roc_auc is the logit one of
    DeLong or Obuchowski, which holds in small groups too. "" in a column is called "unknown". A group of fewer than
    `minimum` samples is listed with a note and NaN, because its numbers would mislead; one with a single class keeps
    what is defined and says so. Raises ShapeError or DataError on bad labels, scores, clusters or columns.
    """
    truth, values = as_scored(labels, scores, both=False)
    who = np.arange(len(truth)) if clusters is None else np.asarray(clusters)
    named = [(OVERALL, OVERALL, np.arange(len(truth)))]
    for column, entries in columns.items():
        named += [(column, value, part) for value, part in _members(column, entries, len(truth))]
    large = [k for k, (_, _, part) in enumerate(named) if k == 0 or len(part) >= minimum]
    parts = [named[k][2] for k in large]
    drawn = resampled_groups(measures, truth, values, parts, clusters=who, resamples=resamples, seed=seed)
    rows = {k: {name: samples[i] for name, samples in drawn.items()} for i, k in enumerate(large)}
    table = []
    for k, (column, value, part) in enumerate(named):
        sizes = len(part), len(np.unique(who[part])), int(truth[part].sum())
        if k not in rows:
            nothing = {name: dict.fromkeys(("value", "low", "high"), float("nan")) for name in measures}
            table.append(Group(column, value, *sizes, nothing, f"fewer than {minimum} samples"))
            continue
        found = _measured(measures, rows[k], truth[part], values[part], who[part], confidence)
        single = sizes[2] in {0, sizes[0]}
        table.append(Group(column, value, *sizes, found, f"every label is {int(truth[part][0])}" if single else ""))
    return table


@dataclass(frozen=True)
class Gap:
    """How far the groups of one column lie apart in one measure."""

    column: str
    measure: str
    highest: str
    lowest: str
    difference: Interval
    """highest - lowest. The pair was chosen by the data, so its interval is a little hopeful"""
    p: float
    """of the test that all groups are the same; NaN where no variance is known"""
    groups: int


def gap(
    entries: Sequence[str],
    metric: Metric,
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    column: str = "",
    measure: str = "",
    clusters: ArrayLike | None = None,
    minimum: int = 20,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Gap | None:
    """The gap between the values of one column [n], and a test that there is none.

    The test is Wald's: with theta the measure of g groups, C its g - 1 contrasts and S the covariance of theta over
    resamples of patients (groups may share patients), theta' C' (C S C')^-1 C theta is compared with chi squared of
    g - 1 degrees. Groups below `minimum` samples, or where the measure is undefined, take no part; None where fewer
    than two are left. Testing several columns or measures asks for a correction (`holm`). Raises as `subgroup_table`.
    """
    truth, values = as_scored(labels, scores, both=False)
    named = [part for part in _members(column, entries, len(truth)) if len(part[1]) >= minimum and part[0] != UNKNOWN]
    theta = np.array([once(metric, truth[part], values[part]) for _, part in named])
    named = [part for part, known in zip(named, ~np.isnan(theta), strict=True) if known]
    theta = theta[~np.isnan(theta)]
    if len(named) < 2:
        return None
    options = {"clusters": clusters, "resamples": resamples, "seed": seed}
    parts = [part for _, part in named]
    drawn = resampled_groups({"it": metric}, truth, values, parts, **options)["it"]  # type: ignore[arg-type]
    high, low = int(np.argmax(theta)), int(np.argmin(theta))
    whole = drawn[:, ~np.isnan(drawn).any(axis=0)]
    wider = expanded(confidence, len(truth) if clusters is None else len(np.unique(np.asarray(clusters))))
    difference = bootstrap_interval(float(theta[high] - theta[low]), drawn[high] - drawn[low], wider)
    return Gap(column, measure, named[high][0], named[low][0], difference, _homogeneity(theta, whole), len(named))


def holm(p: ArrayLike) -> FloatArray:
    """p-values [k] corrected for their number (Holm 1979); NaN stays NaN and is not counted."""
    values = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    corrected = np.full(len(values), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)))
    return corrected


def binned(entries: Sequence[str], edges: Sequence[float], unit: str = "") -> list[str]:
    """Numbers in text sorted into bins: "<11", "11 to <12", ..., ">=14" for edges 11, 12, ..., 14; for subgroups.

    "12+3", "12w3d" and "12 weeks 3 days" are weeks and days, 12.43. What is no number is "unknown".
    Raises ConfigError where the edges do not rise.
    """
    if not len(edges) or any(later <= earlier for earlier, later in pairwise(edges)):
        raise ConfigError("edges of bins rise", found=list(edges))
    tail = f" {unit}" if unit else ""
    names = [f"<{edges[0]:g}{tail}", *(f"{a:g} to <{b:g}{tail}" for a, b in pairwise(edges)), f">={edges[-1]:g}{tail}"]
    places = [(number, np.searchsorted(edges, number, side="right")) for number in map(_number, entries)]
    return [UNKNOWN if np.isnan(number) else names[int(place)] for number, place in places]


def _measured(
    measures: Mapping[str, Metric],
    drawn: Mapping[str, FloatArray],
    labels: IntArray,
    scores: FloatArray,
    patients: np.ndarray,
    confidence: float,
) -> dict[str, Interval]:
    wider = expanded(confidence, len(np.unique(patients)))
    found = {
        name: bootstrap_interval(once(metric, labels, scores), drawn[name], wider) for name, metric in measures.items()
    }
    if "roc_auc" in found and 0 < labels.sum() < len(labels):
        found["roc_auc"] = auc_interval(labels, scores, clusters=patients, confidence=confidence)
    return found


def _homogeneity(theta: FloatArray, drawn: FloatArray) -> float:
    if drawn.shape[1] < 2:
        return float("nan")
    contrast = np.eye(len(theta))[1:] - np.eye(len(theta))[0]
    covariance = contrast @ np.atleast_2d(np.cov(drawn)) @ contrast.T
    rank = int(np.linalg.matrix_rank(covariance, hermitian=True))
    if not rank:
        return float("nan")
    difference = contrast @ theta
    return float(scipy.stats.chi2.sf(difference @ np.linalg.pinv(covariance, hermitian=True) @ difference, rank))


def _members(column: str, entries: Sequence[str], samples: int) -> list[tuple[str, IntArray]]:
    if len(entries) != samples:
        raise ShapeError(f"column '{column}' has not one entry a sample", found=len(entries), expected=samples)
    if not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"column '{column}' does not hold text", fix="Sort numbers into bins first (`binned`).")
    names = np.array([entry or UNKNOWN for entry in entries])
    return [(str(value), np.flatnonzero(names == value)) for value in np.unique(names)]


def _number(entry: str) -> float:
    if match := _WEEKS_AND_DAYS.fullmatch(entry):
        return int(match[1]) + int(match[2]) / 7
    try:
        return float(entry)
    except ValueError:
        return float("nan")
