"""Which pairs of an image's objects are looked at, and the scan of a layout whose samples are pairs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.pairs import PairDataset, PairRecord, image_size, pair_channels, pair_frame, read_rgb
from nearfar.data.readers.base import Problem, Scan
from nearfar.data.regions import Box
from nearfar.errors import ConfigError, DataError


def sample_pairs(
    boxes: Sequence[Box],
    areas: Sequence[float],
    *,
    height: int,
    width: int,
    count: int,
    min_area: float = 0.005,
    max_iou: float = 0.7,
    seed: int = 0,
    key: str = "",
) -> list[tuple[int, int]]:
    """At most `count` ordered pairs (subject, object) of the objects of one image, as positions in `boxes`.

    Objects smaller than `min_area` of the image do not count (areas in pixels), and neither do pairs whose boxes
    (x0, y0, x1, y1) have an intersection over union above `max_iou`: mostly one thing annotated twice. The draw depends
    on (seed, key) alone, `key` being the image's name. Crowds are for the caller to leave out.
    """
    large = np.flatnonzero(np.asarray(areas, float) >= min_area * height * width)
    first, second = (index.ravel() for index in np.meshgrid(large, large, indexing="ij"))
    corners = np.asarray(boxes, float).reshape(-1, 4)
    allowed = np.flatnonzero((first != second) & (box_iou(corners[first], corners[second]) <= max_iou))
    rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
    chosen = np.sort(rng.permutation(allowed)[:count])
    return [(int(first[i]), int(second[i])) for i in chosen]


def box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union [n] of boxes [n, 4] and [n, 4], each x0, y0, x1, y1."""
    sides = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    shared = sides.prod(1)
    total = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared
    return np.asarray(shared / np.maximum(total, 1e-12))


def pair_scan(config: DataConfig, classes: Sequence[str] = (), predicates: Sequence[str] = ()) -> Scan:
    """An empty scan of pairs, for a reader to append its `PairRecord`s to. Raises ConfigError for wrong settings."""
    for name, value, fits in (
        ("mask_size", config.mask_size, config.mask_size >= 1),
        ("pairs_per_image", config.pairs_per_image, config.pairs_per_image >= 1),
        ("min_area", config.min_area, 0 <= config.min_area < 1),
        ("max_iou", config.max_iou, 0 < config.max_iou <= 1),
    ):
        if not fits:
            raise ConfigError("value out of range", where=f"data.{name}", found=value)
    modalities = tuple(pair_channels(config.modalities).modalities)

    def build(records: list[Record], config: DataConfig, root: Path) -> PairDataset:
        return PairDataset(
            [record for record in records if isinstance(record, PairRecord)],
            classes,
            root,
            size=config.size,
            mask_size=config.mask_size,
            modalities=modalities,
            scale=config.scale,
            predicates=predicates,
        )

    # Look-alikes are not searched: images are many, each read for one pair; groups keep the pairs of one together.
    return Scan([], tuple(classes), modalities, build=build, read=read_rgb, examine=_examine, look_alikes=False)


def no_pairs(root: Path) -> Problem:
    """The problem of a layout without samples."""
    return Problem(root, "no pairs of objects found", "Check --data.root, --data.min_area and the annotations.")


def _examine(record: Record) -> Iterator[Problem]:
    if not isinstance(record, PairRecord):
        return
    try:
        height, width = image_size(record)
        frame_boxes = [region.bounds() for region in (record.subject, record.object)]
        pair_frame(record, height, width)
    except DataError as error:
        if str(error.where) != str(record.image):  # what cannot be decoded is already told
            yield Problem.of(error, record.image)
        return
    if any(min(b[:2]) < -1 or b[2] > width + 1 or b[3] > height + 1 for b in frame_boxes):
        what = f"an object of pair {record.id} reaches beyond the image"
        yield Problem(record.image, what, "It is cut off at the edge.", fatal=False)
