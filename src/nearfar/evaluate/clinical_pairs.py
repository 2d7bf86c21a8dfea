"""Two diagnoses of the same images: is one better?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.evaluate.operating import mcnemar
from nearfar.evaluate.roc import paired_delong

Arrays = Mapping[str, NDArray[Any]]


def compare_diagnoses(first: Arrays, second: Arrays, cohort: str = "test") -> dict[str, Any] | None:
    """ROC-AUC of the first minus the second with its paired interval, and p-values, of two arrays/clinical.npz.

    `auc` {value, low, high} and `p` by DeLong's test for patients (Obuchowski), `mcnemar_p` of the calls at each one's
    own threshold; `samples` that both judged with the same label. None where there are none, or one class alone.
    """
    if any(f"id/{cohort}" not in data for data in (first, second)):
        return None
    _, one, two = np.intersect1d(first[f"id/{cohort}"], second[f"id/{cohort}"], return_indices=True)
    labels = first[f"label/{cohort}"][one]
    kept = (labels == second[f"label/{cohort}"][two]) & (labels >= 0)
    one, two, labels = one[kept], two[kept], labels[kept]
    if len(np.unique(labels)) < 2:
        return None
    logits = first[f"logit/{cohort}"][one], second[f"logit/{cohort}"][two]
    paired = paired_delong(labels, *logits, clusters=first[f"group/{cohort}"][one])
    calls = first[f"call/{cohort}"][one], second[f"call/{cohort}"][two]
    decided = (calls[0] >= 0) & (calls[1] >= 0)
    tested = mcnemar(labels[decided], calls[0][decided], calls[1][decided]) if decided.any() else None
    return {
        "auc": {"value": paired.difference, "low": paired.low, "high": paired.high},
        "p": None if np.isnan(paired.p) else paired.p,
        "mcnemar_p": tested.p if tested else None,
        "samples": len(labels),
    }
