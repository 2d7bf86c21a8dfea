"""What each modality contributes: the diagnosis without it, by it alone, and with that of another patient.

Encoders of several modalities do not see each other, so embeddings that were made once are put together anew; nothing
is encoded twice. Gates say none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.roc import auc_interval, paired_delong, roc_auc

Array = NDArray[Any]
Embedded = Mapping[str, Array]
"""embeddings [n, D] by modality"""
Fuse = Callable[[Embedded, Array], Array]
"""(embeddings by modality, present bool [n, K] in their order) -> logits [n]"""
REPEATS = 20


def inference_ablation(
    fuse: Fuse,
    embedded: Embedded,
    present: Array,
    labels: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    confidence: float = 0.95,
) -> dict[str, dict[str, Any]]:
    """AUC of every choice of modalities, the others being treated as missing, by their names joined with "+".

    `auc` with its interval, `drop` below the full model with a paired one and its `p` (DeLong, Obuchowski with
    `clusters` [n]). The model was not trained anew: it answers without what it was used to, so this tells how it copes
    and not what the modalities hold. Raises as `auc_interval`.
    """
    names = tuple(embedded)
    options: dict[str, Any] = {"clusters": clusters, "confidence": confidence}
    full = fuse(embedded, present)
    found = {}
    for size in range(len(names), 0, -1):
        for kept in combinations(names, size):
            logits = fuse(embedded, present & np.isin(names, kept))
            row: dict[str, Any] = {"auc": auc_interval(labels, logits, **options)}
            if size < len(names):
                row |= _drop(labels, full, logits, options)
            found["+".join(kept)] = row
    return found


def _drop(labels: ArrayLike, full: Array, logits: Array, options: Mapping[str, Any]) -> dict[str, Any]:
    paired = paired_delong(labels, full, logits, **options)
    bounds = {"value": paired.difference, "low": paired.low, "high": paired.high}
    return {"drop": bounds, "p": None if np.isnan(paired.p) else paired.p}


def permutation_importance(
    fuse: Fuse,
    embedded: Embedded,
    present: Array,
    labels: ArrayLike,
    patients: Sequence[Any] | Array,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """How much AUC is lost where one modality comes from another patient (Breiman 2001), by modality.

    Each of `repeats` permutations gives every sample the embedding (and presence) of a sample of another patient, so
    frames of one patient never stand in for each other. `auc` and `drop` are means, `sd` the deviation of the drop over
    permutations: of the procedure, not of the patients drawn. Raises DataError where one patient has more than half of
    the samples.
    """
    truth = np.asarray(labels)
    full = roc_auc(truth, fuse(embedded, present))
    rng = np.random.default_rng(seed)
    orders = [exchanged(patients, rng) for _ in range(repeats)]
    found = {}
    for k, name in enumerate(embedded):
        areas = []
        for order in orders:
            there = present.copy()
            there[:, k] = present[order, k]
            areas.append(roc_auc(truth, fuse({**embedded, name: embedded[name][order]}, there)))
        mean = float(np.mean(areas))
        found[name] = {"auc": mean, "drop": full - mean, "sd": float(np.std(areas)), "repeats": repeats}
    return found


def exchanged(patients: Sequence[Any] | Array, rng: np.random.Generator) -> Array:
    """A random permutation [n] that gives every sample one of another patient.

    Samples are lined up patient by patient, in random order, and the line is turned by at least the largest patient.
    Raises DataError where one patient has more than half of the samples: there is then no such permutation.
    """
    codes, counts = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)[1:]
    if codes.ndim != 1:
        raise ShapeError("one patient a sample", found=codes.shape, expected="[n]")
    total, largest = len(codes), int(counts.max(initial=0))
    if 2 * largest > total or not total:
        raise DataError(
            "one patient has more than half of the samples, so none can be exchanged across patients",
            found=f"{largest} of {total}",
        )
    place = rng.permutation(len(counts))[codes]
    line = np.lexsort((rng.random(total), place))
    order = np.empty(total, dtype=np.int64)
    order[line] = np.roll(line, int(rng.integers(largest, total - largest + 1)))
    return order
