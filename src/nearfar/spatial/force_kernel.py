"""Weights that turn a cross-correlation of pixel masks into force histograms, exactly.

For unit-square pixels the covariogram Psi(d) = area of {p : p + d in A, p in B} is the bilinear interpolation of the
discrete correlation C[dx, dy] = sum_p a(p + d) b(p), so along the ray of direction theta, with (c, s) = (cos, sin),

    F_r(theta) = int_0^inf rho^-r Psi(rho (c, s)) d rho = sum_{dx, dy} C[dx, dy] W[dx, dy]
    W[dx, dy]  = int_0^inf rho^-r h(rho c - dx) h(rho s - dy) d rho,    h(t) = max(0, 1 - |t|)

Every lattice cell the ray crosses adds to its four corners. Far cells are integrated by Gauss-Legendre (all terms are
positive, so no digits cancel); cells near the origin, where rho^-r is steep and a cut-off may fall, in closed form.
Only directions of the first octant are stored, the others follow by symmetry of the lattice.

Sources: Matsakis, Wendling, "A New Way to Represent the Relative Position between Areal Objects", PAMI 1999 (F_r); Ni,
Bronevich, Matsakis, ICPR 2008 (from the correlation; they sample it along the ray, here it is integrated).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CORNERS = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])


class Cells(NamedTuple):
    """The lattice cells one ray crosses, in order: from rho = lo to hi within [k, k+1] x [l, l+1]."""

    c: float
    s: float
    lo: Floats
    hi: Floats
    k: Ints
    l: Ints  # noqa: E741 - k and l are the lattice indices of the formula


def _cells(theta: float, n: int) -> Cells:
    """Cells of the ray in direction theta (0 to pi/2) until it leaves [0, n]^2."""
    c, s = (0.0 if abs(x) < 1e-15 else x for x in (math.cos(theta), math.sin(theta)))
    ends = np.sort(np.concatenate([np.arange(1, n + 1) / x for x in (c, s) if x]))
    ends = ends[ends <= n / max(c, s) * (1 + 1e-12)]
    ends = ends[np.diff(ends, prepend=0.0) > 1e-11]
    lo = np.concatenate([[0.0], ends[:-1]])
    middle = (lo + ends) / 2
    k, l = (np.floor(middle * x + 1e-13).astype(np.int64) for x in (c, s))  # noqa: E741
    return Cells(c, s, lo, ends, k, l)


def _gauss_weights(cells: Cells, r: Floats, start: int) -> Floats:
    """Corner weights [cells, 4, len(r)] of the cells from `start` on."""
    nodes, heights = np.polynomial.legendre.leggauss(10 if np.abs(r).max() <= 6 else 24)
    lo, hi, k, l = (x[start:, None] for x in cells[2:])  # noqa: E741
    rho = (lo + hi) / 2 + (hi - lo) / 2 * nodes
    x, y = rho * cells.c - k, rho * cells.s - l
    hats = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], 1) * ((hi - lo) / 2 * heights)[:, None]
    powers = np.exp(-np.log(rho)[..., None] * r)
    return np.asarray(hats @ powers)


def _polynomials(cells: Cells, count: int) -> Floats:
    """The hats of the four corners in the first `count` cells, polynomials in rho: [count, 4, 3], constant first."""
    k, l = cells.k[:count].astype(float), cells.l[:count].astype(float)  # noqa: E741
    c, s = np.full(count, cells.c), np.full(count, cells.s)
    x = {0: (1 + k, -c), 1: (-k, c)}
    y = {0: (1 + l, -s), 1: (-l, s)}
    rows = [(x[i][0] * y[j][0], x[i][0] * y[j][1] + x[i][1] * y[j][0], x[i][1] * y[j][1]) for i, j in CORNERS.tolist()]
    return np.moveaxis(np.array(rows), 2, 0)


@dataclass(frozen=True, eq=False)
class Plan:
    """The operator for masks of sides up to n. Arrays over directions of the first octant [octant, ..].

    The last axis of `x`, `y` holds the corners of the near cells (4 each) and then the far lattice points.
    """

    n: int
    r: Floats
    x: Ints
    """displacements to the right [octant, 8 symmetries, 4 near + far]"""
    y: Ints
    """displacements upwards"""
    near_lo: Floats
    """[octant, near] where the ray enters a near cell, pixels"""
    near_hi: Floats
    near_hats: Floats
    """[octant, near, 4, 3] polynomials of the corners' hats"""
    far: Floats
    """weights of the far points [octant, far, len(r)]"""
    order: Ints
    """[directions] row of the [octant * 8] results that holds each direction"""
    distance: Ints
    """[far] least Chebyshev distance of the far points from this one on, over all directions"""

    @property
    def near(self) -> int:
        return int(self.near_lo.shape[1])

    def far_within(self, distance: int) -> int:
        """How many far points can hold mass if no displacement is longer than this (Chebyshev)."""
        return int(np.searchsorted(self.distance, distance, "right"))


def near_weights(hats: Any, lo: Any, hi: Any, r: Any, rho_min: Any, xp: Any) -> Any:
    """Weights of the near cells integrated from rho_min > 0: [.., octant, near, 4, len(r)] for rho_min [.., 1, 1].

    `xp` is numpy or torch; differentiable in rho_min. int_lo^hi rho^p = hi^q L expm1(-q L) / (-q L) with q = p + 1 and
    L = log(hi / lo), which is stable as q goes to 0.
    """
    start = xp.minimum(xp.maximum(lo, rho_min), hi)
    span = xp.log(hi / start)[..., None, None]
    q = xp.stack([power - r for power in (1, 2, 3)])
    x = -q * span
    small = xp.abs(x) < 1e-12
    ratio = xp.where(small, 1 + x / 2, xp.expm1(x) / xp.where(small, 1.0, x))
    return hats @ (hi[..., None, None] ** q * span * ratio)


def near_weights_uncut(plan: Plan) -> tuple[Floats, NDArray[np.bool_]]:
    """Weights from rho = 0, with 0 for every divergent corner, and which corners those are: both [octant, near, 4, r].

    In the cell at the origin the hats begin with the powers 0, 1, 1, 2 of rho (where their coefficients are not 0), so
    the corners diverge for r >= 1, 2, 2, 3.
    """
    r, hi, lo = plan.r, plan.near_hi, plan.near_lo
    first = (lo == 0)[..., None, None]
    weights = near_weights(plan.near_hats, np.where(lo == 0, hi, lo), hi, r, 0.0, np)
    q = np.arange(1, 4)[:, None] - r
    with np.errstate(divide="ignore"):
        moments = np.where(q > 0, hi[..., None, None] ** q / np.where(q > 0, q, 1), 0.0)
    powers = np.array([0, 1, 1, 2])
    diverges = r >= powers[:, None] + 1
    weights = np.where(first, np.where(diverges, 0.0, plan.near_hats @ moments), weights)
    present = np.abs(plan.near_hats[..., np.arange(4), powers])[..., None] > 0
    return weights, first & present & diverges


def _one_direction(theta: float, n: int, r: Floats, reach: float) -> tuple[dict[tuple[int, int], Floats], list[Any]]:
    """Far weights by lattice point and near cells of one ray, -pi/4 <= theta <= pi/2."""
    sign = -1 if theta < 0 else 1
    cells = _cells(abs(theta), n)
    near = int((cells.lo < reach).sum())
    hats = _polynomials(cells, near)
    nears = [
        (hats[i], cells.lo[i], cells.hi[i], (CORNERS + [cells.k[i], cells.l[i]]) * [1, sign])  # noqa: RUF005
        for i in range(near)
    ]
    weights = _gauss_weights(cells, r, near)
    points = CORNERS + np.stack([cells.k, cells.l], 1)[near:, None]
    far: dict[tuple[int, int], Floats] = {}
    for (x, y), weight in zip(points.reshape(-1, 2).tolist(), weights.reshape(-1, r.size), strict=True):
        if x < n and y < n and weight.any():
            far[x, sign * y] = far[x, sign * y] + weight if (x, sign * y) in far else weight
    return far, nears


def _binned(theta: float, width: float, count: int, n: int, r: Floats, reach: float) -> tuple[Any, list[Any]]:
    """Mean of `count` rays spread evenly over the bin of this width about theta."""
    total: dict[tuple[int, int], Floats] = {}
    nears: list[Any] = []
    for i in range(count):
        far, cells = _one_direction(theta + ((i + 0.5) / count - 0.5) * width, n, r, reach)
        for point, weight in far.items():
            total[point] = total.get(point, 0.0) + weight / count
        nears += [(hats / count, *rest) for hats, *rest in cells]
    return sorted(total.items(), key=lambda item: max(abs(item[0][0]), abs(item[0][1]))), nears


def _symmetries(x: Ints, y: Ints) -> tuple[Ints, Ints]:
    """The 8 images of points [octant, m]: quarter turns of the point and of its mirror image in the diagonal."""
    images = []
    for turn in range(4):
        for u, v in ((x, y), (y, x)):
            images.append([(u, v), (-v, u), (-u, -v), (v, -u)][turn])
    xs, ys = (np.stack(part, 1) for part in zip(*images, strict=True))
    return xs, ys


def _order(directions: int) -> Ints:
    quarter = directions // 4
    order = np.empty(directions, np.int64)
    for j in range(directions):
        turn, rest = divmod(j, quarter)
        base, mirrored = (rest, 0) if rest <= quarter // 2 else (quarter - rest, 1)
        order[j] = base * 8 + 2 * turn + mirrored
    return order


@functools.lru_cache(maxsize=16)
def make_plan(n: int, directions: int, r: tuple[float, ...], sub_angles: int = 1, reach: float = 1.0) -> Plan:
    """The plan for displacements below n pixels; cells that begin within `reach` pixels of the origin are near ones."""
    forces, width = np.array(r, float), 2 * math.pi / directions
    rays = [_binned(j * width, width, sub_angles, n, forces, reach) for j in range(directions // 8 + 1)]
    near, far = (max(len(part[i]) for part in rays) for i in (1, 0))
    points = np.full((len(rays), 4 * near + far, 2), [n, 0])  # padding points where there is never mass
    weights, distance = np.zeros((len(rays), far, forces.size)), np.full((len(rays), far), n)
    hats, lo, hi = np.zeros((len(rays), near, 4, 3)), np.ones((len(rays), near)), np.ones((len(rays), near))
    for j, (lattice, cells) in enumerate(rays):
        for i, cell in enumerate(cells):
            hats[j, i], lo[j, i], hi[j, i], points[j, 4 * i : 4 * i + 4] = cell
        if lattice:
            points[j, 4 * near : 4 * near + len(lattice)] = [point for point, _ in lattice]
            weights[j, : len(lattice)] = [weight for _, weight in lattice]
            distance[j, : len(lattice)] = [max(map(abs, point)) for point, _ in lattice]
    x, y = _symmetries(points[..., 0], points[..., 1])
    return Plan(n, forces, x, y, lo, hi, hats, weights, _order(directions), distance.min(0))


def plan_size(displacement: int) -> int:
    """The next of 8, 12, 16, 24, 32, 48, ... above the longest displacement: few plans serve masks of any size."""
    power = 8
    while True:
        for size in (power, power * 3 // 2):
            if size > displacement:
                return size
        power *= 2


def plan_reach(rho_min: float) -> float:
    """A power of two of at least rho_min and 1 pixel, within which cells are integrated anew for every cut-off."""
    return float(2 ** max(0, math.ceil(math.log2(max(rho_min, 1.0)))))
