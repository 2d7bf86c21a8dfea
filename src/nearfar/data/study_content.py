"""What only the pixels of a study's images show: damaged files, and the same picture in two files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfar.data import images
from nearfar.data.study_images import difference_hash, header
from nearfar.data.study_rules import Finding, image_finding
from nearfar.data.study_sheets import Sheet, image_rows
from nearfar.errors import DataError

NEAR_BITS = 3
"""bits of the 64-bit difference hash by which near-duplicates may differ"""


@dataclass(frozen=True)
class _Look:
    """One decoded image."""

    name: str
    at: str
    path: Path
    digest: str
    hash: NDArray[np.float32]


def content_findings(sheets: Mapping[str, Sheet]) -> Iterator[Finding]:
    """Decodes every image once: E_IMAGE_UNREADABLE, and pixels that are in two files."""
    looks: dict[str, list[_Look]] = {}
    for split, sheet in sheets.items():
        looks[split] = []
        for look in _looks(sheet):
            if isinstance(look, Finding):
                yield look
            else:
                looks[split].append(look)
    for first, second in combinations(looks, 2):
        yield from _shared(first, looks[first], looks[second])


def _looks(sheet: Sheet) -> Iterator[_Look | Finding]:
    seen: set[Path] = set()
    for number, row in image_rows(sheet):
        path, at = sheet.image(row), f"{sheet.at(number)}.image_path"
        if path in seen:
            continue
        seen.add(path)
        try:
            header(path)
        except DataError:  # already a finding of the row
            continue
        try:
            pixels = images.read(path)
        except DataError as error:
            yield image_finding(error, row["image_path"], at)
            continue
        digest = hashlib.sha256(str((pixels.shape, pixels.dtype.name)).encode())
        digest.update(pixels.tobytes())
        yield _Look(row["image_path"], at, path, digest.hexdigest(), difference_hash(pixels))


def _shared(split: str, first: list[_Look], second: list[_Look]) -> Iterator[Finding]:
    digests = {look.digest: look for look in first}
    same = [digests.get(look.digest) for look in second]
    for look, twin in zip(second, same, strict=True):
        if twin is not None and twin.path != look.path:
            yield Finding.of("E_LEAK_CONTENT", look.at, f"{look.name} has identical pixels as {twin.name} in {split}")
    near = _nearest(first, second)
    for look, twin, number in zip(second, same, near, strict=True):
        if number >= 0 and twin is None:
            other = first[number]
            bits = round(float(64 - look.hash @ other.hash) / 2)
            message = f"{look.name} looks like {other.name} in {split} ({bits} of 64 bits differ)"
            yield Finding.of("W_LEAK_NEAR_DUPLICATE", look.at, message)


def _nearest(first: list[_Look], second: list[_Look]) -> list[int]:
    """For each of `second` the nearest of `first`, -1 where none is near."""
    if not first:
        return [-1] * len(second)
    known = np.stack([look.hash for look in first])
    nearest: list[int] = []
    for start in range(0, len(second), 1024):
        products = np.stack([look.hash for look in second[start : start + 1024]]) @ known.T
        best = products.argmax(axis=1)
        nearest += np.where(products.max(axis=1) >= 64 - 2 * NEAR_BITS, best, -1).tolist()
    return nearest
