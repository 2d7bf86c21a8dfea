"""Everything wrong with a folder of data, in one pass over all of its files."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.config import DataConfig
from nearfar.data import images
from nearfar.data.dataset import Record
from nearfar.data.open import scan_data
from nearfar.data.readers import Problem, Scan
from nearfar.data.split import group_prints, perceptual_print
from nearfar.errors import DataError

__all__ = ["Problem", "check"]

FLAT = 1e-3
"""standard deviation, as a share of the dtype's range (of the largest value for float), below which an image is flat"""


@dataclass
class _Look:
    """What one decoded image tells, once the pixels are gone."""

    path: Path
    shape: tuple[int, ...]
    dtype: str
    digest: str
    print: NDArray[np.float32]


@dataclass
class _Seen:
    """What is remembered over the pass."""

    by_modality: dict[int, list[_Look]] = field(default_factory=lambda: defaultdict(list))
    by_record: dict[str, list[_Look]] = field(default_factory=dict)
    by_path: dict[Path, _Look | None] = field(default_factory=dict)
    """None: it could not be read"""


def check(config: DataConfig, tell: Callable[[Scan], None] | None = None) -> list[Problem]:
    """Every problem of the data: of its layout, of each file, and between files. Reads every image once.

    `tell` hears what was found before images are read. Raises ConfigError for a wrong configuration; whatever is wrong
    with the data comes back in the list.
    """
    try:
        scan = scan_data(config)
    except DataError as error:
        return [Problem.of(error, config.root or "")]
    if tell is not None:
        tell(scan)
    problems, seen = list(scan.problems), _Seen()
    if scan.review is not None:
        return [*problems, *scan.review()]
    for record in scan.records:
        problems += _look_at(record, config, scan, seen)
        problems += scan.examine(record) if scan.examine else ()
    problems += _mixtures(seen, scan)
    problems += _labels(scan, config.root or "")
    problems += _splits(scan)
    problems += _duplicates(scan, seen)
    problems += _near_duplicates(scan, seen)
    return problems


def _look_at(record: Record, config: DataConfig, scan: Scan, seen: _Seen) -> Iterator[Problem]:
    looks: list[_Look] = []
    for position, path in enumerate(record.paths):
        modality = position if len(scan.modalities) > 1 else 0
        if path in seen.by_path:  # several samples may lie in one image
            looks += [look for look in (seen.by_path[path],) if look]
            continue
        seen.by_path[path] = None
        try:
            array = scan.read(path) if scan.read else images.read(path)
            if scan.read is None:
                images.scaled(array[:1, :1], config.scale, path)
        except DataError as error:
            yield Problem.of(error, path)
            continue
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        look = _Look(path, array.shape, array.dtype.name, digest, perceptual_print(array))
        looks.append(look)
        seen.by_path[path] = look
        seen.by_modality[modality].append(look)
        if _flat(array):
            yield Problem(path, "the image is almost constant", "Check the camera, or remove it.", fatal=False)
    if len(looks) == len(record.paths):
        seen.by_record[record.id] = looks
    if record.mask is not None and looks:
        yield from _mask(record.mask, looks[0])


def _flat(array: NDArray[Any]) -> bool:
    values = array.astype(np.float64)
    # A thermal image uses a sliver of its 16 bits: integers of that depth are flat only where almost all are equal.
    span = {"bool": 1.0, "uint8": 255.0}.get(array.dtype.name, max(float(np.abs(values).max()), 1e-12))
    return float(values.std()) <= (FLAT * span if array.dtype.itemsize == 1 else 1e-6 * span)


def _mask(path: Path, image: _Look) -> Iterator[Problem]:
    try:
        mask = images.read_mask(path)
    except DataError as error:
        yield Problem.of(error, path)
        return
    if mask.shape != image.shape[:2]:
        what = f"the mask is {_size(mask.shape)} and its image {image.path.name} {_size(image.shape)}"
        yield Problem(path, what, "Save it at the size of the image.")


def _mixtures(seen: _Seen, scan: Scan) -> Iterator[Problem]:
    """Images that differ from the most of their modality in channels or type."""
    for modality, looks in seen.by_modality.items():
        name = f" of {scan.modalities[modality]}" if scan.modalities[modality] else ""
        channels = Counter(look.shape[-1] for look in looks).most_common(1)[0][0]
        dtype = Counter(look.dtype for look in looks).most_common(1)[0][0]
        for look in looks:
            if look.shape[-1] != channels:
                what = f"the image has {look.shape[-1]} channels, most{name} have {channels}"
                yield Problem(look.path, what, "Convert it, or keep such images in a folder of their own.")
            elif look.dtype != dtype:
                what = f"the image is {look.dtype}, most{name} are {dtype}"
                yield Problem(look.path, what, "Convert it: the two are scaled differently.")


def _labels(scan: Scan, root: Path | str) -> Iterator[Problem]:
    used = {r.label for r in scan.records if r.label >= 0}
    if len(used) == 1:
        what = f"there is but one class ({scan.classes[next(iter(used))]})"
        yield Problem(root, what, "Add a second class, or train a method without labels.", fatal=False)
    trained = {r.label for r in scan.records if r.split in (None, "train")}
    for label in sorted(used - trained) if not scan.open_set else []:
        what = f"the class {scan.classes[label]!r} has no training sample"
        yield Problem(root, what, "Move some of its samples to training.", fatal=False)


def _splits(scan: Scan) -> Iterator[Problem]:
    missing = [r.id for r in scan.records if r.split is None]
    if missing and len(missing) < len(scan.records):
        what = f"{len(missing)} samples have no split and the others have one"
        yield Problem(missing[0], what, "Give every sample a split.")
    splits: dict[str, set[str]] = defaultdict(set)
    for record in scan.records:
        if record.group and record.split:
            splits[record.group].add(record.split)
    for group, names in sorted(splits.items()):
        if len(names) > 1:
            what = f"the group {group!r} is in {' and '.join(sorted(names))}"
            yield Problem(group, what, "Keep a group in one split: results would be too good.")


def _duplicates(scan: Scan, seen: _Seen) -> Iterator[Problem]:
    """Samples that are pixel for pixel the same, where they straddle splits or have different labels."""
    same: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in scan.records:
        if record.id in seen.by_record:
            same[tuple(look.digest for look in seen.by_record[record.id])].append(record)
    for twins in same.values():
        first = twins[0]
        for other in twins[1:]:
            if other.paths == first.paths:
                continue
            if other.split != first.split:
                what = f"the same image is in {first.split} ({first.id}) and in {other.split}"
                yield Problem(other.paths[0], what, "Remove one: results would be too good.")
            elif other.label != first.label:
                what = f"the same image has another label as {first.id}"
                yield Problem(other.paths[0], what, "Decide on one label, and remove the other.", fatal=False)
            else:
                what = f"the same image as {first.id}"
                yield Problem(other.paths[0], what, "Remove one.", fatal=False)


def _near_duplicates(scan: Scan, seen: _Seen) -> Iterator[Problem]:
    """Samples of validation and test that look like one of training, where the data brings its own splits."""
    records = [r for r in scan.records if r.split and r.id in seen.by_record]
    groups = group_prints([seen.by_record[r.id][0].print for r in records])
    trained: dict[int, Record] = {}
    for record, group in zip(records, groups, strict=True):
        if record.split == "train":
            trained.setdefault(int(group), record)
    for record, group in zip(records, groups, strict=True):
        twin = trained.get(int(group))
        if (
            record.split != "train"
            and twin
            and seen.by_record[twin.id][0].digest != seen.by_record[record.id][0].digest
        ):
            what = f"the image looks like {twin.id}, and one is in {record.split}, the other in training"
            yield Problem(record.paths[0], what, "Keep both in one split: results would be too good.", fatal=False)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
