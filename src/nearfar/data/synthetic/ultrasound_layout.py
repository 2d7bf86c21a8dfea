"""The boxes of a frame, as a detector would report them: absolute pixels, with confidences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.data.synthetic.ultrasound_anatomy import STRUCTURES, Pose, Shape, extent, place

_JITTER = 0.012  # standard deviation of an edge, relative to the side of its box
_OPTIONAL = {"NA": 0.15, "UC": 0.15}  # missed this often, without any meaning for the label
_SPURIOUS = 0.10  # share of frames with a false detection of low confidence


def detect(
    shapes: Sequence[Shape], pose: Pose, size: tuple[int, int], rng: np.random.Generator, *, trust: float = 1.0
) -> list[dict[str, Any]]:
    """`coordinates` of the study format: label, bbox [x_min, y_min, x_max, y_max] inside `size`, confidence.

    `trust` multiplies the confidences.
    """
    found = []
    for shape in shapes:
        if shape.label is not None:
            noise, miss, confidence = rng.normal(0, _JITTER, 4), rng.random(), rng.beta(9, 2.2)
            if miss >= _OPTIONAL.get(shape.label, 0.0):
                found.append(_detection(shape.label, _box(place(shape, pose), noise), size, confidence * trust))
    if rng.random() < _SPURIOUS:
        found.append(_spurious(size, rng))
    return [found[i] for i in rng.permutation(len(found))]


def _box(shape: Shape, noise: NDArray[np.float64]) -> NDArray[np.float64]:
    width, height = extent(shape)
    edges = np.array([shape.x - width, shape.y - height, shape.x + width, shape.y + height])
    return edges + noise * (2 * width, 2 * height, 2 * width, 2 * height)


def _spurious(size: tuple[int, int], rng: np.random.Generator) -> dict[str, Any]:
    corner, sides = rng.uniform(0.15, 0.70, 2), rng.uniform(0.05, 0.15, 2)
    label = STRUCTURES[int(rng.integers(len(STRUCTURES)))]
    return _detection(label, np.concatenate([corner, corner + sides]), size, rng.uniform(0.2, 0.4))


def _detection(label: str, box: NDArray[np.float64], size: tuple[int, int], confidence: float) -> dict[str, Any]:
    """At least two pixels wide and high, so that no structure is lost to rounding at the border."""
    limits = np.array(size, float)
    middle = (limits - min(size)) / 2
    low, high = box[:2] * min(size) + middle, box[2:] * min(size) + middle
    low = np.clip(low, 0, limits - 2)
    high = np.clip(high, low + 2, limits)
    edges = [round(float(edge), 1) for edge in (*low, *high)]
    return {"label": label, "bbox": edges, "confidence": round(float(np.clip(confidence, 0.05, 0.999)), 3)}
