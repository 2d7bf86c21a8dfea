"""Correlation of masks and the weights of the lattice: counts against enumeration, sizes and reach of plans."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.spatial.force_correlation import correlate
from nearfar.spatial.force_plan import Plan, make_plan, near_weights, near_weights_uncut, plan_reach, plan_size


def enumerated(a: np.ndarray, b: np.ndarray) -> dict[tuple[int, int], float]:
    counts: dict[tuple[int, int], float] = {}
    for i, j in np.argwhere(a):
        for k, m in np.argwhere(b):
            d = (int(j - m), int(k - i))
            counts[d] = counts.get(d, 0.0) + float(a[i, j]) * float(b[k, m])
    return counts


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 0.95), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_correlation_counts_pairs_of_pixels(seed: int, density: float, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, *shape)) < density
    a[tuple(rng.integers(shape))] = b[tuple(rng.integers(shape))] = True
    for p, q in ((a, b), (a.astype(np.float32), b.astype(int)), (a * 0.5, b * 0.75)):
        counts, up, right = correlate(p, q)
        expected = enumerated(p, q)
        got = {(int(x) - right, int(y) - up): float(counts[y, x]) for y, x in np.argwhere(counts)}
        assert got.keys() == expected.keys()
        assert [got[d] for d in expected] == pytest.approx(list(expected.values()), rel=1e-12)


def test_ragged_masks_go_by_fft_to_the_same_integers() -> None:
    a, b = np.indices((2, 40, 40)).sum(0) % 2 == 0  # every other pixel: as many runs as can be
    counts, up, right = correlate(a, b)
    assert np.array_equal(counts, np.rint(counts)) and counts[up, right] == (a & b).sum()
    assert counts.sum() == a.sum() * b.sum()
    rows = np.ones((40, 40), bool)
    assert np.array_equal(correlate(rows, rows).counts[39], 40 * (40 - np.abs(np.arange(-39, 40))))


def test_longest_displacement() -> None:
    a, b = np.zeros((2, 30, 50), bool)
    a[3, 45], b[20:25, 2:4] = True, True
    assert correlate(a, b).longest == 43
    assert correlate(b, a).longest == 43


def far_weights(plan: Plan) -> np.ndarray:
    """[octant, far, r] with interpolation undone."""
    first, *others = (b.weights for b in plan.blocks)
    expand = np.split(plan.expand, len(others)) if others else []
    return np.concatenate([first, *(w @ e for w, e in zip(others, expand, strict=True))], 1)


def test_weights_of_a_plane_of_ones() -> None:
    """If every displacement has mass 1, Psi is 1 and the weights of a ray add up to int rho^-r."""
    n = 16
    plan = make_plan(n, 8, (-2.0, 0.0, 0.5), 1, 1.0)
    weights, _ = near_weights_uncut(plan)
    to_the_right = weights[0].sum((0, 1)) + far_weights(plan)[0].sum(0)
    # the last cell ends at n, where its outer corners hold nothing
    inner = [(n - 1) ** (1 - r) / (1 - r) for r in (-2.0, 0.0, 0.5)]
    outer = [n ** (1 - r) / (1 - r) for r in (-2.0, 0.0, 0.5)]
    assert all(lo < w < hi for lo, w, hi in zip(inner, to_the_right, outer, strict=True))
    assert to_the_right[1] == pytest.approx(n - 0.5, rel=1e-14)


@pytest.mark.parametrize("rho_min", [0.3, 1.0, 3.7])
def test_reach_moves_cells_between_near_and_far(rho_min: float) -> None:
    """The same integral, whether cells are integrated in closed form (near) or by quadrature (far)."""
    forces = (-3.0, 0.0, 1.0, 2.0, 4.5)
    totals = []
    for reach in (plan_reach(rho_min), 4 * plan_reach(rho_min)):
        plan = make_plan(24, 24, forces, 1, reach)
        near = near_weights(plan.cells, plan.r, rho_min, np)
        totals.append(near.sum((1, 2)) + far_weights(plan).sum(1))
    assert totals[0][:, 1:] == pytest.approx(totals[1][:, 1:], rel=1e-11)


@pytest.mark.parametrize(
    "forces",
    [
        np.linspace(0, 1, 60),
        pytest.param(np.linspace(-5, 5, 101), marks=pytest.mark.slow),
        pytest.param(np.linspace(-7, 6, 200), marks=pytest.mark.slow),
    ],
)
def test_interpolation_in_r_keeps_all_digits(forces: np.ndarray) -> None:
    plain, smooth = (make_plan(192, 16, tuple(forces.tolist()), 1, 1.0, flag) for flag in (False, True))
    assert len(plain.blocks) == 1 and len(smooth.blocks) == 4
    assert smooth.blocks[-1].weights.shape[-1] < forces.size / 2
    table = [dict(zip(zip(*p, strict=True), w, strict=True)) for p, w in (points(plain), points(smooth))]
    assert table[0].keys() == table[1].keys()
    for place, weight in table[0].items():
        assert table[1][place] == pytest.approx(weight, rel=1e-11, abs=0)


def points(plan: Plan) -> tuple[tuple[list[int], list[int], list[int]], np.ndarray]:
    """(octant, x, y) of the far points that are not padding, and their weights."""
    x, y = plan.x[:, 0, 4 * plan.near :], plan.y[:, 0, 4 * plan.near :]
    octant = np.broadcast_to(np.arange(len(x))[:, None], x.shape)
    real = x < plan.n
    return (octant[real].tolist(), x[real].tolist(), y[real].tolist()), far_weights(plan)[real]


def test_sizes_and_reach() -> None:
    assert [plan_size(d) for d in (0, 7, 8, 12, 63, 64, 100, 130)] == [8, 8, 12, 16, 64, 96, 128, 192]
    assert [plan_reach(x) for x in (0.01, 1.0, 1.01, 2.0, 5.0)] == [1, 1, 2, 2, 8]
    assert make_plan(12, 8, (0.0,)) is make_plan(12, 8, (0.0,))


def test_all_directions_of_a_plan_are_different() -> None:
    plan = make_plan(12, 20, (0.0,))
    assert len(set(plan.order.tolist())) == 20
    x, y = (v.reshape(-1, v.shape[-1]).astype(float) for v in (plan.x, plan.y))
    weight = np.repeat(far_weights(plan)[..., 0], 8, 0)
    mean = [(v[:, 4 * plan.near :] * weight).sum(1)[plan.order] for v in (x, y)]
    angles = np.unwrap(np.arctan2(mean[1], mean[0]))
    assert angles == pytest.approx(2 * math.pi * np.arange(20) / 20, abs=0.03)
