"""Measures of a ranking by graded or binary relevance, with what a random order gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import ShapeError
from nearfar.evaluate.bootstrap import FloatArray

LEVELS = (1, 3, 5, 10, 25)


def ndcg(
    scores: NDArray[Any], relevance: NDArray[Any], allowed: NDArray[np.bool_], levels: Sequence[int] = LEVELS
) -> tuple[FloatArray, FloatArray]:
    """(NDCG@k, its expectation under a random order) of each query, [q, len(levels)] each; NaN without a candidate.

    `scores` [q, n] rank the keys, `relevance` [q, n] >= 0 says how good each is, `allowed` which are candidates.
    DCG@k = sum over ranks i < k of relevance_i / log2(i + 2) (Jarvelin and Kekalainen 2002), over that of the best
    order. A random order has the mean relevance at every rank, so its expected DCG needs no draw. Raises ShapeError.
    """
    if not scores.shape == relevance.shape == allowed.shape:
        raise ShapeError(
            "scores, relevance and candidates differ",
            found=f"{scores.shape}, {relevance.shape} and {allowed.shape}",
            expected="[q, n] each",
        )
    deepest = min(max(levels), scores.shape[1])
    discounts = 1 / np.log2(np.arange(deepest) + 2)
    gains = np.where(allowed, relevance, 0.0)
    candidates = allowed.sum(1)
    reached = np.arange(deepest) < candidates[:, None]
    found = np.take_along_axis(gains, _top(np.where(allowed, scores, -np.inf), deepest), 1) * reached
    best = np.take_along_axis(gains, _top(np.where(allowed, relevance, -np.inf), deepest), 1) * reached
    mean = np.divide(gains.sum(1), candidates, out=np.full(len(gains), np.nan), where=candidates > 0)
    spread = mean[:, None] * reached
    columns = [min(k, deepest) - 1 for k in levels]
    sums = [np.cumsum(x * discounts, axis=1)[:, columns] for x in (found, best, spread)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[0] / sums[1], sums[2] / sums[1]


def average_precision(
    scores: NDArray[Any], relevant: NDArray[np.bool_], allowed: NDArray[np.bool_]
) -> tuple[FloatArray, FloatArray]:
    """(average precision over the whole ranking, its expectation under a random order) of each query, [q] each.

    NaN for queries without a relevant candidate. With R of N relevant a random order has
    E[AP] = ((R - 1) / (N - 1) (N - H_N) + H_N) / N, H_N = 1 + 1/2 + ... + 1/N (Bestgen 2015).
    """
    order = np.argsort(-np.where(allowed, scores, -np.inf), axis=1, kind="stable")
    hits = np.take_along_axis(relevant & allowed, order, 1)
    right = hits.sum(1).astype(np.float64)
    precision = hits.cumsum(1) / np.arange(1, hits.shape[1] + 1)
    count = allowed.sum(1).astype(np.float64)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, hits.shape[1] + 1))])[allowed.sum(1)]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(right > 0, (precision * hits).sum(1) / right, np.nan)
        rest = np.where(count > 1, (right - 1) / (count - 1), 0.0)
        chance = np.where(right > 0, (rest * (count - harmonic) + harmonic) / count, np.nan)
    return found, chance


def _top(values: NDArray[Any], k: int) -> NDArray[np.int64]:
    chosen = np.argpartition(-values, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(values, chosen, 1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(chosen, order, 1), dtype=np.int64)
