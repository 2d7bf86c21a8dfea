"""Mirrored views: is a view nearer to that of the mirrored camera than to the opposite one, and to all other views?

Of an object with a plane of symmetry the mirrored view is the view itself, flipped left to right. Comparing flipped
pixels therefore finds it without learning; that baseline stands beside every number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.data.sample import Channels
from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.bootstrap import FloatArray, IntArray, bootstrap_mean
from nearfar.evaluate.embed import check_channels, encode, run_encoder, run_splits
from nearfar.evaluate.embeddings import save_arrays
from nearfar.evaluate.knn import normalise
from nearfar.evaluate.thumbnails import false_colour

if TYPE_CHECKING:
    from nearfar.train.run import Run

EXAMPLES, HITS = 6, 6  # queries kept for pictures, and what was found for each
BATCH = 256
TILE = 256  # queries at a time

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Views:
    """All different views of some objects, and the triples among them.

    images float32 [m, C, S, S]; objects [m] numbers; triples [t, 3], positions of view, mirrored and opposite view;
    negative bool [t], whether the opposite view counts; ids [t] and channels for pictures.
    """

    images: Tensor
    objects: IntArray
    triples: IntArray
    negative: NDArray[np.bool_]
    ids: tuple[str, ...]
    channels: Channels


def mirrors_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """`measures` of the features of the test triples, and under `baselines` of their pixels, as they are and flipped.

    Writes arrays/mirrors.npz: `id`, `object`, `cosine_mirror`, `cosine_opposite`, `rank` [t] of all triples; of some
    `view`, `mirror`, `opposite` uint8 [k, S, S, 3] and what is nearest to each: `hits/picture` [k, HITS, S, S, 3],
    `hits/cosine`, `hits/is_mirror`, `hits/same_object` [k, HITS]. Raises DataError where the data are no triples.
    """
    splits = run_splits(run, dataset)
    if "test" not in splits:
        raise DataError("there are no test samples")
    views, encoder = collect(splits["test"]), run_encoder(run)
    check_channels(encoder, views.channels)
    z = torch.cat([encode(encoder, part) for part in torch.split(views.images, BATCH)]).numpy()
    options: dict[str, Any] = {"resamples": config.bootstrap, "confidence": config.confidence, "seed": config.seed}
    section = measures(z, views.objects, views.triples, views.negative, **options)
    section["baselines"] = pixel_baselines(views, **options)
    _write(run, views, normalise(z))
    return section


def collect(dataset: SampleDataset) -> Views:
    """The views of a dataset of triples, each picture of an object once. DataError where its samples are no triples."""
    seen: dict[tuple[str, bytes], int] = {}
    images: list[Tensor] = []
    triples, negative, ids = [], [], []
    for i in range(len(dataset)):
        sample: dict[str, Any] = dict(dataset[i])
        if "mirror" not in sample or "opposite" not in sample:
            raise DataError(
                "the samples have no mirrored and opposite views",
                where=dataset.root,
                fix="Build triples with `nearfar data mir180 ROOT -o OUT`.",
            )
        place = []
        for name in ("image", "mirror", "opposite"):
            key = (sample["group"], sample[name].numpy().tobytes())
            if key not in seen:
                images.append(sample[name])
            place.append(seen.setdefault(key, len(seen)))
        # Of a body of revolution the mirrored view is the very same picture: there is nothing to find.
        if place[0] != place[1]:
            triples.append(place)
            negative.append(bool(sample.get("negative", True)) and place[2] not in place[:2])
            ids.append(sample["id"])
    if not triples:
        raise DataError("no view differs from its mirrored view", where=dataset.root, found=f"{len(dataset)} samples")
    names = np.array([group for group, _ in seen])
    objects = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return Views(torch.stack(images), objects, np.array(triples), np.array(negative), tuple(ids), dataset.channels)


def measures(
    z: Floats,
    objects: IntArray,
    triples: IntArray,
    negative: NDArray[np.bool_],
    *,
    queries: Floats | None = None,
    **options: Any,
) -> dict[str, Any]:
    """What the cosines of embeddings z [m, D] of all views tell of the triples [t, 3] (view, mirrored, opposite).

    `triplet_accuracy`: the mirrored view is nearer than the opposite one, where that counts (chance 0.5).
    `mirror_top1`, `mirror_top5`: it is among the first k of all m - 1 other views of all objects (chance k / (m - 1));
    a tie is a miss. `cosine_mirror`, `cosine_opposite`: means. Intervals draw whole objects. queries [t, D]: what is
    compared with the views in the place of z of the first view. Raises ShapeError where they do not fit.
    """
    if len(z) != len(objects) or len(triples) != len(negative) or triples.max(initial=-1) >= len(z):
        found = f"{len(z)} embeddings, {len(objects)} objects, {len(triples)} triples, {len(negative)} truth values"
        raise ShapeError("views and triples do not fit", found=found)
    keys = normalise(z)
    asked = keys[triples[:, 0]] if queries is None else normalise(queries)
    near, far = (np.einsum("td,td->t", asked, keys[triples[:, k]]) for k in (1, 2))
    rank = ranks(asked, keys, triples)
    clusters = objects[triples[:, 0]]

    def mean(values: Any, kept: Any = slice(None)) -> dict[str, float]:
        return bootstrap_mean(values[kept].astype(np.float64), clusters=clusters[kept], **options)

    return {
        "triplet_accuracy": mean(near > far, negative) if negative.any() else None,
        "mirror_top1": mean(rank < 1),
        "mirror_top5": mean(rank < 5),
        "cosine_mirror": mean(near),
        "cosine_opposite": mean(far),
        "chance_top1": 1 / (len(z) - 1),
        "triples": len(triples),
        "negatives": int(negative.sum()),
        "views": len(z),
        "objects": len(np.unique(objects)),
    }


def ranks(queries: Floats, keys: Floats, triples: IntArray) -> IntArray:
    """How many other views [t] are at least as near to each query as the mirrored one; rows are of unit length."""
    found = []
    for start in range(0, len(triples), TILE):
        rows = triples[start : start + TILE]
        scores = queries[start : start + TILE] @ keys.T
        each = np.arange(len(rows))
        own = scores[each, rows[:, 1]].copy()
        scores[each, rows[:, 0]] = scores[each, rows[:, 1]] = -np.inf
        found.append((scores >= own[:, None]).sum(axis=1))
    return np.concatenate(found).astype(np.int64)


def pixel_baselines(views: Views, **options: Any) -> dict[str, Any]:
    """`measures` of the images themselves, less their mean: `pixels`, and `flipped_pixels` with the query flipped."""
    mean = views.images.mean(0)
    flat: Floats = (views.images - mean).flatten(1).numpy()
    turned: Floats = (views.images[views.triples[:, 0]].flip(-1) - mean).flatten(1).numpy()
    known = (flat, views.objects, views.triples, views.negative)
    return {"pixels": measures(*known, **options), "flipped_pixels": measures(*known, queries=turned, **options)}


def _write(run: Run, views: Views, z: Floats) -> None:
    triples, objects = views.triples, views.objects
    shown = _examples(objects[triples[:, 0]])
    chosen = triples[shown]
    scores = z[chosen[:, 0]] @ z.T
    scores[np.arange(len(chosen)), chosen[:, 0]] = -np.inf
    hits = np.argsort(-scores, axis=1, kind="stable")[:, :HITS]
    size = views.images.shape[-1]
    ends = torch.zeros(views.images.shape[1]), torch.ones(views.images.shape[1])

    def pictures(index: IntArray) -> NDArray[np.uint8]:
        flat = false_colour(views.images[torch.from_numpy(index.ravel())], views.channels, *ends, size)
        return np.asarray(flat.reshape(*index.shape, size, size, 3))

    cosines: list[FloatArray] = [np.einsum("td,td->t", z[triples[:, 0]], z[triples[:, k]]) for k in (1, 2)]
    save_arrays(
        run.arrays / "mirrors.npz",
        id=np.array(views.ids),
        object=objects[triples[:, 0]],
        cosine_mirror=cosines[0],
        cosine_opposite=cosines[1],
        rank=ranks(z[triples[:, 0]], z, triples),
        **{name: pictures(chosen[:, k]) for k, name in enumerate(("view", "mirror", "opposite"))},
        **{
            "hits/picture": pictures(hits),
            "hits/cosine": np.take_along_axis(scores, hits, 1),
            "hits/is_mirror": hits == chosen[:, 1:2],
            "hits/same_object": objects[hits] == objects[chosen[:, 0], None],
        },
    )


def _examples(objects: IntArray) -> IntArray:
    """Positions of up to EXAMPLES triples, each of another object as far as there are, and each of another turn."""
    firsts = np.unique(objects, return_index=True)[1]
    picked = [
        np.flatnonzero(objects == objects[first])[(3 * k) % int((objects == objects[first]).sum())]
        for k, first in enumerate(sorted(firsts)[:EXAMPLES])
    ]
    return np.array(picked, dtype=np.int64)
