"""What is in every scene of the spills world, drawn before anything is rendered.

Lengths are metres on the floor, image positions half widths from the centre (-1 to 1, down and right positive),
temperatures kelvin. Frames of one room share its floor, colours, light and air temperature.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

CLASSES = ("clean", "cold", "warm")
FLOORS = ("tiles", "wood", "concrete", "carpet")
LIQUIDS = ("water", "coffee", "juice", "oil")
FRAMES_PER_ROOM = 8
WAVES = 7
LENS = 0.62  # tangent of half the field of view

_BASES = {
    "tiles": [(0.80, 0.76, 0.69), (0.66, 0.67, 0.68), (0.72, 0.50, 0.40), (0.42, 0.45, 0.47)],
    "wood": [(0.70, 0.51, 0.33), (0.46, 0.31, 0.20), (0.79, 0.63, 0.44), (0.55, 0.37, 0.22)],
    "concrete": [(0.56, 0.56, 0.55), (0.47, 0.48, 0.50), (0.62, 0.59, 0.54), (0.40, 0.42, 0.40)],
    "carpet": [(0.33, 0.39, 0.49), (0.52, 0.35, 0.31), (0.42, 0.47, 0.38), (0.60, 0.54, 0.46)],
}


@dataclass(frozen=True)
class Plan:
    """One entry a scene in every array; the first axis is the scene."""

    label: Ints
    room: Ints
    floor: Ints
    liquid: Ints
    base: Floats  # [N, 3] floor colour
    pattern: Floats  # side of a tile, width of a plank
    turn: Floats  # of the pattern against the camera, radians
    origin: Floats  # [N, 2] camera's place over the pattern
    waves: Floats  # [N, WAVES, 3] room's smooth texture: angle, spread, phase
    ripples: Floats  # [N, WAVES, 3] the same for the scene's liquid
    pitch: Floats  # camera's tilt down, radians
    height: Floats  # camera over floor
    wall: Floats  # distance of the wall, large: none
    wall_colour: Floats  # [N, 3]
    lamp: Floats  # [N, 3] place on the floor below the lamp and its reach
    exposure: Floats  # [N, 3] gain of the colours
    shadow: Floats  # [N, 3] direction, offset, depth (0: none)
    sun: Floats  # [N, 4] place, direction, strength (0: none)
    glare: Floats  # [N, 3] image position, strength
    stain: Floats  # [N, 3] image position, strength of a dry stain (0: none)
    things: Floats  # [N, 3, 5] image position of the foot, half width, height, is there; shade
    balls: Floats  # [N, 5, 3] spill: image position and radius of its lobes
    softness: Floats  # width of the spill's edge, share of its radius
    opacity: Floats  # of the liquid's colour
    air: Floats  # temperature of the room
    delta: Floats  # spill against floor, 0 for clean scenes
    thermal_spots: Floats  # [N, 3, 5] position, half axes, temperature of steps, vents, reflections without liquid
    drift: Floats  # [N, 3] sensor: temperature ramp across, along, and vignetting
    dropout: Floats  # share of the liquid's and the glare's depth that is missing

    def take(self, which: Ints | slice) -> Plan:
        """The scenes `which`."""
        return Plan(*(getattr(self, field.name)[which] for field in fields(self)))


def draw_plan(rng: np.random.Generator, n: int, shares: tuple[float, float, float]) -> Plan:
    """Plan of n scenes whose classes have exactly the rounded shares (each at least once)."""
    rooms = -(-n // FRAMES_PER_ROOM)
    room = np.arange(n) // FRAMES_PER_ROOM
    label = _labels(rng, n, shares)
    values: dict[str, Any] = {"label": label, "room": room, "liquid": rng.choice(4, n, p=(0.55, 0.2, 0.15, 0.1))}
    values |= {name: value[room] for name, value in _rooms(rng, rooms).items()}
    values |= _camera_and_light(rng, n, values["wall"])
    values |= _spill(rng, label, _wall_line(values)) | _distractors(rng, n)
    return Plan(**{k: v if v.dtype == np.int64 else v.astype(np.float32) for k, v in values.items()})


def _labels(rng: np.random.Generator, n: int, shares: tuple[float, float, float]) -> Ints:
    counts = [max(1, round(share * n)) for share in shares[1:]]
    label = np.repeat(np.arange(3), [n - sum(counts), *counts])
    return rng.permutation(label).astype(np.int64)


def _rooms(rng: np.random.Generator, n: int) -> dict[str, Any]:
    floor = rng.permutation(np.arange(n) % len(FLOORS)).astype(np.int64)
    bases = np.array([_BASES[name] for name in FLOORS])[floor, rng.integers(4, size=n)]
    sizes = np.array([(0.22, 0.45), (0.09, 0.16), (0.8, 1.4), (0.3, 0.5)])[floor]
    return {
        "floor": floor,
        "base": np.clip(bases * rng.uniform(0.85, 1.12, (n, 1)) + rng.normal(0, 0.015, (n, 3)), 0.08, 0.92),
        "pattern": rng.uniform(sizes[:, 0], sizes[:, 1]),
        "waves": _waves(rng, n),
        "wall": np.where(rng.random(n) < 0.5, rng.uniform(1.7, 2.9, n), 50.0),
        "wall_colour": np.clip(rng.uniform(0.6, 0.88, (n, 1)) + rng.normal(0, 0.03, (n, 3)), 0.3, 0.95),
        "air": rng.uniform(291.0, 299.5, n),
    }


def _waves(rng: np.random.Generator, n: int) -> Any:
    return rng.random((n, WAVES, 3)) * (2 * np.pi, 1, 2 * np.pi)


def _camera_and_light(rng: np.random.Generator, n: int, wall: Any) -> dict[str, Any]:
    sunny, shaded = rng.random(n) < 0.25, rng.random(n) < 0.45
    return {
        "turn": rng.uniform(-0.8, 0.8, n),
        "origin": rng.uniform(-4, 4, (n, 2)),
        "pitch": np.radians(np.where(wall < 10, rng.uniform(36, 54, n), rng.uniform(46, 66, n))),
        "height": rng.uniform(1.2, 1.7, n),
        "lamp": np.stack([rng.uniform(-1, 1, n), rng.uniform(0.4, 2.4, n), rng.uniform(0.9, 2.2, n)], 1),
        "exposure": rng.uniform(0.78, 1.12, (n, 1)) * rng.uniform(0.96, 1.04, (n, 3)),
        "shadow": np.stack(
            [rng.uniform(0, 2 * np.pi, n), rng.uniform(-0.5, 0.4, n), shaded * rng.uniform(0.15, 0.45, n)], 1
        ),
        "sun": np.stack(
            [
                rng.uniform(-0.7, 0.7, n),
                rng.uniform(-0.5, 0.8, n),
                rng.uniform(-0.9, 0.9, n),
                sunny * rng.uniform(0.3, 0.9, n),
            ],
            1,
        ),
        "glare": np.stack(
            [rng.uniform(-0.8, 0.8, n), rng.uniform(-0.8, 0.4, n), rng.beta(1.2, 2.2, n)],
            1,
        ),
    }


def _wall_line(values: dict[str, Any]) -> Any:
    """Image row where the floor ends, from the pinhole model of `spills_render`."""
    slope, tilt = values["height"] / values["wall"], values["pitch"]
    return (slope * np.cos(tilt) - np.sin(tilt)) / (LENS * (np.cos(tilt) + slope * np.sin(tilt)))


def _spill(rng: np.random.Generator, label: Ints, wall_line: Any) -> dict[str, Any]:
    n = len(label)
    radius = np.exp(rng.uniform(np.log(0.13), np.log(0.36), n))
    highest = np.clip(wall_line + 0.3 + 0.6 * radius, -0.4, 0.6)
    centre = np.stack([rng.uniform(-0.6, 0.6, n), rng.uniform(highest, 0.65)], 1)
    angle, reach = rng.uniform(0, 2 * np.pi, (n, 5)), radius[:, None] * rng.uniform(0.2, 1.25, (n, 5))
    reach[:, 0] = 0
    lobes = np.stack([np.cos(angle) * reach, np.sin(angle) * reach], -1) + centre[:, None]
    radii = radius[:, None] * np.where(np.arange(5) == 0, 1.0, rng.uniform(0.3, 0.75, (n, 5)))
    faint = rng.random(n) < 0.25
    delta = np.where(faint, rng.uniform(0.1, 0.5, n), np.exp(rng.uniform(np.log(0.7), np.log(4.5), n)))
    return {
        "balls": np.concatenate([lobes, radii[..., None]], -1),
        "softness": rng.uniform(0.05, 0.35, n),
        "opacity": rng.uniform(0.35, 1.0, n),
        "ripples": _waves(rng, n),
        "delta": delta * np.array([0.0, -1.0, 1.0])[label],
        "dropout": rng.beta(1.5, 2.5, n),
    }


def _distractors(rng: np.random.Generator, n: int) -> dict[str, Any]:
    present = rng.random((n, 3)) < (0.5, 0.3, 0.15)
    foot = np.stack([rng.uniform(-0.95, 0.95, (n, 3)), rng.uniform(-0.7, 0.75, (n, 3))], -1)
    slim = rng.random((n, 3)) < 0.65
    half = np.where(slim, rng.uniform(0.02, 0.05, (n, 3)), rng.uniform(0.13, 0.28, (n, 3)))
    tall = np.where(slim, 1.2, rng.uniform(0.2, 0.5, (n, 3)))
    shade = rng.uniform(0.12, 0.8, (n, 3))
    things = np.concatenate([foot, np.stack([half, tall, present * shade], -1)], -1)
    kind, used = rng.integers(3, size=n), rng.random(n) < 0.55
    return {"things": things, "thermal_spots": _spots(rng, kind, used)} | {
        "stain": np.concatenate(
            [rng.uniform(-0.7, 0.7, (n, 2)), ((rng.random(n) < 0.3) * rng.uniform(0.1, 0.35, n))[:, None]], 1
        ),
        "drift": rng.normal(0, (0.25, 0.25, 0.35), (n, 3)),
    }


def _spots(rng: np.random.Generator, kind: Any, used: Any) -> Any:
    """Kind 0: a trail of warm steps; 1: cold air of a vent; 2: mirror image of something warm or cold."""
    n = len(kind)
    place, heading = rng.uniform(-0.7, 0.7, (n, 2)), rng.uniform(0, 2 * np.pi, n)
    steps = np.arange(3)[:, None] * np.stack([np.cos(heading), np.sin(heading)], -1)[:, None] * 0.33
    spread = np.where(kind[:, None, None] == 0, steps, 0.0)
    axes = np.array([(0.07, 0.12), (0.45, 0.22), (0.25, 0.35)])[kind] * rng.uniform(0.7, 1.3, (n, 2))
    size = np.exp(rng.uniform(np.log(0.5), np.log(3.0), n))
    sign = np.where(kind == 0, 1.0, np.where(kind == 1, -1.0, rng.choice([-1.0, 1.0], n)))
    each = np.where((kind[:, None] == 0) | (np.arange(3) == 0), 1.0, 0.0) * (used * size * sign)[:, None]
    wide = np.broadcast_to(axes[:, None], (n, 3, 2))
    return np.concatenate([place[:, None] + spread, wide, each[..., None]], -1)
