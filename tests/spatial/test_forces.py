"""Force histograms of pixel masks against goldens, closed forms and direct integration; options and what is refused."""

from __future__ import annotations

import itertools
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar.spatial
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.spatial.force_correlation import correlate
from nearfar.spatial.force_options import FORCES
from nearfar.spatial.forces import force_banner, force_histogram

Case = dict[str, Any]


def masks_of(case: Case) -> tuple[np.ndarray, np.ndarray]:
    if "A8" in case:
        return np.array(case["A8"]) / 8, np.array(case["B8"]) / 8
    letters = np.array([list(row) for row in case["mask"]])
    return np.isin(letters, ["A", "*"]), np.isin(letters, ["B", "*"])


def blobs(seed: int = 0, size: int = 24, grey: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Two ragged blobs that overlap a little."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    a = (x - 0.35) ** 2 + (y - 0.4) ** 2 < 0.05 + 0.02 * rng.random((size, size))
    b = (x - 0.65) ** 2 + (y - 0.6) ** 2 < 0.04 + 0.02 * rng.random((size, size))
    return (a * rng.random(a.shape), b * rng.random(b.shape)) if grey else (a, b)


def integrate(a: np.ndarray, b: np.ndarray, theta: float, force: Any, start: float = 0.0) -> float:
    """int_start^inf force(rho) Psi(rho u) d rho by quadrature of the bilinear interpolation between pair counts."""
    counts, up, right = correlate(a, b)
    padded = np.pad(counts, 1)
    c, s = math.cos(theta), math.sin(theta)
    ends = np.unique([start, *(k / abs(x) for k in range(60) for x in (c, s) if abs(x) > 1e-12 and k / abs(x) > start)])
    nodes, weights = np.polynomial.legendre.leggauss(20)
    total = 0.0
    for lo, hi in itertools.pairwise(ends):
        for node, weight in zip(nodes, weights, strict=True):
            rho = (lo + hi) / 2 + (hi - lo) / 2 * node
            x, y = rho * c + right + 1, rho * s + up + 1
            k, m = math.floor(x), math.floor(y)
            if 0 <= k < padded.shape[1] - 1 and 0 <= m < padded.shape[0] - 1:
                cell = padded[m : m + 2, k : k + 2]
                psi = np.array([1 - y + m, y - m]) @ cell @ np.array([1 - x + k, x - k])
                total += weight * (hi - lo) / 2 * force(rho) * float(psi)
    return total


@pytest.mark.parametrize(("policy", "key"), [("drop", "F_drop"), ("inf", "F")])
def test_pixel_goldens(golden_dir: Path, policy: Any, key: str) -> None:
    golden = json.loads((golden_dir / "csip" / "pixel_cases.json").read_text())
    assert len(golden["cases"]) == 7
    for name, case in golden["cases"].items():
        a, b = masks_of(case)
        expected = np.array([[float(x) for x in row] for row in case[key]])
        got = force_banner(a, b, golden["r"], golden["n_angles"], policy=policy, normalize="none")
        assert np.array_equal(np.isinf(got), np.isinf(expected)), name
        finite = np.isfinite(expected)
        if name == "grey":
            top = np.where(finite, expected, 0).max(1, keepdims=True)
            assert (np.abs(np.where(finite, got, 0) - np.where(finite, expected, 0)) <= 1e-12 * top).all()
            continue
        assert (got[expected == 0] == 0).all(), name
        assert got[finite] == pytest.approx(expected[finite], rel=1e-11, abs=1e-9 * 1e-11), name


def test_banner_goldens(golden_dir: Path) -> None:
    with np.load(golden_dir / "csip" / "banners_64_180x101.npz") as golden:
        assert np.allclose(golden["r"], FORCES)
        for name in ("apart", "overlap"):
            a, b = (np.unpackbits(golden[f"{name}_{k}"]).reshape(64, 64).astype(bool) for k in "AB")
            got = force_banner(a, b, policy="drop", normalize="none")
            assert np.array_equal(got == 0, golden[name] == 0)
            assert got == pytest.approx(golden[name], rel=1e-11, abs=0)


def coverage(centre: np.ndarray, radius: float, size: int, grid: int = 8) -> np.ndarray:
    """Grey mask of a disc (x right, y up, from the lower left corner): the share of each pixel that it covers."""
    fine = (np.arange(size * grid) + 0.5) / grid
    inside = (fine - centre[0]) ** 2 + (fine[::-1, None] - centre[1]) ** 2 < radius**2
    return inside.reshape(size, grid, size, grid).mean((1, 3))


def test_discs(golden_dir: Path) -> None:
    cases = json.loads((golden_dir / "csip" / "analytic_cases.json").read_text())["disc"]
    assert len(cases) == 2
    for case in cases:
        expected = np.array([[float(x) for x in row] for row in case["F"]]).T
        errors = []
        for size in (32, 128):
            scale = size / 6
            centres = [(np.array(case[key], float) + 1.5) * scale for key in ("cA", "cB")]
            a, b = (coverage(c, float(case[key]) * scale, size) for c, key in zip(centres, ("RA", "RB"), strict=True))
            got = force_banner(a, b, case["r"], 72, policy="drop", normalize="none")[:, : len(case["deg"])]
            got = got * scale ** (np.array(case["r"])[:, None] - 3)
            errors.append((np.abs(got - expected).max(1) / expected.max(1)).max())
        assert errors[1] < 6e-3 and errors[1] < errors[0] / 10  # second order in the size of the pixels


@pytest.mark.parametrize("cutoff", [0.02, 0.7])
@pytest.mark.parametrize("grey", [False, True])
def test_cutoff_is_where_the_integral_starts(cutoff: float, grey: bool) -> None:
    a, b = blobs(grey=grey)
    forces = [-2.0, 0.9999999999, 1.0, 2.0, 3.5]
    got = force_banner(a, b, forces, 12, cutoff=cutoff, normalize="none")
    start = cutoff * (a.sum() * b.sum()) ** 0.25
    for j in range(12):
        expected = [integrate(a, b, 2 * math.pi * j / 12, lambda rho, r=r: rho**-r, start) for r in forces]
        assert got[:, j] == pytest.approx(expected, rel=1e-7)


def test_sub_angles_average_the_bin() -> None:
    a, b = blobs()
    fine = force_banner(a, b, [-1.0, 0.5], 3 * 20, normalize="none")
    expected = (np.roll(fine, 1, 1) + fine + np.roll(fine, -1, 1))[:, ::3] / 3
    assert force_banner(a, b, [-1.0, 0.5], 20, normalize="none", sub_angles=3) == pytest.approx(expected, rel=1e-12)


def test_auto_cuts_only_where_something_can_diverge() -> None:
    a, b = blobs()
    assert np.array_equal(force_banner(a, b, [0.0, 0.9]), force_banner(a, b, [0.0, 0.9], policy="inf"))
    both = [force_banner(a, b, [0.0, 1.0], policy=policy) for policy in ("auto", "cutoff")]
    assert np.array_equal(*both) and np.isfinite(both[0]).all()
    # smooth in r, where dropping corners jumps
    rows = {policy: force_banner(a, b, np.arange(-1, 5, 0.1), policy=policy) for policy in ("cutoff", "drop")}
    jump = {policy: np.abs(np.diff(banner, axis=0)).max() for policy, banner in rows.items()}
    assert jump["cutoff"] < 0.1 < jump["drop"]


def test_hybrid_is_gravitation_that_turns_constant() -> None:
    for a, b in (blobs(), (blobs()[0], np.roll(blobs()[1], 9, 1) & ~blobs()[0])):
        meet, smaller = (a & b).sum(), min(a.sum(), b.sum())
        near = max(0.01 * 2 * math.sqrt(smaller / math.pi), 3 * 2 * math.sqrt(meet / math.pi))
        got = force_histogram(a, b, r="hybrid", directions=12)
        expected = [
            integrate(a, b, 2 * math.pi * j / 12, lambda rho, near=near: near**-2)
            + integrate(a, b, 2 * math.pi * j / 12, lambda rho, near=near: rho**-2 - near**-2, near)
            for j in range(12)
        ]
        assert got == pytest.approx(np.array(expected), rel=1e-9, abs=1e-9 * max(expected))


def test_normalizations() -> None:
    a, b = blobs()
    r = np.array([-2.0, 0.0, 0.5])
    raw = force_banner(a, b, r, 24, normalize="none")
    mass = float(a.sum() * b.sum())
    lam = mass**0.25
    rows, columns = (np.flatnonzero((a | b).any(axis)) for axis in (1, 0))
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    expected = {
        "row_max": raw / raw.max(1, keepdims=True),
        "global_max": raw / raw.max(),
        "scale": raw * lam ** (r - 3)[:, None],
        "mass": raw * (side ** (r + 1) / mass)[:, None],
        "log": np.log1p(raw * lam ** (r - 3)[:, None]),
    }
    for kind, banner in expected.items():
        assert force_banner(a, b, r, 24, normalize=kind) == pytest.approx(banner, rel=1e-12), kind
    assert np.array_equal(force_banner(a, b, r, 24), force_banner(a, b, r, 24, normalize="row_max"))
    # the mean over pairs of points of (rho / side)^0
    total = force_banner(a, b, [-1.0], 720, normalize="mass").sum() * 2 * math.pi / 720
    assert total == pytest.approx(1, rel=1e-5)


def test_infinite_rows_are_normalized_to_where_they_are_infinite() -> None:
    a, b = np.zeros((2, 6, 6), bool)
    a[2:4, 3:5], b[2:4, 1:3] = True, True  # they touch along an edge
    banner = force_banner(a, b, [0.0, 2.0], 8, policy="inf")
    assert banner[0].max() == 1 and 0 < banner[0, 1] < 1
    assert banner[1].tolist() == [1, 1, 0, 0, 0, 0, 0, 1]
    nothing = force_banner(a, a * 0 + a, [3.0], 8, policy="drop", normalize="none")
    assert np.isfinite(nothing).all()


def test_leading_sizes_broadcast_and_dtypes_stay() -> None:
    a, b = blobs()
    stack = np.stack([a, np.roll(a, 2, 0), a.T])
    banner = force_banner(stack[:, None], np.stack([b, b.T]), [-1.0, 2.0], 16)
    assert banner.shape == (3, 2, 2, 16) and banner.dtype == np.float64
    assert np.array_equal(banner[1, 1], force_banner(stack[1], b.T, [-1.0, 2.0], 16))
    single = force_banner(a.astype("f4"), b.astype("f4"), [-1.0, 2.0], 16)
    assert single.dtype == np.float32 and single == pytest.approx(banner[0, 0], abs=2e-6)
    assert force_banner(a.astype("f4"), b.astype("f4"), [-20.0, 20.0], 16).dtype == np.float64
    assert np.array_equal(force_banner(a.astype(np.uint8), b.astype(int), [-1.0, 2.0], 16), banner[0, 0])


@pytest.mark.parametrize("rows", [24, 101])
def test_single_precision_of_grey_masks_is_nearly_double(rows: int) -> None:
    a, b = (mask.astype(np.float32) for mask in blobs(2, size=64, grey=True))
    forces = np.linspace(-5, 5, rows).tolist()
    exact = force_banner(a.astype(float), b.astype(float), forces)
    assert np.abs(force_banner(a, b, forces) - exact).max() < 1e-6


def test_working_memory_is_not_shared() -> None:
    """Results stay when another is computed, in this thread or in others."""
    pairs = [blobs(seed, size) for seed, size in enumerate((24, 12, 30, 18))] * 3
    serial = [force_banner(a, b, [-1.0, 0.5, 2.0], 24, normalize="none") for a, b in pairs]
    with ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(lambda pair: force_banner(*pair, [-1.0, 0.5, 2.0], 24, normalize="none"), pairs))
    for one, other, again in zip(serial, threads, serial[4:] + serial[:4], strict=True):
        assert np.array_equal(one, other) and np.array_equal(one, again)


def test_histogram_is_one_row() -> None:
    a, b = blobs()
    assert np.array_equal(force_histogram(a, b), force_banner(a, b, [0.0], normalize="none")[0])
    assert force_histogram(a, b, r=2, directions=8, symmetric=True, normalize="row_max").shape == (4,)
    assert np.array_equal(force_histogram(a), force_histogram(a, a))


def test_public_names() -> None:
    assert nearfar.spatial.force_banner is force_banner
    assert {"force_banner", "force_histogram", "polygon_banner", "box_banner"} <= set(dir(nearfar.spatial))
    with pytest.raises(AttributeError, match="force_baner"):
        _ = nearfar.spatial.force_baner


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": []}, "empty"),
        ({"r": [0.0, float("nan")]}, "out of range.*nan"),
        ({"r": [50]}, "-20 to 20"),
        ({"r": ["near"]}, "real numbers"),
        ({"directions": 90}, "divisible by 4.*Take 88"),
        ({"directions": 0}, "whole number"),
        ({"sub_angles": 1.5}, "whole number"),
        ({"policy": "cutof"}, "Did you mean 'cutoff'"),
        ({"normalize": "rowmax"}, "Did you mean 'row_max'"),
        ({"cutoff": 0}, "cutoff is not valid"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    a, b = blobs()
    with pytest.raises(ConfigError, match=message):
        force_banner(a, b, **options)


def test_wrong_masks() -> None:
    a, b = blobs()
    with pytest.raises(ShapeError, match="one image"):
        force_banner(a, b[1:])
    with pytest.raises(ShapeError, match="broadcast"):
        force_banner(np.stack([a] * 2), np.stack([b] * 3))
    with pytest.raises(DataError, match=r"mask b\[1\] is empty"):
        force_banner(a, np.stack([b, b & False]))
    with pytest.raises(DataError, match="mask a is empty"):
        force_banner(a & False, b)
    with pytest.raises(DataError, match="NaN"):
        force_banner(np.where(a, np.nan, 0.0), b)
    with pytest.raises(DataError, match="Divide 8-bit masks by 255"):
        force_banner(a.astype(np.uint8) * 255, b)
    with pytest.raises(DataError, match="no numbers"):
        force_banner(a.astype(str), b)
