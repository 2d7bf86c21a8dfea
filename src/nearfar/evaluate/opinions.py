"""The opinions that a run's embeddings give about pairs of samples that share a given label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.bootstrap import IntArray
from nearfar.evaluate.embed import run_embeddings
from nearfar.evaluate.embeddings import save_arrays
from nearfar.evaluate.knn import normalise
from nearfar.spatial.evidence import hinge
from nearfar.spatial.opinions import Opinion

if TYPE_CHECKING:
    from nearfar.train.run import Run

PAIRS = 2000  # sampled pairs


def sample_pairs(labels: ArrayLike, count: int, *, same: bool, seed: int = 0) -> IntArray:
    """Up to `count` pairs [m, 2] of distinct samples with equal (or, `same=False`, different) labels [n].

    Uniform over the ordered pairs, drawn with replacement; labels of -1 (unknown) take no part. Raises DataError where
    there is no such pair.
    """
    given = np.asarray(labels)
    known = np.flatnonzero(given >= 0)
    rng = np.random.default_rng(seed)
    found = np.empty((0, 2), dtype=np.int64)
    _, sizes = np.unique(given[known], return_counts=True)
    share = (sizes * (sizes - 1)).sum() if same else (sizes * (len(known) - sizes)).sum()
    if not share:
        kind = "share a label" if same else "have different labels"
        raise DataError(f"no two samples {kind}", found=f"{len(known)} labelled samples")
    while len(found) < count:
        drawn = known[rng.integers(0, len(known), (4 * count, 2))]
        fits = (drawn[:, 0] != drawn[:, 1]) & ((given[drawn[:, 0]] == given[drawn[:, 1]]) == same)
        found = np.concatenate([found, drawn[fits]])
    return found[:count]


def pair_opinions(
    z: ArrayLike, labels: ArrayLike, true_labels: ArrayLike | None = None, *, pairs: int = PAIRS, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Opinions about sampled pairs of equal given label: b, d, u float32 [m], and `agree` [m].

    `agree`: 1 where the true labels of the pair agree, 0 where not, -1 where unknown. z [n, D] is centred first, since
    the features of a network with a final ReLU all point one way. Evidence is the hinge around the midpoint between the
    mean cosine of pairs of equal and of different given labels (Subjective Logic, W = 2, kappa = 10).

    Raises ShapeError where z and labels do not match, DataError for NaN or where one kind of pair does not exist.
    """
    rows, given = np.asarray(z, dtype=np.float32), np.asarray(labels)
    if len(rows) != len(given):
        raise ShapeError("embeddings and labels do not match", found=f"{len(rows)} and {len(given)}")
    unit = normalise(rows - rows.mean(axis=0))
    near, far = (sample_pairs(given, pairs, same=same, seed=seed) for same in (True, False))
    cosine, apart = ((unit[p[:, 0]] * unit[p[:, 1]]).sum(axis=1) for p in (near, far))
    margin = float(np.clip((cosine.mean() + apart.mean()) / 2, -0.95, 0.95))
    opinion = Opinion.from_evidence(*hinge(torch.from_numpy(cosine), margin=margin))
    truth = np.full(len(given), -1) if true_labels is None else np.asarray(true_labels)
    first, second = truth[near[:, 0]], truth[near[:, 1]]
    agree = np.where((first >= 0) & (second >= 0), (first == second).astype(np.int64), -1)
    parts = {name: getattr(opinion, name).numpy() for name in ("b", "d", "u")}
    return {**parts, "agree": agree, "margin": np.float32(margin)}


def opinions_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """Opinions about pairs of the train split, to arrays/opinions.npz (epoch, b, d, u, agree).

    Returns the mean belief, disbelief and uncertainty and, where true labels tell right pairs from wrong ones, the
    AUROC of the projected probability b + u / 2 as a test for a right pair.
    """
    train = run_embeddings(run, dataset).of_split("train")
    found = pair_opinions(train.z, train.label, train.true_label, seed=config.seed)
    epochs = [line["epoch"] for line in run.history() if "epoch" in line]
    epoch = np.full(len(found["b"]), max(epochs, default=0))
    save_arrays(run.arrays / "opinions.npz", epoch=epoch, **found)
    summary: dict[str, Any] = {"pairs": len(found["b"]), "margin": float(found["margin"])}
    for name, part in (("belief", "b"), ("disbelief", "d"), ("uncertainty", "u")):
        summary[name] = float(found[part].mean())
    known = found["agree"] >= 0
    if len(np.unique(found["agree"][known])) == 2:
        projected = found["b"] + found["u"] / 2
        summary["agreement_auroc"] = float(roc_auc_score(found["agree"][known], projected[known]))
        summary["truly_agreeing"] = float(found["agree"][known].mean())
    return summary
