"""Searching pictures by two drawn blobs: their force banner against the pictures of pairs, in C-SIP's own space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from nearfar.data import images
from nearfar.data.pairs import PairDataset
from nearfar.data.regions import Frame
from nearfar.errors import ConfigError, DataError
from nearfar.evaluate.banners import csip_method, embeddings_of
from nearfar.evaluate.bootstrap import IntArray
from nearfar.evaluate.embed import run_embeddings, run_splits
from nearfar.evaluate.knn import neighbours, normalise
from nearfar.spatial.coverage import mask_coverage

if TYPE_CHECKING:
    from nearfar.train.run import Run

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sketch:
    """What was drawn: masks [2, M, M] of subject and object in the crop round both, and their banner."""

    masks: Floats
    banner: Floats


@dataclass(frozen=True)
class Hit:
    """A pair that was found: its split's data, its position there, and the cosine of sketch and picture."""

    data: PairDataset
    index: int
    similarity: float


def read_blob(path: Path) -> NDArray[np.bool_]:
    """What was drawn on a canvas, bool [H, W]: pixels that differ from its rim by half of the largest difference.

    Dark on light and light on dark are read alike, and a transparent canvas by its alpha. Raises DataError for a
    damaged file or an empty canvas.
    """
    canvas = images.read(path).astype(np.float64)
    if canvas.shape[2] in (2, 4) and canvas[..., -1].min() < canvas[..., -1].max():
        canvas = canvas[..., -1:]
    rim = np.concatenate([canvas[0], canvas[-1], canvas[:, 0], canvas[:, -1]])
    away = np.abs(canvas - np.median(rim, axis=0)).max(-1)
    if not away.max() > 0:
        raise DataError("nothing is drawn", where=path, fix="Draw one blob on an even canvas.")
    return np.asarray(away > away.max() / 2)


def read_sketch(run: Run, subject: Path, target: Path) -> Sketch:
    """Two drawn blobs, of one canvas, in the crop and at the size that the run's masks have. Raises DataError."""
    blobs = [read_blob(path) for path in (subject, target)]
    if blobs[0].shape != blobs[1].shape:
        raise DataError(
            "the two drawings have different sizes",
            where=target,
            found=" x ".join(map(str, blobs[1].shape[::-1])),
            expected=" x ".join(map(str, blobs[0].shape[::-1])),
            fix="Draw both on one canvas and save each blob alone.",
        )
    height, width = blobs[0].shape
    boxes = []
    for blob in blobs:
        rows, columns = np.flatnonzero(blob.any(1)), np.flatnonzero(blob.any(0))
        boxes.append((float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)))
    frame = Frame.around(boxes, height, width)
    size = run.config.data.mask_size
    masks = np.stack([mask_coverage(blob, frame.left, frame.top, frame.side, size) for blob in blobs])
    masks = masks.clip(0, 1).astype(np.float32)  # averages may leave the range by rounding
    return Sketch(masks, _method(run).banner(torch.from_numpy(masks)[None])[0].numpy())


def search_sketch(run: Run, sketch: Sketch, k: int) -> list[Hit]:
    """The k pairs of the run's data whose pictures are nearest to the banner of the sketch, nearest first.

    Exact, by faiss where it is installed. Raises ConfigError where the run is not C-SIP's or has no checkpoint.
    """
    stored, splits = run_embeddings(run), run_splits(run)
    z = np.concatenate([stored.of_split(name).z for name in splits])
    image, drawn = embeddings_of(_method(run), z, sketch.banner[None])
    similarity, position = nearest(drawn, image, k)
    place = [(cast(PairDataset, part), i) for part in splits.values() for i in range(len(part))]
    return [Hit(place[p][0], place[p][1], float(s)) for p, s in zip(position[0], similarity[0], strict=True)]


def nearest(queries: Floats, keys: Floats, k: int) -> tuple[Floats, IntArray]:
    """(cosine, position) [q, k] of the nearest keys, by an exact index of faiss where it is installed."""
    try:
        import faiss
    except ImportError:
        return neighbours(queries, keys, k)
    if k < 1:
        raise ConfigError("k must be at least 1", found=k)
    rows: Any = normalise(keys, "keys")
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    similarity, position = index.search(normalise(queries, "queries"), min(k, len(rows)))
    return np.asarray(similarity), np.asarray(position, dtype=np.int64)


def describe(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Rank, id, image, names of subject and object, relation and similarity of each hit."""
    rows = []
    for rank, hit in enumerate(hits, start=1):
        record, label = hit.data.records[hit.index], int(hit.data.labels[hit.index])
        rows.append(
            {
                "rank": rank,
                "id": record.id,
                "image": str(record.image),
                "subject": record.subject.name,
                "object": record.object.name,
                "label": hit.data.classes[label] if label >= 0 else "",
                "similarity": hit.similarity,
            }
        )
    return rows


def _method(run: Run) -> Any:
    method = csip_method(run)
    if method is None:
        raise ConfigError(
            "only C-SIP's runs, with their checkpoint, can be searched by a sketch",
            where=run.path,
            found=run.config.preset,
            fix="Train one: nearfar train csip --data.root PAIRS.",
        )
    return method
