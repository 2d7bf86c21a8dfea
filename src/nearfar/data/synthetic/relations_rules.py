"""Which spatial words fit two things of the relations world, from their outlines and which one is in front.

The nine words are those of SpatialSense. Where one begins and another ends is no line: near a border both fit, with
weights that sum to 1, and the label of a pair is drawn by them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import ConvexHull, QhullError

from nearfar.data.synthetic.relations_shapes import OPEN, Bools, Floats

PREDICATES = (
    *("above", "behind", "in", "in front of", "next to"),
    *("on", "to the left of", "to the right of", "under"),
)
FITS = 0.2
"""weight from which a word counts as a right answer"""
_AXES = {"to the right of": (1, 0), "above": (0, -1), "to the left of": (-1, 0), "under": (0, 1)}


@dataclass(frozen=True)
class Pair:
    """Two things of a scene, by number, the word of the label, and the weights of all that fit."""

    scene: str
    split: str
    subject: int
    target: int
    word: str
    weights: dict[str, float]
    names: tuple[str, str]

    @property
    def id(self) -> str:
        """Unique in the world."""
        return f"{self.scene}-{self.subject + 1}-{self.target + 1}"

    @property
    def right(self) -> list[str]:
        """All words that are right answers."""
        return [word for word, weight in self.weights.items() if weight >= FITS or word == self.word]


@dataclass(frozen=True)
class Placed:
    """A thing in its scene: what of the geometry the rules need, measured once."""

    mask: Bools  # all of it, also what is hidden
    distance: Floats  # [size, size] to its nearest pixel
    nearest: NDArray[np.int64]  # [2, size, size] that pixel, row and column
    hull: Bools  # its convex hull where it is open, else its mask
    centre: Floats  # x, y
    area: float

    @classmethod
    def of(cls, mask: Bools, shape: str) -> Placed:
        """Measure a mask that is not empty."""
        distance, nearest = distance_transform_edt(~mask, return_indices=True)
        rows, columns = np.nonzero(mask)
        hull = _hull(mask) if shape in OPEN else mask
        return cls(mask, distance, nearest, hull, np.array([columns.mean(), rows.mean()]), float(len(rows)))


def weights(subject: Placed, target: Placed, in_front: bool) -> dict[str, float]:
    """How well each word fits "subject WORD target", summing to 1; empty where none of the nine does.

    `in_front`: whether the subject covers the target where they overlap.
    """
    overlap = float((subject.mask & target.mask).sum()) / min(subject.area, target.area)
    if overlap > 0.03:
        share = min(1.0, overlap / 0.12)
        return _joined("in front of" if in_front else "behind", share, _directions(subject, target))
    if _inside(target, subject) > 0:
        return {}
    share = _inside(subject, target)
    return _joined("in", share, {} if share == 1 else _directions(subject, target))


def _inside(inner: Placed, outer: Placed) -> float:
    """0 where less than 0.45 of one lies in the hull of the other, 1 from 0.75 on."""
    share = float((inner.mask & outer.hull & ~outer.mask).sum()) / inner.area
    return float(np.clip((share - 0.45) / 0.3, 0, 1))


def _joined(word: str, share: float, others: dict[str, float]) -> dict[str, float]:
    found = {word: share} if share > 0 else {}
    return found | {other: weight * (1 - share) for other, weight in others.items() if share < 1}


def _directions(subject: Placed, target: Placed) -> dict[str, float]:
    gap, angle = float(target.distance[subject.mask].min()), _angle(subject, target)
    raw = {word: float(np.clip((55 - _turn(angle, axis)) / 20, 0, 1)) for word, axis in _AXES.items()}
    total = sum(raw.values())
    size = np.sqrt((subject.area * target.area) ** 0.5)
    near = float(np.clip(0.95 - (gap - 1) / (0.25 * size), 0, 1))
    touching = float(np.clip((3.0 - gap) / 1.5, 0, 1))
    found: dict[str, float] = {}
    for word, weight in ((word, weight / total) for word, weight in raw.items() if weight > 0):
        other, share = ("on", touching) if word == "above" else ("next to", 0.0 if word == "under" else near)
        found[word] = found.get(word, 0.0) + weight * (1 - share)
        found[other] = found.get(other, 0.0) + weight * share
    return {word: weight for word, weight in found.items() if weight > 0}


def _angle(subject: Placed, target: Placed) -> Floats:
    """Unit vector (x, y down) towards the subject: where its centre is, and where the side facing the target is."""
    rows, columns = np.nonzero(subject.mask)
    distance = target.distance[rows, columns]
    facing = distance <= distance.min() + 0.25 * np.sqrt(subject.area)
    back = target.nearest[:, rows[facing], columns[facing]]
    steps = np.stack([columns[facing] - back[1], rows[facing] - back[0]], 1).mean(0)
    return _unit(1.5 * _unit(steps) + _unit(subject.centre - target.centre))


def _turn(direction: Floats, axis: tuple[int, int]) -> float:
    """Degrees between two unit vectors."""
    return float(np.degrees(np.arccos(np.clip(direction @ np.array(axis, float), -1, 1))))


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / max(float(np.hypot(*vector)), 1e-9))


def _hull(mask: Bools) -> Bools:
    try:
        sides = ConvexHull(np.argwhere(mask)).equations
    except QhullError:  # a thing one pixel wide
        return mask
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    inside = np.ones_like(mask)
    for down, right, offset in sides:
        inside &= down * rows + right * columns + offset <= 1e-9
    return inside
