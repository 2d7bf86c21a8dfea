"""Floor materials: albedo [N, H, W, 3] and gloss from positions on the floor (metres)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nearfar.data.synthetic.spills_plan import FLOORS, Floats, Plan

GLOSS = np.array([0.75, 0.5, 0.25, 0.05], dtype=np.float32)
"""mirror-like share of the light, in the order of FLOORS"""


def wide(values: Any) -> Any:
    """[N] -> [N, 1, 1]."""
    return values[:, None, None]


def waves(x: Any, z: Any, numbers: Floats, low: float, high: float) -> Any:
    """Smooth noise of about unit variance: sines with wavenumbers from low to high (radians a metre)."""
    total = np.float32(0)
    for k in range(numbers.shape[1]):
        angle, spread, phase = (wide(numbers[:, k, i]) for i in range(3))
        wavenumber = low * (high / low) ** spread
        total = total + np.sin(wavenumber * (np.cos(angle) * x + np.sin(angle) * z) + phase)
    return total * np.float32(np.sqrt(2 / numbers.shape[1]))


def _hash(column: Any, row: Any, salt: Any) -> Any:
    """Uniform [0, 1) number of a cell."""
    word = (column * 374761393 + row * 668265263 + wide(salt) * 974711).astype(np.uint32)
    word = (word ^ (word >> np.uint32(13))) * np.uint32(1274126177)
    return (word ^ (word >> np.uint32(16))).astype(np.float32) * np.float32(2.0**-32)


def _gap(position: Any, side: Any, width: float) -> Any:
    """1 on the joint at every multiple of `side`, 0 off it."""
    inside = np.abs(position / side - np.round(position / side)) * side
    return np.clip(1.5 - inside / width, 0, 1)


def _tiles(x: Any, z: Any, plan: Plan) -> Any:
    side = wide(plan.pattern)
    vary = _hash(np.round(x / side - 0.5).astype(np.int64), np.round(z / side - 0.5).astype(np.int64), plan.room)
    marble = waves(x, z, plan.waves, 6, 40)
    joint = np.maximum(_gap(x, side, 0.007), _gap(z, side, 0.007))
    return (1 + 0.13 * (vary - 0.5) + 0.025 * marble) * (1 - 0.45 * joint)


def _wood(x: Any, z: Any, plan: Plan) -> Any:
    width = wide(plan.pattern)
    row = np.round(z / width - 0.5).astype(np.int64)
    start = x + 1.3 * _hash(row, np.zeros_like(row), plan.room)
    plank = np.round(start / 1.1 - 0.5).astype(np.int64)
    vary = _hash(plank, row, plan.room)
    grain = waves(x * 0.12 + 3 * vary, z, plan.waves, 40, 260)
    joint = np.maximum(_gap(z, width, 0.004), _gap(start, np.float32(1.1), 0.005))
    return (1 + 0.30 * (vary - 0.5) + 0.06 * grain) * (1 - 0.5 * joint)


def _concrete(x: Any, z: Any, plan: Plan) -> Any:
    cloud = waves(x, z, plan.waves, 1.5, 14) + 0.6 * waves(z, x, plan.waves, 15, 70)
    joint = np.maximum(_gap(x, wide(plan.pattern), 0.006), _gap(z, wide(plan.pattern), 0.006))
    return (1 + 0.065 * cloud) * (1 - 0.35 * joint)


def _carpet(x: Any, z: Any, plan: Plan) -> Any:
    weave = np.sin(x * 190) * np.sin(z * 190)
    turn = 2 * np.pi / wide(plan.pattern)
    band = np.abs(np.sin(turn * x) * np.sin(turn * z)) > 0.6
    return 1 + 0.10 * weave + 0.05 * waves(x, z, plan.waves, 3, 30) - 0.2 * band


_MATERIALS: dict[str, Callable[[Any, Any, Plan], Any]] = {
    "tiles": _tiles,
    "wood": _wood,
    "concrete": _concrete,
    "carpet": _carpet,
}


def albedo(x: Any, z: Any, plan: Plan) -> Any:
    """Colour of the dry floor [N, H, W, 3] at x, z [N, H, W] for a plan with one kind of floor."""
    shade = _MATERIALS[FLOORS[int(plan.floor[0])]](x, z, plan)
    return plan.base[:, None, None] * shade[..., None]
