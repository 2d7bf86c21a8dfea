"""Splits that keep classes in proportion, groups together, and near-duplicates on one side."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.data import images
from nearfar.errors import ConfigError, ShapeError

Indices = NDArray[np.int64]

NEAR = 0.995
"""correlation of perceptual prints from which images are near-duplicates. Measured: JPEG at quality 60, noise of 6 grey
levels, a brighter exposure and half the size stay above it (0.9954 at worst, photographs and smooth renderings);
photographs of different parts on one bench stay below (0.9935 at most, MVTec transistor)."""

_PRINTS: dict[tuple[Path, int, int], NDArray[np.float32]] = {}


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


def near_duplicate_groups(
    paths: Sequence[Path], threshold: float = NEAR, read: Callable[[Path], NDArray[Any]] | None = None
) -> Indices:
    """int64 [N]: one number a group of images that look the same; most groups have one member.

    Likeness is passed on: where a is near b and b near c, all three are one group. `read` decodes a path as [H, W, C]
    (default: `images.read`). Raises DataError for bad files.
    """
    return group_prints([_print_of_file(path, read or images.read) for path in paths], threshold)


def group_prints(prints: Sequence[NDArray[np.float32]], threshold: float = NEAR) -> Indices:
    """`near_duplicate_groups` of images whose perceptual prints are known."""
    matrix = np.stack(prints) if prints else np.zeros((0, 1), dtype=np.float32)
    parents = list(range(len(prints)))
    for start in range(0, len(prints), 1024):
        rows, columns = np.nonzero(matrix[start : start + 1024] @ matrix.T >= threshold)
        for a, b in zip(rows + start, columns, strict=True):
            if a < b:
                parents[_find(parents, int(b))] = _find(parents, int(a))
    return np.array([_find(parents, i) for i in range(len(prints))], dtype=np.int64)


def perceptual_print(image: NDArray[Any]) -> NDArray[np.float32]:
    """float32 [256] of unit length from an image [H, W, C]: its grey at 16 x 16 pixels, without the mean.

    The product of two is their correlation: hardly moved by re-encoding, noise and scale, not at all by exposure. The
    bits of a perceptual hash are mostly noise where an image is smooth (thermal, depth, bare floors).
    """
    gray = images.scaled(image.mean(axis=-1, keepdims=True, dtype=np.float64), 1.0, "image")
    small = images.resize(gray, 16)[0].numpy().astype(np.float64).ravel()
    centred = small - small.mean()
    length = np.linalg.norm(centred)
    # Constant images are all alike, and orthogonal to every other.
    unit = centred / length if length > 1e-6 * np.abs(small).max() else np.full(256, 1 / 16)
    return np.asarray(unit, dtype=np.float32)


def _print_of_file(path: Path, read: Callable[[Path], NDArray[Any]]) -> NDArray[np.float32]:
    """Remembered until the file changes: every split of a dataset asks for the prints of all."""
    key = images.fingerprint(path)
    if key not in _PRINTS:
        _PRINTS[key] = perceptual_print(read(path))
    return _PRINTS[key]


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
    behind = np.zeros(len(shares))  # how many samples each part is behind its share of those given out so far
    part = np.zeros(len(codes), dtype=np.int64)
    order = rng.permutation(len(members))
    sizes = np.array([len(m) for m in members])[order]
    for number in order[np.argsort(-sizes, kind="stable")]:
        kinds, counts = np.unique(codes[members[number]], return_counts=True)
        behind += shares * counts.sum()
        # Without the second term, many tiny classes would all be rounded the same way.
        lack = missing[:, kinds] @ (counts / counts.sum()) + behind / 2
        best = int(np.argmax(np.where(shares > 0, lack, -np.inf)))
        part[members[number]] = best
        missing[best, kinds] -= counts
        behind[best] -= counts.sum()
    return part


def _find(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index
