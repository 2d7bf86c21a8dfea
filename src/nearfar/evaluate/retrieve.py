"""Retrieval: do the nearest neighbours of a test sample share its class?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.bootstrap import FloatArray, bootstrap_mean
from nearfar.evaluate.embed import run_embeddings
from nearfar.evaluate.knn import neighbours

if TYPE_CHECKING:
    from nearfar.train.run import Run


def average_precision_at_k(
    queries: ArrayLike, query_labels: ArrayLike, keys: ArrayLike, key_labels: ArrayLike, k: int
) -> FloatArray:
    """AP@k [q] of each query: mean over the relevant ranks r <= k of precision@r, over min(k, relevant keys).

    Cosine ranking of `keys` [n, D] for `queries` [q, D]; relevant: of the same label. Queries without a relevant key
    have no average precision: NaN. Raises ShapeError where labels do not match, DataError for NaN.
    """
    wanted, offered = np.asarray(query_labels), np.asarray(key_labels)
    if (len(wanted), len(offered)) != (len(np.asarray(queries)), len(np.asarray(keys))):
        raise ShapeError("embeddings and labels do not match", found=f"{len(wanted)} and {len(offered)} labels")
    _, position = neighbours(queries, keys, k)
    hits = (offered[position] == wanted[:, None]).astype(np.float64)
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    relevant = np.minimum((offered[None] == np.unique(wanted)[:, None]).sum(axis=1), hits.shape[1])
    best = relevant[np.searchsorted(np.unique(wanted), wanted)].astype(np.float64)
    scores = np.full(len(best), np.nan)
    np.divide((precision * hits).sum(axis=1), best, out=scores, where=best > 0)
    return scores


def retrieve_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """Mean AP@k of test queries against the train split, by true labels where known; k from the config."""
    embeddings = run_embeddings(run, dataset)
    labelled = embeddings.where(embeddings.truth >= 0)
    test, train = labelled.of_split("test"), labelled.of_split("train")
    if not len(test) or not len(train):
        raise DataError("nothing to retrieve", found=f"{len(test)} labelled queries, {len(train)} labelled keys")
    precision = average_precision_at_k(test.z, test.truth, train.z, train.truth, config.k)
    known = precision[~np.isnan(precision)]
    if not len(known):
        raise DataError("no test sample has a training sample of its class")
    mean = bootstrap_mean(known, resamples=config.bootstrap, confidence=config.confidence, seed=config.seed)
    return {"mean_average_precision": mean, "k": min(config.k, len(train)), "queries": len(known)}
