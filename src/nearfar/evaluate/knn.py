"""Cosine k-nearest-neighbour classification of embeddings, in tiles so that memory stays bounded."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.bootstrap import FloatArray, IntArray, as_labels

Float32Array = NDArray[np.float32]

_CELLS = 1 << 23  # similarities held at a time: 32 MB of float32


def normalise(z: ArrayLike, name: str = "embeddings") -> Float32Array:
    """Rows of z [n, D] scaled to length 1 (zero rows stay zero). Raises ShapeError, or DataError on NaN or infinity."""
    rows = np.asarray(z, dtype=np.float32)
    if rows.ndim != 2:
        raise ShapeError(f"{name} must have two axes", found=rows.shape, expected="[n, D]")
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise DataError(f"{name} hold NaN or infinity in {bad.size} of {len(rows)} rows", found=f"first row {bad[0]}")
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, np.finfo(np.float32).tiny), dtype=np.float32)


def neighbours(
    queries: ArrayLike, keys: ArrayLike, k: int, *, exclude_self: bool = False, cells: int = _CELLS
) -> tuple[Float32Array, IntArray]:
    """Cosine similarities and key positions [q, k'] of the k' = min(k, available) nearest keys, nearest first.

    `queries` [q, D], `keys` [n, D]. `exclude_self`: query i is key i and is not its own neighbour. At most `cells`
    similarities exist at a time (or one row). Raises ConfigError for k < 1, ShapeError, DataError (NaN, no keys).
    """
    if k < 1:
        raise ConfigError("k must be at least 1", found=k)
    q, x = normalise(queries, "queries"), normalise(keys, "keys")
    if q.shape[1] != x.shape[1]:
        raise ShapeError("queries and keys differ in width", found=f"{q.shape} and {x.shape}")
    k = min(k, len(x) - exclude_self)
    if k < 1:
        raise DataError("no neighbours to search", found=f"{len(x)} keys", expected=f"at least {1 + exclude_self}")
    similarity = np.empty((len(q), k), dtype=np.float32)
    position = np.empty((len(q), k), dtype=np.int64)
    step = max(1, cells // len(x))
    for start in range(0, len(q), step):
        rows = slice(start, min(start + step, len(q)))
        tile = q[rows] @ x.T
        if exclude_self:
            tile[np.arange(len(tile)), np.arange(rows.start, rows.stop)] = -np.inf
        similarity[rows], position[rows] = _top(tile, k)
    return similarity, position


def _top(tile: Float32Array, k: int) -> tuple[Float32Array, IntArray]:
    chosen = np.argpartition(-tile, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(tile, chosen, axis=1)
    order = np.lexsort((chosen, -values), axis=1)
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(chosen, order, axis=1)


def knn_scores(
    train: ArrayLike,
    labels: ArrayLike,
    test: ArrayLike,
    classes: int,
    *,
    k: int = 20,
    weighting: Literal["similarity", "majority"] = "similarity",
    temperature: float = 0.07,
) -> FloatArray:
    """Votes [m, C] for each class among the k nearest training samples, each row summing to 1.

    `train` [n, D] with `labels` [n], `test` [m, D]; k is cut to n. weighting "similarity" weighs a neighbour by
    exp(cosine / temperature) (Wu et al. 2018, section 3.4, temperature 0.07); "majority" counts, and breaks ties by the
    summed cosine.
    """
    true = as_labels(labels, classes, "the training labels")
    similarity, position = neighbours(test, train, k)
    if len(true) != len(np.asarray(train)):
        raise ShapeError(
            "training embeddings and labels do not match", found=f"{len(np.asarray(train))} and {len(true)}"
        )
    if weighting == "similarity":
        weights = np.exp((similarity - similarity[:, :1]).astype(np.float64) / temperature)
    else:
        # Up to k neighbours add at most 1/4 together, so the cosine can only decide between equal counts.
        weights = 1 + (similarity.astype(np.float64) + 1) / (8 * similarity.shape[1])
    rows = np.repeat(np.arange(len(similarity)), similarity.shape[1])
    cell = rows * classes + true[position].ravel()
    votes = np.bincount(cell, weights=weights.ravel(), minlength=len(similarity) * classes).reshape(-1, classes)
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def knn_predict(
    train: ArrayLike,
    labels: ArrayLike,
    test: ArrayLike,
    classes: int,
    *,
    k: int = 20,
    weighting: Literal["similarity", "majority"] = "similarity",
    temperature: float = 0.07,
) -> IntArray:
    """Class [m] with the most votes of `knn_scores`."""
    votes = knn_scores(train, labels, test, classes, k=k, weighting=weighting, temperature=temperature)
    return np.asarray(votes.argmax(axis=1), dtype=np.int64)
