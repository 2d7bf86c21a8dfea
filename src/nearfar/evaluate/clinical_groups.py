"""Subgroups of the images of one cohort as plain values for metrics.json."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearfar.config import EvalConfig
from nearfar.evaluate.binary import Metric
from nearfar.evaluate.clinical_measures import number, plain
from nearfar.evaluate.clustered import clinical_metrics
from nearfar.evaluate.decision import Decision
from nearfar.evaluate.diagnosis import Scores
from nearfar.evaluate.roc import weighted_roc_auc
from nearfar.evaluate.subgroups import Group, binned, gap, holm, subgroup_table

COLUMNS = ("view", "center", "device", "gestational_age")
WEEKS = (11, 12, 13, 14)
"""edges of the bins of gestational age"""
RATES = ("sensitivity", "specificity")


def subgroups(scores: Scores, decision: Decision, config: EvalConfig) -> dict[str, Any]:
    """`subgroups` and `gaps` by column of the data, of labelled samples; columns with one value are left out.

    A subgroup has `group`, `samples`, `patients`, `prevalence`, `auc`, `sensitivity`, `specificity` (None where they
    are undefined or the group is smaller than `config.subgroup_minimum`) and a `note`. A gap has the largest difference
    of ROC-AUC `auc` between the groups `highest` and `lowest`, the `p` that all groups are the same, and `p_holm`,
    corrected for the number of columns.
    """
    rows = scores.labelled
    labels, patients = scores.label[rows], scores.group[rows]
    p = decision.probabilities(scores.logit[rows])
    columns = {name: values for name in COLUMNS if len(set(values := _column(scores, name))) > 1}
    metrics: dict[str, Metric] = {"roc_auc": weighted_roc_auc}
    metrics |= {name: clinical_metrics(decision.point.threshold)[name] for name in RATES}
    options: dict[str, Any] = {
        "clusters": patients,
        "minimum": config.subgroup_minimum,
        "resamples": config.bootstrap,
        "confidence": config.confidence,
        "seed": config.seed,
    }
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in columns}
    for group in subgroup_table(columns, metrics, labels, p, **options)[1:]:
        tables[group.column].append(_row(group))
    gaps = {name: gap(values, weighted_roc_auc, labels, p, **options) for name, values in columns.items()}
    known = {name: found for name, found in gaps.items() if found is not None}
    corrected = holm([found.p for found in known.values()])
    return {
        "subgroups": tables,
        "gaps": {
            name: {
                "auc": number(found.difference),
                "highest": found.highest,
                "lowest": found.lowest,
                "p": plain(found.p),
                "p_holm": plain(float(each)),
            }
            for (name, found), each in zip(known.items(), corrected, strict=True)
        },
    }


def _column(scores: Scores, name: str) -> list[str]:
    values = [str(v) for v in scores.column(name)[scores.labelled]]
    return binned(values, WEEKS, "weeks") if name == "gestational_age" else values


def _row(group: Group) -> dict[str, Any]:
    measures = {"auc" if name == "roc_auc" else name: number(value) for name, value in group.measures.items()}
    counts = {"group": group.value, "samples": group.samples, "patients": group.patients}
    return {**counts, "prevalence": float(np.divide(group.positives, group.samples)), **measures, "note": group.note}
