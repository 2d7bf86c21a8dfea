"""Weights that turn a cross-correlation of pixel masks into force histograms, exactly.

For unit-square pixels the covariogram Psi(d) = area of {p : p + d in A, p in B} is the bilinear interpolation of the
discrete correlation C[dx, dy] = sum_p a(p + d) b(p), so along the ray of direction theta, with (c, s) = (cos, sin),

    F_r(theta) = int_0^inf rho^-r Psi(rho (c, s)) d rho = sum_{dx, dy} C[dx, dy] W[dx, dy]
    W[dx, dy]  = int_0^inf rho^-r h(rho c - dx) h(rho s - dy) d rho,    h(t) = max(0, 1 - |t|)

Every lattice cell the ray crosses adds to its four corners. Far cells are integrated by Gauss-Legendre (all terms are
positive, so no digits cancel); cells near the origin, where rho^-r is steep and a cut-off may fall, in closed form, by
`force_plan`, which puts the rays together.

Sources: Matsakis, Wendling, "A New Way to Represent the Relative Position between Areal Objects", PAMI 1999 (F_r); Ni,
Bronevich, Matsakis, ICPR 2008 (from the correlation; they sample it along the ray, here it is integrated).
"""

from __future__ import annotations

import math
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


def binned_ray(theta: float, width: float, count: int, n: int, r: Floats, reach: float) -> tuple[list[Any], list[Any]]:
    """Mean of `count` rays spread evenly over the bin of this width about theta.

    Far lattice points as (Chebyshev distance, (x, y), weights [len(r)]), nearest first, and near cells as (polynomials
    of the corners' hats, where the ray enters and leaves, corners).
    """
    total: dict[tuple[int, int], Floats] = {}
    nears: list[Any] = []
    for i in range(count):
        points, cells = _one_direction(theta + ((i + 0.5) / count - 0.5) * width, n, r, reach)
        for point, weight in points.items():
            total[point] = total.get(point, 0.0) + weight / count
        nears += [(hats / count, *rest) for hats, *rest in cells]
    far = [(max(abs(x), abs(y)), (x, y), weight) for (x, y), weight in total.items()]
    return sorted(far, key=lambda item: item[0]), nears
