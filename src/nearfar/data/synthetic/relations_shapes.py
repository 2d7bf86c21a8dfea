"""The things of the relations world: ten outlines from convex to ring and comb, colours and textures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

COLOURS = {
    **{"red": (200, 50, 45), "green": (60, 150, 70), "blue": (55, 90, 190), "yellow": (225, 190, 50)},
    **{"purple": (135, 70, 160), "orange": (230, 125, 40), "white": (232, 230, 224), "black": (40, 40, 46)},
}
TEXTURES = ("plain", "stripes", "checks", "dots", "grain")
OPEN = ("ring", "arch", "comb", "corner")
"""outlines with room inside for another thing"""
_FULL = ("disc", "oval", "box")
_UPRIGHT = 0.25  # share of things that stand nearly upright
SHAPES = ("disc", "oval", "box", "wedge", "bar", "cross", *OPEN)


@dataclass(frozen=True)
class Thing:
    """What a thing looks like; nothing of it depends on where it is."""

    shape: str
    colour: str
    texture: str
    radius: float  # pixels
    turn: float  # radians
    stretch: float  # width over height, 0.6 to 1.6

    @property
    def name(self) -> str:
        """Colour and shape, as questions name it."""
        return f"{self.colour} {self.shape}"


def draw_thing(rng: np.random.Generator, shapes: tuple[str, ...], colours: list[str], radius: float) -> Thing:
    """A random thing with one of these shapes and colours."""
    turn = rng.normal(0, 0.12) if rng.random() < _UPRIGHT else rng.uniform(0, 2 * np.pi)
    # Slim and slanted outlines are more frequent than those that fill their boxes, which would tell too much.
    share = np.array([0.4 if shape in _FULL else 1.0 for shape in shapes])
    return Thing(
        shape=str(rng.choice(shapes, p=share / share.sum())),
        colour=str(rng.choice(colours)),
        texture=str(rng.choice(TEXTURES)),
        radius=radius,
        turn=float(turn),
        stretch=float(np.exp(rng.uniform(-0.4, 0.4))),
    )


def outline(thing: Thing, column: float, row: float, size: int) -> Bools:
    """Its mask [size, size] centred at (column, row), all of it, also what another thing hides."""
    y, x = np.mgrid[:size, :size] + 0.5
    x, y = (x - column) / thing.radius, (y - row) / thing.radius
    c, s = np.cos(thing.turn), np.sin(thing.turn)
    across, down = (c * x + s * y) / np.sqrt(thing.stretch), (-s * x + c * y) * np.sqrt(thing.stretch)
    return _inside(thing.shape, across, down)


def _inside(shape: str, x: Floats, y: Floats) -> Bools:
    """The outlines in a unit disc or square, y down."""
    distance, reach = np.hypot(x, y), np.maximum(np.abs(x), np.abs(y))
    masks: dict[str, Any] = {
        "disc": lambda: distance < 0.9,
        "oval": lambda: np.hypot(x / 1.1, y / 0.55) < 1,
        "box": lambda: reach < 0.8,
        "wedge": lambda: (y < 0.75) & (np.abs(x) < (y + 0.9) * 0.6),
        "bar": lambda: (np.abs(x) < 1.4) & (np.abs(y) < 0.24),
        "cross": lambda: (reach < 1) & (np.minimum(np.abs(x), np.abs(y)) < 0.3),
        "ring": lambda: (distance < 1.1) & (distance > 0.72),
        "arch": lambda: (reach < 1.05) & ((np.abs(x) > 0.68) | (y < -0.68)),
        "comb": lambda: (reach < 1.1) & ((y > 0.7) | (np.abs(x) > 0.8) | (np.abs(x) < 0.16)),
        "corner": lambda: (reach < 1.05) & ((x < -0.6) | (y > 0.6)),
    }
    return np.asarray(masks[shape](), np.bool_)


def paint(thing: Thing, rng: np.random.Generator, size: int) -> Floats:
    """Its surface [size, size, 3], 0..255, over the whole image."""
    y, x = np.mgrid[:size, :size].astype(float)
    angle, phase, period = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(4, 9)
    u, v = (np.cos(angle) * x + np.sin(angle) * y), (-np.sin(angle) * x + np.cos(angle) * y)
    wave_u, wave_v = (np.sin(2 * np.pi * w / period + phase) for w in (u, v))
    pattern: dict[str, Any] = {
        "plain": lambda: np.zeros((size, size)),
        "stripes": lambda: np.sign(wave_u),
        "checks": lambda: np.sign(wave_u * wave_v),
        "dots": lambda: np.where(wave_u + wave_v > 0.9, 1.0, -0.4),
        "grain": lambda: rng.normal(0, 0.7, (size, size)),
    }
    light = rng.uniform(-0.15, 0.15, 2)
    shade = 1 + light[0] * (x / size - 0.5) + light[1] * (y / size - 0.5) + 0.22 * pattern[thing.texture]()
    return np.asarray(np.array(COLOURS[thing.colour]) * rng.uniform(0.85, 1.1) * shade[..., None])


def background(rng: np.random.Generator, size: int) -> Floats:
    """A dull ground [size, size, 3] with a soft gradient and grain, 0..255."""
    y, x = np.mgrid[:size, :size] / size
    ends = rng.uniform(70, 190, (2, 1)) + rng.normal(0, 12, (2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    mix = np.clip(0.5 + np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5), 0, 1)[..., None]
    waves = np.sin(rng.uniform(10, 60) * (x * np.sin(angle) - y * np.cos(angle)) + rng.uniform(0, 6))
    return np.asarray(ends[0] * mix + ends[1] * (1 - mix) + rng.uniform(0, 14) * waves[..., None])
