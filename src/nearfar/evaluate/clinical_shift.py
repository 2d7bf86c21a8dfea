"""How far a cohort lies from the test images: its embeddings, as plain values for metrics.json."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.config import EvalConfig
from nearfar.errors import DataError
from nearfar.evaluate.clinical_measures import number, plain
from nearfar.evaluate.diagnosis import Scores
from nearfar.evaluate.shift import classifier_two_sample, mmd

Array = NDArray[Any]


def embedding_shift(test: Scores, other: Scores, config: EvalConfig) -> dict[str, Any] | None:
    """Two-sample tests of the embeddings that the classifier sees, all modalities side by side; None for tiny cohorts.

    `mmd` (squared, unbiased) with its permutation `p`, and `classifier_auc`: how well a classifier tells the cohort
    from the test images, 0.5 where it cannot; `by_modality`: the same of each one alone, on samples that have it.
    Whole patients are permuted and split.
    """
    names = [name for name in test.z if name in other.z]
    try:
        first, second = (np.concatenate([part.z[name] for name in names], axis=1) for part in (test, other))
        units = (test.group, other.group)
        distance = mmd(first, second, clusters=units, seed=config.seed)
        found = {"mmd": plain(distance.statistic), "p": plain(distance.p)}
        return {
            **found,
            "classifier_auc": _told_apart(first, second, units, config),
            "by_modality": {name: _one_modality(name, test, other, config) for name in test.z},
        }
    except DataError:
        return None


def _one_modality(name: str, test: Scores, other: Scores, config: EvalConfig) -> dict[str, Any] | None:
    if name not in other.z:
        return None
    rows = [part.with_modality(name) for part in (test, other)]
    first, second = (part.z[name][kept] for part, kept in zip((test, other), rows, strict=True))
    units = test.group[rows[0]], other.group[rows[1]]
    try:
        return _told_apart(first, second, units, config)
    except DataError:
        return None


def _told_apart(first: Array, second: Array, units: tuple[Array, Array], config: EvalConfig) -> dict[str, Any] | None:
    told = classifier_two_sample(first, second, clusters=units, confidence=config.confidence, seed=config.seed)
    return number({"value": told.statistic, "low": told.low, "high": told.high})
