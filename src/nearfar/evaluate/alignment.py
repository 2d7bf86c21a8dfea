"""Whether embeddings of several modalities meet: cosines of matching and other pairs, retrieval in and across views.

What alignment measures says nothing of how well a diagnosis is made: where modalities bring different evidence, good
alignment may even cost it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from nearfar.errors import ShapeError

Array = NDArray[Any]
LEVELS = (1, 5)
LIMIT = 3000
"""samples that are compared, evenly taken from more: their similarities fill a square matrix"""


def alignment_health(
    embeddings: Mapping[str, ArrayLike],
    *,
    present: Mapping[str, ArrayLike] | None = None,
    captions: ArrayLike | None = None,
    views: ArrayLike | None = None,
    levels: tuple[int, ...] = LEVELS,
) -> dict[str, Any]:
    """Cosines and retrieval of every pair of modalities; `embeddings` holds [n, D] each, of any length.

    By pair, such as "image-text": `matched` and `other` cosines ({mean, sd, median, min, max}), the probability
    `separation` that a matched cosine exceeds another one (0.5: chance), the `gap` between the two mean embeddings
    (Liang et al. 2022), and `retrieval` by direction and gallery: all samples, and where `views` [n] are given those of
    the query's own view, which the view alone cannot solve. Samples with equal `captions` [n] are all right answers
    where text is one of the two. `present` [n] by modality: rows without it are left out.

    Raises ShapeError where lengths differ.
    """
    unit = {name: _unit(rows) for name, rows in embeddings.items()}
    counts = {len(rows) for rows in unit.values()}
    if len(counts) > 1:
        raise ShapeError("embeddings of different numbers of samples", found=sorted(counts))
    total = counts.pop() if counts else 0
    names = {"captions": captions, "views": views}
    columns = {key: None if value is None else _codes(value, total) for key, value in names.items()}
    return {f"{a}-{b}": _pair(a, b, unit, present, columns, levels) for a, b in combinations(unit, 2)}


def _pair(
    a: str,
    b: str,
    unit: Mapping[str, Array],
    present: Mapping[str, ArrayLike] | None,
    columns: Mapping[str, Array | None],
    levels: tuple[int, ...],
) -> dict[str, Any]:
    there = np.ones(len(unit[a]), bool)
    for name in (a, b) if present is not None else ():
        there &= np.asarray(present[name], bool)  # type: ignore[index]
    rows = np.flatnonzero(there)
    if len(rows) > LIMIT:
        rows = rows[np.linspace(0, len(rows) - 1, LIMIT).astype(int)]
    if len(rows) < 2:
        return {"samples": len(rows)}
    x, y = unit[a][rows], unit[b][rows]
    same = np.eye(len(rows), dtype=bool)
    captions, views = (None if v is None else v[rows] for v in (columns["captions"], columns["views"]))
    if captions is not None and "text" in (a, b):
        same |= captions[:, None] == captions
    cosines = x @ y.T
    sides = {(a, b): (cosines, same), (b, a): (cosines.T, same.T)}
    retrieval = {f"{q} to {g}": _retrievals(*sides[q, g], views, levels) for q, g in permutations((a, b), 2)}
    return {
        "samples": len(rows),
        "matched": _spread(np.diagonal(cosines)),
        "other": _spread(cosines[~same]),
        "separation": separation(np.diagonal(cosines), cosines[~same]),
        "gap": float(np.linalg.norm(x.mean(0) - y.mean(0))),
        "retrieval": retrieval,
    }


def _retrievals(cosines: Array, right: Array, views: Array | None, levels: tuple[int, ...]) -> dict[str, Any]:
    found = {"all": retrieval(cosines, right, levels=levels)}
    if views is not None:
        found["within_view"] = retrieval(cosines, right, views[:, None] == views, levels=levels)
    return found


def retrieval(
    similarity: Array, right: Array, gallery: Array | None = None, *, levels: tuple[int, ...] = LEVELS
) -> dict[str, Any]:
    """Recall at each level of queries in rows, with what chance would give, and the median rank of the first hit.

    `right` bool [q, g] marks right answers, `gallery` bool [q, g] what a query may find (default: everything); queries
    without a right answer there are left out. Wrong answers as similar as the best right one count as half above it.
    Chance is exact: 1 - C(g - r, k) / C(g, k) for r right answers among g.
    """
    gallery = np.ones_like(right) if gallery is None else gallery
    kept = (right & gallery).any(1)
    if not kept.any():
        return {"queries": 0}
    similarity, right, gallery = similarity[kept], (right & gallery)[kept], gallery[kept]
    best = np.where(right, similarity, -np.inf).max(1, keepdims=True)
    wrong = gallery & ~right
    ranks = 1 + (wrong & (similarity > best)).sum(1) + 0.5 * (wrong & (similarity == best)).sum(1)
    sizes, hits = gallery.sum(1), right.sum(1)
    found: dict[str, Any] = {"queries": int(kept.sum()), "gallery": float(sizes.mean())}
    for k in levels:
        found[f"recall_{k}"] = float((ranks <= k).mean())
        found[f"chance_{k}"] = float(_chance(sizes, hits, k).mean())
    return found | {"median_rank": float(np.median(ranks))}


def _chance(sizes: Array, hits: Array, k: int) -> Array:
    """Probability that k of `sizes` things drawn without replacement hold one of `hits`."""
    k_drawn, misses = np.minimum(k, sizes), sizes - hits
    possible = misses >= k_drawn
    few = np.where(possible, misses, k_drawn)
    log = _log_choose(few, k_drawn) - _log_choose(sizes, k_drawn)
    return np.where(possible, 1 - np.exp(log), 1.0)


def _log_choose(n: Array, k: Array) -> Array:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def separation(matched: Array, other: Array) -> float | None:
    """Probability that a matched cosine exceeds another one, ties half (the area under a ROC curve); None without."""
    if not len(matched) or not len(other):
        return None
    ordered = np.sort(other)
    below = np.searchsorted(ordered, matched, "left") + np.searchsorted(ordered, matched, "right")
    return float(below.mean() / (2 * len(ordered)))


def _spread(values: Array) -> dict[str, float] | None:
    if not values.size:
        return None
    made = {"mean": values.mean(), "sd": values.std(), "median": np.median(values)}
    return {name: float(v) for name, v in {**made, "min": values.min(), "max": values.max()}.items()}


def _unit(rows: ArrayLike) -> Array:
    values = np.asarray(rows, dtype=np.float64)
    if values.ndim != 2:
        raise ShapeError("embeddings have two axes", found=values.shape, expected="[n, D]")
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))


def _codes(values: ArrayLike, total: int) -> Array:
    codes = np.unique(np.asarray(values), return_inverse=True)[1].ravel()
    if len(codes) != total:
        raise ShapeError("a column of another number of samples", found=len(codes), expected=total)
    return codes
