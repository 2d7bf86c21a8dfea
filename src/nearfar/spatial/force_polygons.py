"""Force banners of polygons, exactly and without pixels, by longitudinal sections.

Lines in direction theta meet A and B in segments I = [a0, a1] and J = [b0, b1] whose ends move linearly between the
projections of vertices and crossings, and for each line, with G'' = t^-r and G(t) = 0 for t <= 0,

    int_I int_J (x - y)_+^-r = G(a1 - b0) - G(a0 - b0) - G(a1 - b1) + G(a0 - b1)

(Matsakis, Wendling, PAMI 1999: their cases before, overlaps, contains and during are all this one). G of a linear
function has a closed integral, so nothing is left to quadrature. A cut-off rho0 takes G from rho0 in place of 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.spatial.force_normalize import fold, normalized
from nearfar.spatial.force_options import CUTOFF, FORCES, ForceOptions, Normalization, Policy

Floats = NDArray[np.float64]
Rings = Sequence[Any] | NDArray[Any]

CONTACT = 1e-12
"""Ends this near, in parts of lam, touch."""
SNAP = 1e-8
"""Forces this near to 1 and 2 are taken as 1 and 2, whose formulas differ."""


class _Segments(NamedTuple):
    """Pairs of segments over panels of lines: the four differences of their ends on the first and last line [K, 4]."""

    first: Floats
    last: Floats
    width: Floats


def _edges(rings: Rings, name: str) -> Floats:
    """Edges [E, 2 ends, 2] with y up of one ring [n, 2] or several (even-odd); raises for what is no polygon."""
    several = rings if not (isinstance(rings, np.ndarray) and rings.ndim == 2) and np.ndim(rings[0]) > 1 else [rings]
    edges = []
    for ring in several:
        points = np.asarray(ring, float)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise ShapeError(
                f"a ring of polygon {name} has a wrong shape", found=points.shape, expected="[3 or more, 2]"
            )
        if not np.isfinite(points).all():
            raise DataError(f"polygon {name} holds coordinates that are not finite")
        points = points * [1.0, -1.0]
        edges.append(np.stack([points, np.roll(points, -1, 0)], 1))
    return np.concatenate(edges)


def _crossings(p: Floats, q: Floats) -> Floats:
    """Points where edges p [E, 2, 2] cross edges q [F, 2, 2]: [K, 2]."""
    start, along, across = p[:, None, 0], (p[:, 1] - p[:, 0])[:, None], (q[:, 1] - q[:, 0])[None]
    apart = q[None, :, 0] - start
    det = along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0]
    safe = np.where(np.abs(det) > 1e-14, det, np.inf)
    s = (apart[..., 0] * across[..., 1] - apart[..., 1] * across[..., 0]) / safe
    t = (apart[..., 0] * along[..., 1] - apart[..., 1] * along[..., 0]) / safe
    hit = np.isfinite(safe) & (s >= -1e-12) & (s <= 1 + 1e-12) & (t >= -1e-12) & (t <= 1 + 1e-12)
    return np.asarray((start + s[..., None] * along)[hit])


def _sections(edges: Floats, lo: Floats, hi: Floats) -> Floats:
    """Segments where lines v in (lo, hi) meet the polygon: positions [panels, segments, 2 ends, first and last line].

    `edges` [E, 2 ends, (v, u)]. Panels with fewer segments are filled with NaN.
    """
    (v0, u0), (v1, u1) = edges[:, 0].T, edges[:, 1].T
    middle = ((lo + hi) / 2)[:, None]
    active = (np.minimum(v0, v1) < middle) & (np.maximum(v0, v1) > middle)
    slope = np.where(v1 != v0, (u1 - u0) / np.where(v1 != v0, v1 - v0, 1), 0.0)
    order = np.argsort(np.where(active, u0 + (middle - v0) * slope, np.inf), 1)
    count = max(2, int(active.sum(1).max(initial=0)) // 2 * 2)
    order = order[:, :count]
    ends = [(u0 + (v[:, None] - v0) * slope) for v in (lo, hi)]
    on_line = np.stack([np.take_along_axis(np.where(active, e, np.nan), order, 1) for e in ends], -1)
    return on_line.reshape(len(lo), count // 2, 2, 2)


def _panels(points: Floats) -> tuple[Floats, Floats]:
    v = np.sort(points)
    v = v[np.diff(v, prepend=-np.inf) > CONTACT]
    return v[:-1], v[1:]


def _segments(a: Floats, b: Floats, meets: Floats, theta: float, rho0: float) -> _Segments:
    """All pairs of segments of the lines in direction theta on which A has something ahead of B."""
    u = np.array([math.cos(theta), math.sin(theta)])
    frame = np.stack([[-u[1], u[0]], u], 1)  # a point times this is (v, u): across and along
    shifted = _crossings(a, b + rho0 * u) if rho0 else np.zeros((0, 2))
    lo, hi = _panels(np.concatenate([a.reshape(-1, 2), b.reshape(-1, 2), meets, shifted]) @ frame[:, 0])
    sections = [_sections(edges @ frame, lo, hi) for edges in (a, b)]
    first = (
        sections[0][:, :, None, :, None, :] - sections[1][:, None, :, None, :, :]
    )  # [panels, I, J, end a, end b, line]
    width = np.broadcast_to((hi - lo)[:, None, None], first.shape[:3])
    keep = (first[..., 1, 0, :] > CONTACT).any(-1)
    kept = first[keep]
    terms = np.stack([kept[:, 1, 0], kept[:, 0, 0], kept[:, 1, 1], kept[:, 0, 1]], 1)
    return _Segments(terms[..., 0], terms[..., 1], width[keep])


def _ratio(x: Floats) -> Floats:
    """expm1(x) / x"""
    small = np.abs(x) < 1e-12
    return np.asarray(np.where(small, 1 + x / 2, np.expm1(x) / np.where(small, 1, x)))


def _mean_g(top: Floats, log_x: Floats, r: float, rho0: Floats) -> Floats:
    """Mean of G while t goes linearly between top and top * exp(log_x); G and G' are 0 at rho0 where rho0 > 0."""
    x = np.exp(log_x)
    mean, share = top * (1 + x) / 2, 1 / _ratio(log_x)
    cut = rho0 > 0
    start = np.where(cut, rho0, 1.0)
    if abs(r - 1) < SNAP:
        plain = top / 2 * ((1 + x) * np.log(top / start) + x * x * share) - 1.5 * mean
        return np.asarray(plain + np.where(cut, rho0, 0.0))
    if abs(r - 2) < SNAP:
        plain = 1 - np.log(top / start) - x * share
        return np.asarray(plain + np.where(cut, mean / start - 1, 0.0))
    plain = top ** (2 - r) * _ratio((3 - r) * log_x) * share
    line = np.where(cut, start ** (2 - r) + (2 - r) * start ** (1 - r) * (mean - start), 0.0)
    return np.asarray((plain - line) / ((1 - r) * (2 - r)))


def _diverges(segments: _Segments, r: float) -> NDArray[np.bool_]:
    """Which pairs of segments overlap (r >= 1), touch along an edge (r >= 2) or at a corner (r >= 3)."""
    low, high = np.sort(np.stack([segments.first[:, 3], segments.last[:, 3]]), 0)
    if r >= 3:
        return np.asarray(low < CONTACT)
    overlaps = (low + high) / 2 < -CONTACT
    touches = (np.abs(low) < CONTACT) & (np.abs(high) < CONTACT)
    return np.asarray(overlaps | touches if r >= 2 else overlaps & (r >= 1))


def _integrals(segments: _Segments, r: float, rho0: float) -> Floats:
    """int dv of the four terms for each pair of segments [K]."""
    floor, contact = max(rho0, 1e-290), max(rho0, CONTACT)
    first, last = (np.where(t < contact, floor, t) for t in (segments.first, segments.last))
    top = np.maximum(first, last)
    # Apart, the straight line that the cut-off takes from G falls out of the four terms, and would cost digits.
    inside = np.minimum(segments.first, segments.last).min(1, keepdims=True) < rho0
    with np.errstate(over="ignore"):  # where it diverges, which is seen to below
        terms = _mean_g(top, np.log(np.minimum(first, last) / top), r, np.where(inside, rho0, 0.0))
    values = (np.where(top > floor, terms, 0.0) @ [1.0, -1.0, -1.0, 1.0]) * segments.width
    return values if rho0 else np.where(_diverges(segments, r), np.inf, values)


def _histograms(a: Floats, b: Floats, options: ForceOptions) -> Floats:
    """[len(r), directions] of edges in units of lam."""
    rho0 = options.cutoff if options.policy == "cutoff" else 0.0
    both = np.concatenate([a, b])
    meets = _crossings(both, both)
    count = options.directions * options.sub_angles
    angles = 2 * math.pi * ((np.arange(count) + 0.5) / options.sub_angles - 0.5) / options.directions
    parts = [_segments(a, b, meets, float(theta), rho0) for theta in angles]
    column = np.repeat(np.arange(count) // options.sub_angles, [len(part.width) for part in parts])
    joined = _Segments(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))
    rows = [np.bincount(column, _integrals(joined, r, rho0), options.directions) for r in options.r]
    return np.stack(rows) / options.sub_angles


def _area(edges: Floats) -> float:
    lo, hi = _panels(np.concatenate([edges.reshape(-1, 2), _crossings(edges, edges)])[:, 1])
    sections = _sections(edges[..., ::-1], lo, hi)
    return float(np.nansum((sections[:, :, 1] - sections[:, :, 0]).mean(-1) * (hi - lo)[:, None]))


def polygon_banner(
    a: Rings,
    b: Rings | None = None,
    r: Iterable[float] = FORCES,
    directions: int = 180,
    *,
    policy: Policy = "auto",
    cutoff: float = CUTOFF,
    normalize: Normalization = "row_max",
    symmetric: bool = False,
    sub_angles: int = 1,
) -> Floats:
    """The force banner of two polygons: [len(r), directions] (float64). Options as in `force_banner`.

    a, b: a ring [n, 2] of (x, y) in image coordinates, y downwards, or a list of rings, of which the even-odd rule
        makes holes and islands. Without b the self banner of a. Policy "drop" is one of pixels, refused for r >= 1.
    Raises ShapeError, DataError (no area, NaN) and ConfigError.
    """
    options = ForceOptions.of(
        r,
        directions=directions,
        policy=policy,
        cutoff=cutoff,
        normalize=normalize,
        symmetric=symmetric,
        sub_angles=sub_angles,
    )
    if options.policy == "drop" and max(options.r) >= 1:
        raise ConfigError(
            "policy 'drop' leaves out corners of pixels, which polygons have not", fix="Use 'cutoff' or 'inf'."
        )
    edges = [_edges(rings, name) for rings, name in ((a, "a"), (a if b is None else b, "b"))]
    areas = [_area(e) for e in edges]
    for area, name in zip(areas, "ab", strict=True):
        if not area > 0:
            raise DataError(f"polygon {name} has no area")
    lam = (areas[0] * areas[1]) ** 0.25
    corner = np.concatenate(edges).reshape(-1, 2).min(0)
    raw = _histograms((edges[0] - corner) / lam, (edges[1] - corner) / lam, options)
    raw = raw * lam ** (3 - np.array(options.r))[:, None]
    side = np.ptp(np.concatenate(edges).reshape(-1, 2), 0).max()
    raw = fold(raw) if options.symmetric else raw
    return np.asarray(normalized(raw[None], options, np.array([lam**4]), np.array([side]), np)[0])
