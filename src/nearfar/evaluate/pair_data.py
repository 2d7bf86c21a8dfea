"""Pairs of objects for the tasks on them: what an encoder says of each, which image it is of, its boxes and banner."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.data.open import open_dataset
from nearfar.data.pairs import PairDataset, PairRecord
from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import FloatArray, IntArray
from nearfar.evaluate.embed import SPLITS, embed, run_embeddings, run_encoder, run_splits
from nearfar.methods.csip import CsipConfig
from nearfar.spatial import force_banner

if TYPE_CHECKING:
    from nearfar.train.run import Run

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """The pairs of a split and the encoder's features z [n, D] of them."""

    data: PairDataset
    z: Floats

    def __len__(self) -> int:
        return len(self.z)

    @property
    def labels(self) -> IntArray:
        """[n] true predicates where known, otherwise the given ones, -1 where there is none."""
        return np.where(self.data.true_labels >= 0, self.data.true_labels, self.data.labels)

    @property
    def images(self) -> IntArray:
        """[n] the image that each pair is of: what intervals draw."""
        return self.data.image_indices

    @property
    def asked(self) -> IntArray | None:
        """[n] the predicate that is asked about, where the label says whether it holds."""
        return np.array([_record(self.data, i).predicate for i in range(len(self))]) if self.data.predicates else None

    def where(self, rows: Any) -> Pairs:
        """The rows chosen by a boolean mask [n] or by positions."""
        chosen = np.arange(len(self))[rows]
        return Pairs(self.data.subset(chosen), self.z[chosen])


def open_pairs(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Pairs]:
    """Train, val and test pairs of `config.pairs`, else of the run; then `dataset` stands in for the test split.

    Raises DataError where these are no pairs of objects or have other channels than the encoder.
    """
    if config.pairs is not None:
        everything = _other_pairs(run, config)
        names = np.array([record.split or "" for record in everything.data.records])
        return {name: everything.where(names == name) for name in SPLITS if (names == name).any()}
    parts = {name: _paired(part) for name, part in run_splits(run, dataset).items()}
    stored = run_embeddings(run, dataset)
    return {name: Pairs(part, stored.of_split(name).z) for name, part in parts.items()}


def ranked_pairs(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> Pairs:
    """The test pairs of a run; all of `config.pairs`, none of which the run has seen. Raises DataError."""
    if config.pairs is not None:
        return _other_pairs(run, config)
    parts = open_pairs(run, config, dataset)
    if "test" not in parts:
        raise DataError("the run has no test pairs", found=", ".join(parts), fix="Name pairs with --root.")
    return parts["test"]


def labelled(parts: dict[str, Pairs]) -> dict[str, Pairs]:
    """The pairs whose relation is known. Raises DataError where train or test have none."""
    known = {name: part.where(part.labels >= 0) for name, part in parts.items()}
    for name in ("train", "test"):
        if not len(known.get(name, ())):
            raise DataError(
                "no labelled pair",
                found=f"none in the {name} split",
                fix="Name pairs with relations: nearfar eval RUN --task relations --root SPATIALSENSE.",
            )
    return {name: part for name, part in known.items() if len(part)}


def banner_settings(run: Run) -> CsipConfig:
    """How the run's method makes banners; C-SIP's default for other methods, so that all are judged alike."""
    method = run.config.method
    return method if isinstance(method, CsipConfig) else CsipConfig()


def banners_of(data: PairDataset, settings: CsipConfig, size: int = 64) -> Floats:
    """Force banners float32 [n, rows, directions] of the masks of all pairs, row for row those of `CSIP.banner`."""
    made = []
    for start in range(0, len(data), size):
        masks = torch.stack([data.masks(i) for i in range(start, min(start + size, len(data)))])
        banner = force_banner(
            masks[:, 0],
            masks[:, 1],
            settings.row_forces(),
            settings.directions,
            normalize=settings.banner_norm,
            symmetric=settings.symmetric,
        )
        made.append(banner.numpy())
    return np.concatenate(made)


def box_features(data: PairDataset) -> FloatArray:
    """What two boxes tell of a relation, [n, 22]: corners, sides, offset, gaps, overlap, ratios, in units of the crop.

    No pixel is read where the data tell the images' sizes.
    """
    boxes = np.stack([_boxes(data, i) for i in range(len(data))])
    a, b = boxes[:, 0], boxes[:, 1]
    sides_a, sides_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    offset = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2
    shared = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(1, keepdims=True)
    areas = np.stack([sides_a.prod(1), sides_b.prod(1)], 1).clip(1e-6)
    gaps = np.concatenate([a[:, :2] - b[:, 2:], b[:, :2] - a[:, 2:]], 1)
    ratio = np.log(areas[:, :1] / areas[:, 1:])
    overlap = np.concatenate([shared / areas, shared / (areas.sum(1, keepdims=True) - shared)], 1)
    return np.concatenate([boxes.reshape(-1, 8), sides_a, sides_b, offset, gaps, ratio, overlap], 1).astype(np.float64)


def pictures_of(data: PairDataset, rows: Sequence[int] | IntArray) -> tuple[NDArray[np.uint8], Floats]:
    """Pictures uint8 [k, S, S, 3] and masks float32 [k, 2, M, M] of some pairs."""
    samples = [data[int(i)] for i in rows]
    colour = torch.stack([sample["image"][:3] for sample in samples]).clamp(0, 1) * 255
    return colour.round().to(torch.uint8).permute(0, 2, 3, 1).numpy(), np.stack([s["masks"].numpy() for s in samples])


def fitting(data: PairDataset) -> tuple[NDArray[np.bool_], float] | None:
    """Which words fit each pair, bool [n, C], and the share right that none can exceed on average.

    From truth/pairs.jsonl, which a generated world has; None without it or where a pair is missing there.
    """
    path = data.root / "truth" / "pairs.jsonl" if data.root is not None else None
    if path is None or not path.is_file():
        return None
    rows = {row["id"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    if not set(data.ids) <= set(rows):
        return None
    fits = np.array([[name in rows[id]["relations"] for name in data.classes] for id in data.ids])
    return fits, float(np.mean([max(rows[id]["weights"].values()) for id in data.ids]))


def _other_pairs(run: Run, config: EvalConfig) -> Pairs:
    own = replace(run.config.data, root=config.pairs, format="auto", protocol=config.protocol)
    data = _paired(open_dataset(own, "all"))
    return Pairs(data, embed(run_encoder(run), data).z)


def _boxes(data: PairDataset, index: int) -> Floats:
    record, frame = _record(data, index), data.frame(index)
    return np.stack([frame.relative(region.bounds()) for region in (record.subject, record.object)])


def _record(data: PairDataset, index: int) -> PairRecord:
    return data.records[index]


def _paired(data: SampleDataset) -> PairDataset:
    if not isinstance(data, PairDataset):
        raise DataError(
            "these are no pairs of objects",
            where=data.root,
            found=f"{len(data)} images of {', '.join(data.channels.modalities)}",
            expected="COCO, SpatialSense, UnRel, GQA or a list of pairs",
        )
    return data
