"""The operator from correlations to force histograms: all directions and forces of one request, ready to multiply.

Only directions of the first octant are stored, the others follow by symmetry of the lattice. With many forces the far
weights are smooth in r: between rho and 3 rho, rho^-r is interpolated from some 24 forces at Chebyshev nodes to 1e-13
of itself, so that a third of the multiplications and a fifth of the memory do. Single precision would lose
digits by it, and goes without.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nearfar.spatial.force_kernel import Floats, Ints, binned_ray

EDGES = (0, 8, 24, 72, 216, 648, 1944, 5832)
"""Chebyshev distances at which blocks of far points begin; the first is not interpolated."""


class Block(NamedTuple):
    """Far points in a range of distances: mass @ weights is their share of F, at the nodes unless it is the first."""

    start: int
    """of its points among the far ones"""
    weights: Floats
    """[octant, points, len(r) or nodes]"""


class NearCells(NamedTuple):
    """Cells near the origin, arrays or tensors; those that fill up a direction have no length."""

    lo: Any
    """[octant, near] where the ray enters, pixels"""
    hi: Any
    hats: Any
    """[octant, near, 4, 3] the corners' hats as polynomials in rho"""
    scale: Any
    """[octant, near, 3, len(r)] hi^q / q of the moments"""


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
    cells: NearCells
    blocks: tuple[Block, ...]
    expand: Floats
    """[nodes of all blocks but the first, one after the other, len(r)]: what turns shares at nodes into shares of F"""
    order: Ints
    """[directions] row of the [octant * 8] results that holds each direction"""
    distance: Ints
    """[far] least Chebyshev distance of the far points at this place, over all directions: it does not fall"""

    @property
    def near(self) -> int:
        return int(self.cells.lo.shape[1])

    def far_within(self, distance: int) -> int:
        """How many far points can hold mass if no displacement is longer than this (Chebyshev)."""
        return int(np.searchsorted(self.distance, distance, "right"))


def _exponents(r: Any, xp: Any) -> Any:
    """q = p + 1 of the moments int rho^p, p = 0 - r, 1 - r, 2 - r: [3, len(r)]; never quite 0."""
    q = xp.stack([power - r for power in (1, 2, 3)])
    return xp.where(xp.abs(q) < 1e-14, 1e-14, q)


def near_weights(near: NearCells, r: Any, rho_min: Any, xp: Any) -> Any:
    """Weights of the near cells integrated from rho_min > 0: [.., octant, near, 4, len(r)] for rho_min [.., 1, 1].

    `xp` is numpy or torch; differentiable in rho_min. int_lo^hi rho^p = hi^q / q (1 - (lo / hi)^q), q = p + 1, with the
    bracket by expm1, so that q may go to 0.
    """
    start = xp.minimum(xp.maximum(near.lo, rho_min), near.hi)
    logs = xp.log(start / near.hi)[..., None, None]
    return near.hats @ (-near.scale * xp.expm1(_exponents(r, xp) * logs))


def near_weights_uncut(plan: Plan) -> tuple[Floats, NDArray[np.bool_]]:
    """Weights from rho = 0, with 0 for every divergent corner, and which corners those are: both [octant, near, 4, r].

    In the cell at the origin the hats begin with the powers 0, 1, 1, 2 of rho (where their coefficients are not 0), so
    the corners diverge for r >= 1, 2, 2, 3.
    """
    r, cells = plan.r, plan.cells
    first = (cells.lo == 0)[..., None, None]
    others = near_weights(cells._replace(lo=np.where(cells.lo == 0, cells.hi, cells.lo)), r, 0.0, np)
    moments = np.where(_exponents(r, np) > 1e-14, cells.scale, 0.0)
    powers = np.array([0, 1, 1, 2])
    diverges = r >= powers[:, None] + 1
    weights = np.where(first, np.where(diverges, 0.0, cells.hats @ moments), others)
    present = np.abs(cells.hats[..., np.arange(4), powers])[..., None] > 0
    return weights, first & present & diverges


def _interpolation(r: Floats) -> tuple[Floats, Floats]:
    """Chebyshev nodes r_j over the range of r, and the Lagrange polynomials there l_j(r) [nodes, len(r)].

    No nodes where they save nothing. The error of exp(x y), |y| <= 1, is about 2 e^x (x / 2)^k / k! of its least value.
    """
    half, middle = np.ptp(r) / 2, (r.max() + r.min()) / 2
    x = half * math.log(EDGES[2] * math.sqrt(2) / (EDGES[1] - 1)) / 2
    count = next(k for k in range(2, 500) if x + k * math.log(x / 2 + 1e-9) - math.lgamma(k + 1) < math.log(1e-15))
    if 2 * count > r.size or x > 6:
        return np.zeros(0), np.zeros((0, r.size))
    angle = math.pi * (np.arange(count) + 0.5) / count
    nodes, signs = middle + half * np.cos(angle), np.sin(angle) * (-1) ** np.arange(count)
    away = r - nodes[:, None]
    at_node = np.abs(away) < 1e-13
    terms = np.where(at_node.any(0), at_node * 1.0, signs[:, None] / np.where(at_node, 1.0, away))
    return nodes, terms / terms.sum(0)


def _make_blocks(
    rays: list[Any], n: int, r: Floats, nodes: Floats, lagrange: Floats
) -> tuple[tuple[Block, ...], Floats, Ints, Ints]:
    """The blocks, `expand`, the lattice points [octant, far, 2] and their distances [octant, far].

    Points are padded with empty places.
    """
    edges = [e for e in EDGES if e < n] if nodes.size else [0]
    blocks, expand, places, distances, start = [], [np.zeros((0, r.size))], [], [], 0
    for lo, hi in zip(edges, [*edges[1:], n], strict=True):
        rows = [[item for item in lattice if lo <= item[0] < hi] for lattice, _ in rays]
        size = max(map(len, rows))
        points, distance = np.full((len(rays), size, 2), [n, 0]), np.full((len(rays), size), n)
        weights = np.zeros((len(rays), size, r.size + nodes.size))
        for j, row in enumerate(rows):
            for i, (far, point, weight) in enumerate(row):
                distance[j, i], points[j, i], weights[j, i] = far, point, weight
        if lo:
            centre = math.sqrt((lo - 1) * hi * math.sqrt(2))
            expand.append(centre ** (nodes[:, None] - r) * lagrange)
        columns = slice(r.size, None) if lo else slice(r.size)
        blocks.append(Block(start, np.ascontiguousarray(weights[..., columns])))
        places.append(points)
        distances.append(distance)
        start += size
    return tuple(blocks), np.concatenate(expand), np.concatenate(places, 1), np.concatenate(distances, 1)


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
def make_plan(
    n: int, directions: int, r: tuple[float, ...], sub_angles: int = 1, reach: float = 1.0, interpolate: bool = True
) -> Plan:
    """The plan for displacements below n pixels; cells that begin within `reach` pixels of the origin are near ones."""
    forces, width = np.array(r, float), 2 * math.pi / directions
    nodes, lagrange = _interpolation(forces) if interpolate else (np.zeros(0), np.zeros((0, forces.size)))
    both = np.concatenate([forces, nodes])
    rays = [binned_ray(j * width, width, sub_angles, n, both, reach) for j in range(directions // 8 + 1)]
    blocks, expand, far, distance = _make_blocks(rays, n, forces, nodes, lagrange)
    near = max(len(cells) for _, cells in rays)
    corners = np.full((len(rays), 4 * near, 2), [n, 0])  # padding points where there is never mass
    hats, lo, hi = np.zeros((len(rays), near, 4, 3)), np.ones((len(rays), near)), np.ones((len(rays), near))
    for j, (_, row) in enumerate(rays):
        for i, cell in enumerate(row):
            hats[j, i], lo[j, i], hi[j, i], corners[j, 4 * i : 4 * i + 4] = cell
    points = np.concatenate([corners, far], 1)
    x, y = _symmetries(points[..., 0], points[..., 1])
    q = _exponents(forces, np)
    cells = NearCells(lo, hi, hats, hi[..., None, None] ** q / q)
    return Plan(n, forces, x, y, cells, blocks, expand, _order(directions), distance.min(0))


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
