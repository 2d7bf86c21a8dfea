"""Retrieval of pairs of objects that lie to each other as those of a query do; how alike two are, banners say.

Relevance is the cosine of two force banners, ranked is by the cosine of two embeddings. Even a random order has a high
NDCG by that measure, so each figure stands between chance and oracle (the order by the banners themselves).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.errors import DataError, ResumeError
from nearfar.evaluate.bootstrap import IntArray, bootstrap_mean
from nearfar.evaluate.embeddings import save_arrays
from nearfar.evaluate.knn import normalise
from nearfar.evaluate.pair_data import Pairs, banner_settings, banners_of, pictures_of, ranked_pairs
from nearfar.evaluate.ranking import LEVELS, average_precision, ndcg
from nearfar.methods.csip import CSIP, CsipConfig

if TYPE_CHECKING:
    from nearfar.train.run import Run

LIMIT = 4000
"""pairs that are ranked at most; of more, evenly taken ones, since time grows with their square"""
TILE = 256  # queries at a time
EXAMPLES, HITS = 6, 6  # queries kept for pictures, and what was found for each
RECALLS = (1, 5, 10)

Floats = NDArray[np.float32]


def banners_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """NDCG@{1, 3, 5, 10, 25} by banners and mean average precision by relation, of pictures ranked for a picture.

    `features`: `rankings` of the features of the pictures. For C-SIP also `embeddings` (after the heads) and `sketch`,
    where the banner of a pair, as two drawn blobs would give it, ranks the pictures; `recall` then is how often the
    pair's own picture is among the first k. Pairs of the query's image are no candidates, except for `sketch`.

    Ranked are the test pairs, or all those of `config.pairs`. Writes arrays/banners.npz: of some queries `banner`
    [k, rows, directions], `picture`, `masks`, `word`; of the pairs found for each `hits/HOW/picture`, `.../masks`,
    `.../word`, `.../relevance` [k, HITS], HOW being features, sketch or oracle; `forces` [rows], `symmetric`. Raises
    DataError where the data are no pairs, or all of one image.
    """
    pairs = ranked_pairs(run, config, dataset)
    pairs = pairs.where(np.unique(np.linspace(0, len(pairs) - 1, min(LIMIT, len(pairs))).astype(int)))
    if len(np.unique(pairs.images)) < 2:
        raise DataError("pairs of one image alone cannot be ranked", found=f"{len(pairs)} pairs")
    banners = banners_of(pairs.data, banner_settings(run))
    flat = normalise(banners.reshape(len(banners), -1))
    options: dict[str, Any] = {"resamples": config.bootstrap, "confidence": config.confidence, "seed": config.seed}
    section: dict[str, Any] = {"features": rankings(pairs.z, pairs.z, flat, pairs.labels, pairs.images, **options)}
    ranked, method = {"features": (pairs.z, pairs.z)}, csip_method(run)
    if method is not None:
        image, drawn = embeddings_of(method, pairs.z, banners)
        section["embeddings"] = rankings(image, image, flat, pairs.labels, pairs.images, **options)
        section["sketch"] = rankings(drawn, image, flat, pairs.labels, pairs.images, same_image=True, **options)
        section["sketch"]["recall"] = recall(drawn, image, pairs.images, **options)
        ranked["sketch"] = (drawn, image)
    _write_examples(run, pairs, banners, ranked)
    section |= {"levels": list(LEVELS), "pairs": len(pairs), "images": len(np.unique(pairs.images))}
    return section


def rankings(
    queries: Floats,
    keys: Floats,
    banners: Floats,
    labels: IntArray,
    images: IntArray,
    *,
    same_image: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """How well the cosine of `queries` and `keys` [n, D] orders pairs by the cosine of their `banners` [n, M].

    `ndcg`: by k the mean with its interval (images drawn), its `chance`, and `rescaled`, (x - chance) / (1 - chance);
    the oracle is 1. `map`: mean average precision by equal labels, with `chance` and `oracle`, the order by banners;
    None where no label is known. A query and the pairs of its image are no candidates unless `same_image`.
    """
    q, k, b = normalise(queries), normalise(keys), normalise(banners)
    gains, precisions = [], []
    for start in range(0, len(q), TILE):
        rows = np.arange(start, min(start + TILE, len(q)))
        scores, relevance = q[rows] @ k.T, np.clip(b[rows] @ b.T, 0, 1)
        allowed = np.full(scores.shape, True) if same_image else images[rows, None] != images[None]
        gains.append(np.stack(ndcg(scores, relevance, allowed), 2))
        relevant = (labels[rows, None] == labels[None]) & (labels[rows, None] >= 0)
        pictures, drawn = (average_precision(x, relevant, allowed) for x in (scores, relevance))
        precisions.append(np.stack([*pictures, drawn[0]], 1))
    gain, precision = np.concatenate(gains), np.concatenate(precisions)
    return {
        "ndcg": {
            str(level): _rescaled(gain[:, i, 0], gain[:, i, 1], images, options) for i, level in enumerate(LEVELS)
        },
        "map": _precision(precision, images, options),
        "queries": len(q),
    }


def recall(queries: Floats, keys: Floats, images: IntArray, **options: Any) -> dict[str, Any]:
    """How often key i is among the k nearest of query i, by k, with intervals and the chance of it."""
    q, x = normalise(queries), normalise(keys)
    own = np.einsum("nd,nd->n", q, x)
    rank = np.concatenate(
        [(q[i : i + TILE] @ x.T > own[i : i + TILE, None] + 1e-6).sum(1) for i in range(0, len(q), TILE)]
    )
    return {
        str(k): bootstrap_mean(rank < k, clusters=images, **options) | {"chance": min(1.0, k / len(q))} for k in RECALLS
    }


def _rescaled(value: Any, chance: Any, images: IntArray, options: dict[str, Any]) -> dict[str, Any]:
    known = ~np.isnan(value)
    if not known.any():
        raise DataError("no pair resembles another: there is nothing to rank")
    found, level = bootstrap_mean(value[known], clusters=images[known], **options), float(chance[known].mean())
    scaled = {key: (x - level) / (1 - level) for key, x in found.items()} if level < 1 else None
    return {**found, "chance": level, "rescaled": scaled}


def _precision(values: Any, images: IntArray, options: dict[str, Any]) -> dict[str, Any] | None:
    known = ~np.isnan(values[:, 0])
    if not known.any():
        return None
    found = bootstrap_mean(values[known, 0], clusters=images[known], **options)
    return {**found, "chance": float(values[known, 1].mean()), "oracle": float(values[known, 2].mean())}


@torch.no_grad()
def embeddings_of(method: CSIP, z: Floats, banners: Floats) -> tuple[Floats, Floats]:
    """The comparable unit embeddings [n, D] of pictures, from their features, and of banners."""
    image = F.normalize(method.head(torch.from_numpy(z)), dim=-1)
    drawn = F.normalize(method.banner_head(method.banner_encoder(torch.from_numpy(banners))), dim=-1)
    return image.numpy(), drawn.numpy()


def csip_method(run: Run) -> CSIP | None:
    """The run's C-SIP in evaluation mode on the CPU; None for another method, or without a checkpoint."""
    if not isinstance(run.config.method, CsipConfig):
        return None
    try:
        return cast(CSIP, run.method())
    except ResumeError:
        return None


def _examples(pairs: Pairs) -> IntArray:
    """Queries to show: of different relations where these are known."""
    order = np.argsort(pairs.labels, kind="stable")
    return np.asarray(order[np.linspace(0, len(pairs) - 1, min(EXAMPLES, len(pairs))).astype(int)])


def _write_examples(run: Run, pairs: Pairs, banners: Floats, ranked: dict[str, tuple[Floats, Floats]]) -> None:
    """`ranked`: (queries, keys) by the name of how they were ranked."""
    chosen, flat = _examples(pairs), normalise(banners.reshape(len(banners), -1))
    words = np.array([*pairs.data.classes, ""], dtype=np.str_)
    picture, masks = pictures_of(pairs.data, chosen)
    found: dict[str, Any] = {"picture": picture, "masks": masks, "word": words[pairs.labels[chosen]]}
    others = pairs.images[chosen, None] != pairs.images[None]
    for how, (queries, keys) in {**ranked, "oracle": (flat, flat)}.items():
        scores = np.where(others, normalise(queries[chosen]) @ normalise(keys).T, -np.inf)
        hits = np.argsort(-scores, axis=1, kind="stable")[:, : min(HITS, int(others.sum(1).min()))]
        shown, outlines = pictures_of(pairs.data, hits.ravel())
        found[f"hits/{how}/picture"] = shown.reshape(*hits.shape, *shown.shape[1:])
        found[f"hits/{how}/masks"] = outlines.reshape(*hits.shape, *outlines.shape[1:])
        found[f"hits/{how}/word"] = words[pairs.labels[hits]]
        found[f"hits/{how}/relevance"] = np.take_along_axis(flat[chosen] @ flat.T, hits, 1)
    settings = banner_settings(run)
    forces, symmetric = np.array(settings.row_forces()), np.array(settings.symmetric)
    save_arrays(run.arrays / "banners.npz", banner=banners[chosen], forces=forces, symmetric=symmetric, **found)
