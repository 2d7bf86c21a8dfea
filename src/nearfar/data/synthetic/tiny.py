"""A handful of small images with something to learn, for the examples that every reader writes.

Three classes: an empty floor ("good"), with a bright disc on it ("disc"), with a dark bar across it ("bar"). The object
also shows in the thermal and the depth image. Its mask is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("good", "disc", "bar")


@dataclass(frozen=True)
class Item:
    """One scene: rgb uint8 [S, S, 3], thermal uint16 [S, S, 1] in centikelvin, depth uint16 [S, S, 1] in mm, mask."""

    id: str
    label: int
    rgb: NDArray[np.uint8]
    thermal: NDArray[np.uint16]
    depth: NDArray[np.uint16]
    mask: NDArray[np.bool_]

    @property
    def class_name(self) -> str:
        return CLASSES[self.label]


def items(count: int, size: int, seed: int = 0) -> Iterator[Item]:
    """`count` scenes, the classes in turn; the same for the same arguments."""
    for number in range(count):
        yield _item(number, size, np.random.default_rng((seed, number)))


def save(path: Path, image: NDArray[Any]) -> None:
    """Writes uint8 or one-channel uint16 [H, W, C] as PNG, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)


def _item(number: int, size: int, rng: np.random.Generator) -> Item:
    label = number % len(CLASSES)
    y, x = np.mgrid[:size, :size] / size
    row, column = rng.uniform(0.3, 0.7, 2)
    shapes = (np.zeros_like(x), (y - row) ** 2 + (x - column) ** 2 < 0.04, np.abs(y - row) < 0.1)
    mask = np.asarray(shapes[label], dtype=bool)
    # A texture of a random direction makes each floor its own: without it, the good ones would be near-duplicates.
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    floor = 110 + 35 * np.sin(12 * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    gray = np.where(mask, (0, 230, 25)[label], floor) + rng.normal(0, 8, mask.shape)
    rgb = (gray[..., None] * rng.uniform(0.85, 1.0, 3)).clip(0, 255).astype(np.uint8)
    thermal = 29315 + np.where(mask, (0, 900, -700)[label], 0) + rng.normal(0, 40, mask.shape)
    depth = 1500 + 100 * y - np.where(mask, 200, 0) + rng.normal(0, 5, mask.shape)
    planes = [plane[..., None].astype(np.uint16) for plane in (thermal, depth)]
    return Item(f"s{number:04d}", label, rgb, planes[0], planes[1], mask)
