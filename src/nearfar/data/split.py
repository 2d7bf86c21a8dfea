"""Splits that keep classes in proportion, groups together, and near-duplicates on one side."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.data import images
from nearfar.errors import ConfigError, ShapeError

Indices = NDArray[np.int64]

NEAR = 16
"""largest distance of near-duplicates, of 255 bits. Measured on MVTec transistor: re-encoding, noise of 6 grey levels
and a brighter exposure stay within 12; two photographs of different parts on the same bench are 22 or more apart."""

_HASHES: dict[tuple[Path, int, int], NDArray[np.bool_]] = {}


def stratified(
    labels: Sequence[int] | NDArray[Any],
    shares: Sequence[float],
    seed: int,
    groups: Sequence[Hashable] | NDArray[Any] | None = None,
) -> list[Indices]:
    """Indices of each part, sorted; the parts are disjoint and together are everything.

    Greedy: groups go, the largest first and otherwise in random order, to the part that lacks most of their classes.
    Without groups each class is within two samples of its share in every part. Unknown labels (-1) count as a class.

    Args:
        labels: int [N].
        shares: one a part, not negative, of any positive sum.
        groups: one a sample; samples of one group are never parted. "" and None stand for no group.

    Raises ConfigError for impossible shares, ShapeError where groups and labels differ in length.
    """
    codes = np.unique(np.asarray(labels, dtype=np.int64), return_inverse=True)[1].reshape(-1)
    weights = np.asarray(shares, dtype=np.float64)
    if weights.ndim != 1 or not len(weights) or (weights < 0).any() or not weights.sum() > 0:
        raise ConfigError("impossible split shares", found=list(shares), expected="numbers >= 0, not all 0")
    if groups is not None and len(groups) != len(codes):
        raise ShapeError("groups and labels differ in length", found=len(groups), expected=len(codes))
    members = _members(len(codes), groups)
    part = _assign(members, codes, weights / weights.sum(), np.random.default_rng(seed))
    return [np.flatnonzero(part == number) for number in range(len(weights))]


def near_duplicate_groups(paths: Sequence[Path], threshold: int = NEAR) -> Indices:
    """int64 [N]: one number a group of images that look the same, by perceptual hash; most groups have one member.

    Likeness is passed on: where a is near b and b near c, all three are one group. Raises DataError for bad files.
    """
    bits = np.stack([perceptual_hash(path) for path in paths]) if paths else np.zeros((0, 255), dtype=bool)
    signs = bits.astype(np.float32) * 2 - 1
    parents = list(range(len(paths)))
    for start in range(0, len(paths), 1024):
        distance = (signs.shape[1] - signs[start : start + 1024] @ signs.T) / 2
        rows, columns = np.nonzero(distance <= threshold + 0.5)
        for a, b in zip(rows + start, columns, strict=True):
            if a < b:
                parents[_find(parents, int(b))] = _find(parents, int(a))
    return np.array([_find(parents, i) for i in range(len(paths))], dtype=np.int64)


def perceptual_hash(path: Path) -> NDArray[np.bool_]:
    """bool [255]: which of the 16 x 16 lowest cosine coefficients, without the mean, are above their median (pHash).

    Unmoved by re-encoding, noise, exposure and scale. Remembered until the file changes.
    """
    key = images.fingerprint(path)
    if key not in _HASHES:
        gray = images.scaled(images.read(path).mean(axis=-1, keepdims=True, dtype=np.float64), 1.0, path)
        small = images.resize(gray, 64)[0].numpy().astype(np.float64)
        cosines = np.cos(np.pi * np.outer(np.arange(16), np.arange(64) + 0.5) / 64)
        coefficients = (cosines @ small @ cosines.T).ravel()[1:]
        _HASHES[key] = coefficients > np.median(coefficients)
    return _HASHES[key]


def groups_by_pattern(ids: Iterable[str], pattern: str) -> list[str]:
    """The first group of the regular expression in each id, "" where it does not match.

    Raises ConfigError for a bad expression, one without a group, or one that matches no id.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError("not a regular expression", where="data.group", found=f"{pattern!r}: {error}") from None
    if not compiled.groups:
        raise ConfigError(
            "the expression has no group",
            where="data.group",
            found=repr(pattern),
            fix="Put parentheses around the part of the id that names the group, or give a column of the manifest.",
        )
    names = list(ids)
    matches = [compiled.search(name) for name in names]
    if names and not any(matches):
        raise ConfigError(
            "the expression matches no sample",
            where="data.group",
            found=f"{pattern!r}, ids like {names[0]!r}",
            fix="Check it against the ids.",
        )
    return [(match.group(1) or "") if match else "" for match in matches]


def merged(groups: Sequence[str], duplicates: Indices) -> Indices:
    """int64 [N]: groups that share a near-duplicate become one; "" is no group."""
    parents = list(range(len(groups)))
    first: dict[Hashable, int] = {}
    for index, (name, twin) in enumerate(zip(groups, duplicates, strict=True)):
        for key in ([name] if name else []) + [int(twin)]:
            parents[_find(parents, index)] = _find(parents, first.setdefault(key, index))
    return np.array([_find(parents, i) for i in range(len(groups))], dtype=np.int64)


def _members(count: int, groups: Sequence[Hashable] | NDArray[Any] | None) -> list[Indices]:
    by_group: dict[Hashable, list[int]] = defaultdict(list)
    for index in range(count):
        name = None if groups is None else groups[index]
        by_group[("alone", index) if name is None or name == "" else ("group", name)].append(index)
    return [np.array(indices, dtype=np.int64) for indices in by_group.values()]


def _assign(
    members: list[Indices], codes: Indices, shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    totals = np.bincount(codes).astype(np.float64)
    missing = shares[:, None] * totals  # [parts, classes]: how many more samples each part should get
    part = np.zeros(len(codes), dtype=np.int64)
    order = rng.permutation(len(members))
    sizes = np.array([len(m) for m in members])[order]
    for number in order[np.argsort(-sizes, kind="stable")]:
        kinds, counts = np.unique(codes[members[number]], return_counts=True)
        # The second term evens out the parts over all classes: many tiny classes would all be rounded the same way.
        lack = missing[:, kinds] @ (counts / counts.sum()) + missing.sum(axis=1) / len(totals)
        best = int(np.argmax(np.where(shares > 0, lack, -np.inf)))
        part[members[number]] = best
        missing[best, kinds] -= counts
    return part


def _find(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index
