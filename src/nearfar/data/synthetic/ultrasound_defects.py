"""What makes a frame of the ultrasound world fail: image, layout and text faults, the first two graded.

Severity runs from 0, just outside what an acceptable frame shows, to 1, plain at a glance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from nearfar.data.synthetic.ultrasound_acoustics import Condition
from nearfar.data.synthetic.ultrasound_anatomy import Pose, Shape

IMAGE_DEFECTS = ("motion_blur", "under_gain", "over_gain", "shadow", "clutter")
LAYOUT_DEFECTS = {
    "head": ("missing_CP2", "falx_offset", "low_magnification"),
    "nt": ("missing_NB", "nuchal_displaced", "low_magnification"),
    "crl": ("missing_CB", "oblique", "low_magnification"),
    "abdomen": ("missing_S", "oval_section", "low_magnification"),
}
TEXT_DEFECTS = ("calipers", "posture", "plane")  # and "age", where the whole examination is outside the window
Shapes = list[Shape]
Change = Callable[[Shapes, Pose, float, float], tuple[Shapes, Pose]]  # shapes, pose, severity, side (-1 or 1)


@dataclass(frozen=True)
class Defect:
    """One fault of a frame: its name and its severity in 0..1."""

    kind: str
    severity: float


def condition(defect: Defect | None, rng: np.random.Generator) -> Condition:
    """How the frame is taken: small imperfections always, and one that is too large where there is a defect."""
    shadow = (rng.uniform(0.1, 0.9), rng.uniform(0.06, 0.12), rng.uniform(0, 4))
    fair = Condition(rng.uniform(0, 0.5), float(rng.uniform(-2.5, 2.5)), rng.uniform(-52, -47), (shadow,))
    if defect is None:
        return fair
    severity = defect.severity
    if defect.kind == "motion_blur":
        return replace(fair, blur=_between(1.1, 4.5, severity))
    if defect.kind == "under_gain":
        return replace(fair, gain=fair.gain - _between(6.5, 20, severity))
    if defect.kind == "over_gain":
        return replace(fair, gain=fair.gain + _between(6.5, 20, severity))
    if defect.kind == "clutter":
        return replace(fair, floor=_between(-43, -20, severity))
    return replace(fair, shadows=_contact_loss(severity, rng))


def _contact_loss(severity: float, rng: np.random.Generator) -> tuple[tuple[float, float, float], ...]:
    strength, first = _between(10, 40, severity), rng.uniform(0.2, 0.45)
    beams = (first, first + rng.uniform(0.2, 0.35))
    return tuple((beam, float(rng.uniform(0.07, 0.12)), strength) for beam in beams)


def apply(defect: Defect | None, shapes: Shapes, pose: Pose, rng: np.random.Generator) -> tuple[Shapes, Pose]:
    """The shapes and the pose with a layout defect in them."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    if defect is None:
        return shapes, pose
    return _LAYOUT[defect.kind](shapes, pose, defect.severity, side)


def _between(mild: float, severe: float, severity: float) -> float:
    return mild + (severe - mild) * severity


def _missing(label: str) -> Change:
    return lambda shapes, pose, severity, side: ([shape for shape in shapes if shape.label != label], pose)


def _falx_offset(shapes: Shapes, pose: Pose, severity: float, side: float) -> tuple[Shapes, Pose]:
    shift = side * _between(0.12, 0.34, severity)
    return [replace(shape, y=shape.y + shift) if shape.label == "CF" else shape for shape in shapes], pose


def _nuchal_displaced(shapes: Shapes, pose: Pose, severity: float, side: float) -> tuple[Shapes, Pose]:
    dx, dy = _between(0.20, 0.45, severity), _between(0.16, 0.40, severity)
    return [replace(shape, x=shape.x + dx, y=shape.y + dy) if shape.label == "NT" else shape for shape in shapes], pose


def _oblique(shapes: Shapes, pose: Pose, severity: float, side: float) -> tuple[Shapes, Pose]:
    return shapes, replace(pose, turn=pose.turn + side * _between(0.40, 1.0, severity))


def _low_magnification(shapes: Shapes, pose: Pose, severity: float, side: float) -> tuple[Shapes, Pose]:
    return shapes, replace(pose, radius=pose.radius * _between(0.84, 0.50, severity))


def _oval_section(shapes: Shapes, pose: Pose, severity: float, side: float) -> tuple[Shapes, Pose]:
    factor = _between(0.84, 0.55, severity)
    flat = [replace(s, y=s.y * factor, b=s.b * factor if s.a > 0.8 else s.b) for s in shapes]
    return flat, pose


_LAYOUT: dict[str, Change] = {
    **{f"missing_{label}": _missing(label) for label in ("CP2", "NB", "CB", "S")},
    "falx_offset": _falx_offset,
    "low_magnification": _low_magnification,
    "nuchal_displaced": _nuchal_displaced,
    "oblique": _oblique,
    "oval_section": _oval_section,
}
