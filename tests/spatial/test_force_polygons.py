"""Polygons and boxes against closed forms of rectangles and against masks of the same outline."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.spatial.force_boxes import box_banner
from nearfar.spatial.force_polygons import polygon_banner
from nearfar.spatial.forces import force_banner

FORCES = (-3.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
HOOK = np.array([(8.0, 5), (20, 5), (20, 12), (10, 12), (10, 15), (8, 15)])
FRAME = [np.array([(15.0, 20), (35, 20), (35, 33), (15, 33)]), np.array([(20.0, 24), (30, 24), (30, 28), (20, 28)])]


def hook_and_frame() -> tuple[np.ndarray, np.ndarray]:
    """The masks of the same outlines, image 40 x 40."""
    a, b = np.zeros((2, 40, 40), bool)
    a[5:12, 8:20] = a[12:15, 8:10] = b[20:33, 15:35] = True
    b[24:28, 20:30] = False
    return a, b


def box(corners: list[str]) -> list[float]:
    """A golden rectangle (x0, x1, y0, y1), y up, in image coordinates."""
    x0, x1, y0, y1 = map(float, corners)
    return [x0, -y1, x1, -y0]


def test_rectangles(golden_dir: Path) -> None:
    cases = json.loads((golden_dir / "csip" / "analytic_cases.json").read_text())["rect"]
    assert {case["name"] for case in cases} == {"gap", "gap_frac", "touch", "overlap", "contained"}
    for case in cases:
        expected = np.array([[float(x) for x in row] for row in case["F"]]).T
        got = box_banner(box(case["A"]), box(case["B"]), case["r"], 24, policy="inf", normalize="none")
        finite = np.isfinite(expected)
        assert np.array_equal(np.isfinite(got), finite), case["name"]
        assert got[finite] == pytest.approx(expected[finite], rel=1e-11, abs=0), case["name"]


@pytest.mark.parametrize("options", [{"policy": "inf"}, {}, {"cutoff": 0.3}, {"cutoff": 1.2, "sub_angles": 2}])
@pytest.mark.parametrize("shift", [(0, 0), (-9, -10), (-7, -8), (-8, -10), (-5, 0)])
def test_equals_masks_of_the_same_outline(options: dict[str, Any], shift: tuple[int, int]) -> None:
    """Apart, overlapping in three ways, and touching."""
    a, b = hook_and_frame()
    b = np.roll(b, shift[::-1], (0, 1))
    rings = [ring + np.array(shift) for ring in FRAME]
    expected = force_banner(a, b, FORCES, 20, normalize="none", **options)
    got = polygon_banner(HOOK, rings, FORCES, 20, normalize="none", **options)
    finite = np.isfinite(expected)
    assert np.array_equal(np.isfinite(got), finite)
    top = np.where(finite, expected, 0).max(1, keepdims=True)
    assert (np.abs(np.where(finite, got, 0) - np.where(finite, expected, 0)) <= 1e-12 * top).all()


@pytest.mark.parametrize("normalize", ["row_max", "global_max", "scale", "mass", "log"])
def test_normalizations_equal_those_of_masks(normalize: Any) -> None:
    a, b = hook_and_frame()
    options: dict[str, Any] = {"normalize": normalize, "symmetric": True}
    got = polygon_banner(HOOK, FRAME, FORCES, 12, **options)
    assert got == pytest.approx(force_banner(a, b, FORCES, 12, **options), rel=1e-10, abs=1e-13)
    itself = polygon_banner(HOOK, None, FORCES, 12, **options)
    assert itself == pytest.approx(force_banner(a, None, FORCES, 12, **options), rel=1e-10, abs=1e-13)


def test_corner_contact_diverges_from_3() -> None:
    square = np.array([(0.0, 0), (1, 0), (1, 1), (0, 1)])
    got = polygon_banner(square + np.array([1, -1]), square, [2.5, 3.0], 8, policy="inf", normalize="none")
    assert np.isfinite(got[0]).all() and math.isinf(got[1, 1])
    assert math.isfinite(got[1, 0]) and got[1, 3] == 0


def test_mass_and_rotation() -> None:
    """What pixels only approach: any rotation of both shifts the histogram, and F_-1 adds up to |A| |B|."""
    angle = 2 * math.pi / 12
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    forces = (-1.0, 0.5, 2.0)
    before = polygon_banner(HOOK, FRAME, forces, 12, normalize="none")
    after = polygon_banner(HOOK @ turn, [ring @ turn for ring in FRAME], forces, 12, normalize="none")
    assert after == pytest.approx(np.roll(before, 1, 1), rel=1e-9, abs=1e-9)
    f = polygon_banner(HOOK, FRAME, [-1.0], 360, normalize="none")
    assert f.sum() * 2 * math.pi / 360 == pytest.approx((12 * 7 + 3 * 2) * (20 * 13 - 40), rel=1e-4)


def test_forces_next_to_1_and_2_are_continuous() -> None:
    rows = polygon_banner(HOOK, FRAME, [1 - 1e-6, 1, 1 + 1e-6, 2 - 1e-6, 2, 2 + 1e-6], 20, normalize="none")
    middle = (rows[[0, 3]] + rows[[2, 5]]) / 2
    assert rows[[1, 4]] == pytest.approx(middle, rel=1e-8, abs=1e-12)


def test_boxes_broadcast() -> None:
    a = np.array([[0.0, 0, 2, 2], [1, 1, 4, 3]])
    got = box_banner(a[:, None], a[None], [0.0, 2.0], 12, symmetric=True)
    assert got.shape == (2, 2, 2, 6)
    assert np.array_equal(got[0, 1], box_banner(a[0], a[1], [0.0, 2.0], 12, symmetric=True))
    assert box_banner(np.zeros((0, 4)), a[0], [0.0], 8).shape == (0, 1, 8)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="corners of pixels"):
        polygon_banner(HOOK, FRAME, [1.0], policy="drop")
    with pytest.raises(ShapeError, match=r"ring of polygon b.*\(2, 2\)"):
        polygon_banner(HOOK, HOOK[:2])
    with pytest.raises(DataError, match="polygon a has no area"):
        polygon_banner(HOOK[[0, 1, 0]], FRAME)
    with pytest.raises(DataError, match=r"polygon b.*not finite"):
        polygon_banner(HOOK, HOOK * np.nan)
    with pytest.raises(DataError, match="boxes b hold one without an area"):
        box_banner([0, 0, 1, 1], [[0, 0, 1, 1], [3, 0, 2, 1]])
    with pytest.raises(ShapeError, match=r"\[.., 4\]"):
        box_banner([0, 0, 1], [0, 0, 1, 1])
    with pytest.raises(ShapeError, match="broadcast"):
        box_banner([[0, 0, 1, 1]] * 2, [[0, 0, 1, 1]] * 3)
