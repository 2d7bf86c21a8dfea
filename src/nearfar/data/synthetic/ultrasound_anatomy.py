"""The fetus of the ultrasound world: four views made of ellipses, rings and capsules, thirteen of them labelled.

Local coordinates: the unit is the half length of what the view shows, x to the right, y away from the probe. Image
coordinates: the unit is the shorter side of the picture, and (0.5, 0.5) is its centre.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

VIEWS = ("head", "nt", "crl", "abdomen")
STRUCTURES = ("CB", "CP1", "CP2", "CF", "NT", "NB", "F", "NA", "CRL", "S", "AS", "UC", "UI")
Jitter = Callable[[float], float]


@dataclass(frozen=True)
class Shape:
    """One structure: centre, half axes, echo level in dB, turn in radians; a capsule has half length a and radius b."""

    kind: Literal["ellipse", "ring", "capsule"]
    x: float
    y: float
    a: float
    b: float
    level: float
    turn: float = 0.0
    label: str | None = None
    bone: float = 0.0  # how strongly it shadows what lies behind it
    wall: float = 0.07  # thickness of a ring, relative to its half axes
    drawn: bool = True  # False: an extent that is only measured (crown-rump length)


@dataclass(frozen=True)
class Pose:
    """Where the fetus lies in the picture (image coordinates), how large, how turned, and whether mirrored."""

    x: float
    y: float
    radius: float
    turn: float
    mirror: bool


def place(shape: Shape, pose: Pose) -> Shape:
    """The shape in image coordinates."""
    x = -shape.x if pose.mirror else shape.x
    cos, sin = pose.radius * math.cos(pose.turn), pose.radius * math.sin(pose.turn)
    return replace(
        shape,
        x=pose.x + cos * x - sin * shape.y,
        y=pose.y + sin * x + cos * shape.y,
        a=pose.radius * shape.a,
        b=pose.radius * shape.b,
        turn=pose.turn + (-shape.turn if pose.mirror else shape.turn),
    )


def extent(shape: Shape) -> tuple[float, float]:
    """Half width and half height of the upright box round a shape."""
    cos, sin = abs(math.cos(shape.turn)), abs(math.sin(shape.turn))
    if shape.kind == "capsule":
        return shape.a * cos + shape.b, shape.a * sin + shape.b
    return math.hypot(shape.a * cos, shape.b * sin), math.hypot(shape.a * sin, shape.b * cos)


def anatomy(view: str, rng: np.random.Generator) -> list[Shape]:
    """The shapes of one fetus in one view, back to front, with the proportions that differ between fetuses."""
    return _TEMPLATES[view](lambda most: float(rng.uniform(-most, most)))


def draw_pose(view: str, mirror: bool, rng: np.random.Generator) -> Pose:
    """How a fetus lies in the frames of one view, within what an acceptable frame allows."""
    largest = 0.30 if view in ("nt", "crl") else 0.345
    return Pose(
        x=0.5 + float(rng.uniform(-0.03, 0.03)),
        y=0.54 + float(rng.uniform(-0.02, 0.02)),
        radius=largest * float(rng.uniform(0.90, 0.98)),
        turn=float(rng.uniform(-0.16, 0.16)),
        mirror=mirror,
    )


def move(pose: Pose, rng: np.random.Generator) -> Pose:
    """The same fetus a moment later."""
    dx, dy, turn = (float(most * rng.uniform(-1, 1)) for most in (0.012, 0.012, 0.05))
    radius = pose.radius * float(rng.uniform(0.98, 1.02))
    return replace(pose, x=pose.x + dx, y=pose.y + dy, turn=pose.turn + turn, radius=radius)


def _head(j: Jitter) -> list[Shape]:
    height = 0.78 + j(0.03)
    plexus = 0.40 + j(0.03)
    return [
        Shape("ellipse", 0, 0, 0.98, height - 0.02, -38),
        Shape("ellipse", 0.10, -0.38, 0.58, 0.25, -54),
        Shape("ellipse", 0.10, 0.38, 0.58, 0.25, -54),
        Shape("ellipse", -0.52, -0.12, 0.15, 0.10, -30),
        Shape("ellipse", -0.52, 0.12, 0.15, 0.10, -30),
        Shape("ellipse", 0.08 + j(0.03), -0.38 + j(0.02), plexus, 0.16, -15, j(0.12), "CP1"),
        Shape("ellipse", 0.08 + j(0.03), 0.38 + j(0.02), plexus, 0.16, -15, j(0.12), "CP2"),
        Shape("capsule", j(0.02), j(0.02), 0.82, 0.018, -11, label="CF"),
        Shape("ring", 0, 0, 1.0, height, -2, label="CB", bone=0.5),
    ]


def _nt(j: Jitter) -> list[Shape]:
    neck = 0.62 + j(0.06)
    return [
        Shape("ellipse", 0.66, 0.56, 0.78, 0.44, -25, 0.45),
        Shape("capsule", 0.72, 0.36, 0.44, 0.03, -6, 0.50, bone=0.2),
        Shape("ellipse", -0.16, -0.24, 0.74, 0.62, -35),
        Shape("ellipse", -0.02, -0.42, 0.34, 0.20, -50, 0.2),
        Shape("ring", -0.16, -0.24, 0.76, 0.64, -4, bone=0.4, wall=0.06),
        Shape("ellipse", -0.66 + j(0.02), 0.22 + j(0.02), 0.24, 0.38 + j(0.03), -21, -0.30, "F"),
        Shape("capsule", -0.56, 0.46, 0.16, 0.026, -8, 0.5, bone=0.2),
        Shape("capsule", -0.80 + j(0.03), 0.02 + j(0.03), 0.10, 0.026, -2, -0.6, "NB", bone=0.3),
        Shape("ellipse", -0.98 + j(0.02), 0.13 + j(0.03), 0.075, 0.065, -9, label="NA"),
        Shape("capsule", 0.50, 0.02, 0.36, 0.085, -8, neck),
        Shape("capsule", 0.50 + j(0.02), 0.02 + j(0.02), 0.33, 0.05 + j(0.008), -56, neck, "NT"),
    ]


def _crl(j: Jitter) -> list[Shape]:
    head = 0.46 + j(0.03)
    return [
        Shape("capsule", 0.78, -0.36, 0.26, 0.08, -23, -0.9 + j(0.2)),
        Shape("capsule", -0.16, -0.36, 0.20, 0.06, -23, 0.9 + j(0.2)),
        Shape("ellipse", 0.32, 0.04, 0.90, 0.42, -25, 0.08),
        Shape("ellipse", 0.34 + j(0.04), -0.02, 0.13, 0.09, -52),
        Shape("capsule", 0.36, 0.29, 0.70, 0.035, -5, 0.05, bone=0.2),
        Shape("ellipse", -0.74, -0.06, head, head * 0.92, -35),
        Shape("ellipse", -0.66, -0.12, 0.20, 0.14, -50),
        Shape("ring", -0.74 + j(0.02), -0.06 + j(0.02), head + 0.02, head * 0.92 + 0.02, -3, 0.0, "CB", 0.4, 0.09),
        Shape("ellipse", 0.02, 0.0, 1.20, 0.52, 0.0, 0.03, "CRL", drawn=False),
        Shape("capsule", 0.26 + j(0.04), -0.58 + j(0.04), 0.22, 0.05, -17, 1.2 + j(0.15), "UC"),
    ]


def _abdomen(j: Jitter) -> list[Shape]:
    height = 0.84 + j(0.03)
    return [
        Shape("capsule", j(0.02), -1.10 + j(0.03), 0.24, 0.07, -17, 1.57 + j(0.15), "UC"),
        Shape("ellipse", 0, 0, 0.86, height - 0.02, -26),
        Shape("ellipse", -0.30, -0.12, 0.36, 0.42, -22, 0.3),
        Shape("capsule", 0.02, -0.34, 0.20, 0.035, -50, 1.35),
        Shape("ring", 0, 0, 0.88, height, -9, label="AS", wall=0.06),
        Shape("ellipse", 0.38 + j(0.03), -0.14 + j(0.03), 0.20 + j(0.02), 0.14 + j(0.015), -56, 0.3, "S"),
        Shape("ellipse", -0.02, 0.56, 0.11, 0.09, -3, bone=0.6),
        Shape("capsule", -0.46, 0.50, 0.14, 0.025, -4, 0.75, bone=0.4),
        Shape("capsule", 0.46, 0.50, 0.14, 0.025, -4, -0.75, bone=0.4),
        Shape("ellipse", j(0.02), -0.82 + j(0.02), 0.16, 0.11, -11, label="UI"),
    ]


_TEMPLATES: dict[str, Callable[[Jitter], list[Shape]]] = {"head": _head, "nt": _nt, "crl": _crl, "abdomen": _abdomen}
