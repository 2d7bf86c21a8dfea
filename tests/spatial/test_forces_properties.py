"""Properties that any force histogram has, whatever the masks (numbers as in the literature's list P1 to P15)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.spatial.force_polygons import _crossings, _edges, _integrals, _segments
from nearfar.spatial.forces import force_banner

Pair = tuple[np.ndarray, np.ndarray]
ANGLES = 24
FINITE = (-3.0, -1.0, 0.0, 0.5, 0.9)
ALL = (*FINITE, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
fast = settings(max_examples=12, deadline=None)


@st.composite
def pairs(draw: st.DrawFn, side: int = 7) -> Pair:
    """Two crisp masks that are not empty, of any density and any overlap."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    density = draw(st.floats(0.1, 0.9))
    shape = draw(st.tuples(st.integers(3, side), st.integers(3, side)))
    a, b = rng.random((2, *shape)) < density
    a[tuple(rng.integers(shape))] = b[tuple(rng.integers(shape))] = True
    return a, b


def raw(a: np.ndarray, b: np.ndarray, r: tuple[float, ...] = ALL, policy: str = "drop") -> np.ndarray:
    return force_banner(a, b, r, ANGLES, policy=policy, normalize="none")  # type: ignore[arg-type]


def same(x: np.ndarray, y: np.ndarray, rel: float = 1e-12) -> bool:
    """Equal within `rel` of each row's maximum."""
    return bool((np.abs(x - y) <= rel * np.maximum(x, y).max(-1, keepdims=True) + 1e-300).all())


@fast
@given(pairs())
def test_p1_exchange_is_half_a_turn(pair: Pair) -> None:
    a, b = pair
    for policy in ("drop", "cutoff"):
        assert same(raw(a, b, policy=policy), np.roll(raw(b, a, policy=policy), ANGLES // 2, 1))


@fast
@given(pairs(), st.integers(0, 5), st.integers(0, 5))
def test_p2_joint_translation(pair: Pair, down: int, right: int) -> None:
    a, b = (np.pad(m, ((0, 5), (0, 5))) for m in pair)
    assert np.array_equal(raw(*(np.roll(m, (down, right), (0, 1)) for m in (a, b))), raw(a, b))


@fast
@given(pairs())
def test_p3_quarter_turn_shifts_columns(pair: Pair) -> None:
    a, b = pair
    assert same(raw(np.rot90(a), np.rot90(b)), np.roll(raw(a, b), ANGLES // 4, 1))


@fast
@given(pairs())
def test_p4_mirrors(pair: Pair) -> None:
    a, b = pair
    j = np.arange(ANGLES)
    assert same(raw(a[:, ::-1], b[:, ::-1]), raw(a, b)[:, (ANGLES // 2 - j) % ANGLES])
    assert same(raw(a[::-1], b[::-1]), raw(a, b)[:, -j % ANGLES])


@fast
@given(pairs(5), st.integers(2, 3))
def test_p5_scaling(pair: Pair, scale: int) -> None:
    a, b = pair
    grown = [np.kron(m, np.ones((scale, scale))) for m in pair]
    powers = scale ** (3 - np.array(FINITE))[:, None]
    assert same(raw(*grown, FINITE), raw(a, b, FINITE) * powers)
    # the cut-off is a share of the objects' own size, so that also what would diverge scales
    powers = scale ** (3 - np.array(ALL))[:, None]
    assert same(raw(*grown, policy="cutoff"), raw(a, b, policy="cutoff") * powers, 1e-10)


@fast
@given(pairs(), st.floats(0.1, 0.9))
def test_p6_bilinear(pair: Pair, share: float) -> None:
    a, b = pair
    other = ~a if not a.all() else a
    mixed = share * a + (1 - share) * other
    assert same(raw(mixed, b), share * raw(a, b) + (1 - share) * raw(other, b), 1e-11)
    assert same(raw(b, mixed), share * raw(b, a) + (1 - share) * raw(b, other), 1e-11)


@fast
@given(st.integers(0, 10**6))
def test_p6_grey_masks_are_double_cuts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, (2, 5, 6))
    a[0, 0] = b[-1, -1] = 3
    cuts = sum(raw(a >= i, b >= j) for i in (1, 2, 3) for j in (1, 2, 3))
    assert same(raw(a / 3, b / 3), np.asarray(cuts) / 9, 1e-11)


@fast
@given(pairs())
def test_p7_mass(pair: Pair) -> None:
    a, b = pair
    f = force_banner(a, b, [-1.0], 720, normalize="none")
    assert f.sum() * 2 * math.pi / 720 == pytest.approx(a.sum() * b.sum(), rel=2e-3)


@fast
@given(pairs(), st.floats(-4, 4), st.floats(-4, 4))
def test_p8_log_convex_in_r(pair: Pair, first: float, second: float) -> None:
    f = raw(*pair, (first, (first + second) / 2, second), "cutoff")
    g = raw(*pair, (first, (first + second) / 2, second, 1.0), "cutoff")[:3]
    for rows in (g, f if max(first, second) >= 1 else g):
        assert (rows[1] ** 2 <= rows[0] * rows[2] * (1 + 1e-9) + 1e-300).all()


@fast
@given(pairs(), st.integers(0, 10**6))
def test_p9_monotone_and_not_negative(pair: Pair, seed: int) -> None:
    a, b = pair
    part = a & (np.random.default_rng(seed).random(a.shape) < 0.7)
    whole = raw(a, b)
    assert (whole >= 0).all()
    if part.any():
        assert (raw(part, b) <= whole * (1 + 1e-12)).all()


@fast
@given(pairs(), st.integers(1, 3), st.integers(1, 3))
def test_p11_stretched_pixels_along_the_axes(pair: Pair, kx: int, ky: int) -> None:
    a, b = pair
    grown = [np.repeat(np.repeat(m, ky, 0), kx, 1) for m in pair]
    before, after = raw(a, b, FINITE), raw(*grown, FINITE)
    r = np.array(FINITE)
    assert after[:, 0] == pytest.approx(kx * ky * kx ** (1 - r) * before[:, 0], rel=1e-11)
    assert after[:, ANGLES // 4] == pytest.approx(kx * ky * ky ** (1 - r) * before[:, ANGLES // 4], rel=1e-11)


def histogram(a: np.ndarray, b: np.ndarray, theta: float, r: float) -> float:
    """F_r of two polygons (y up) in any one direction."""
    p, q = (_edges(ring * [1, -1], "ring") for ring in (a, b))
    both = np.concatenate([p, q])
    segments = _segments(p, q, _crossings(both, both), theta, 0.0)
    return float(_integrals(segments, r, 0.0).sum())


@fast
@given(st.integers(0, 10**6), st.floats(0, 2 * math.pi))
def test_p11_affine_maps_of_polygons(seed: int, theta: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 3, 2)) + np.array([[[0.0, 0.0]], [[0.3, 0.2]]])
    m = rng.normal(size=(2, 2)) + np.eye(2) * 2
    if abs(np.linalg.det(m)) < 0.1:
        return
    u = m @ [math.cos(theta), math.sin(theta)]
    for r in (-2.0, 0.0, 0.7):
        expected = abs(np.linalg.det(m)) * np.linalg.norm(u) ** (1 - r) * histogram(a, b, theta, r)
        got = histogram(a @ m.T, b @ m.T, math.atan2(u[1], u[0]), r)
        assert got == pytest.approx(expected, rel=1e-6, abs=1e-9)


@fast
@given(pairs())
def test_p12_self_banner_has_period_pi(pair: Pair) -> None:
    f = force_banner(pair[0], None, FINITE, ANGLES, normalize="none")
    assert same(f, np.roll(f, ANGLES // 2, 1))


@fast
@given(pairs())
def test_symmetric_banner_is_that_of_both_orders(pair: Pair) -> None:
    a, b = pair
    f = force_banner(a, b, ALL, ANGLES, normalize="none", policy="drop", symmetric=True)
    assert f.shape == (len(ALL), ANGLES // 2)
    assert same(f, (raw(a, b) + raw(b, a))[:, : ANGLES // 2])


@fast
@given(pairs())
def test_p13_opposite_directions_sum_to_the_product_of_chords(pair: Pair) -> None:
    a, b = pair
    f = raw(a, b, (0.0,))[0]
    half, quarter = ANGLES // 2, ANGLES // 4
    assert f[0] + f[half] == pytest.approx((a.sum(1) * b.sum(1)).sum(), rel=1e-12)
    assert f[quarter] + f[quarter + half] == pytest.approx((a.sum(0) * b.sum(0)).sum(), rel=1e-12)


@fast
@given(pairs())
def test_p14_exactly_nothing_outside_the_angular_range(pair: Pair) -> None:
    b, a = (np.pad(m, ((0, 0), side)) for m, side in zip(pair, ((0, 9), (9, 0)), strict=True))
    ia, ja, ib, jb = (x.astype(float) for m in (a, b) for x in np.nonzero(m))
    dx, dy = np.subtract.outer(ja, jb), np.subtract.outer(ib, ia.T).T
    angles = [np.arctan2(dy + y, dx + x) for x in (-1, 1) for y in (-1, 1)]  # A is on the right: no wrap
    theta = (2 * math.pi * np.arange(ANGLES) / ANGLES + math.pi) % (2 * math.pi) - math.pi
    outside = (theta < np.min(angles) - 1e-9) | (theta > np.max(angles) + 1e-9)
    f = raw(a, b)
    assert outside.any() and (f[:, outside] == 0).all()


def test_p15_force_1_does_not_see_a_shear() -> None:
    """Rectangles with a gap in x whose bands of y reach over each other: along the ray B to A the shear is free."""
    a, b = np.zeros((2, 12, 16), bool)
    a[3:9, 10:13], b[3:9, 1:5] = True, True
    shear = np.array([[1.0, 0.0], [0.2, 1.0]])
    ring = np.array([[0.0, 0], [3, 0], [3, 6], [0, 6]])
    p, q = ring + np.array([9, 0]), ring * [4 / 3, 1]
    sheared = histogram(p @ shear.T, q @ shear.T, math.atan(0.2), 1.0)
    assert sheared == pytest.approx(histogram(p, q, 0.0, 1.0), rel=1e-12)
    assert histogram(p, q, 0.0, 1.0) == pytest.approx(raw(a, b, (1.0,))[0, 0], rel=1e-12)
