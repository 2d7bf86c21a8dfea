"""Force histograms of NumPy masks: correlate, then apply the plan's weights, pair by pair."""

from __future__ import annotations

import functools
import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import DataError
from nearfar.spatial.force_correlation import Correlation, correlate
from nearfar.spatial.force_options import ForceOptions, Policy
from nearfar.spatial.force_plan import Block, Plan, make_plan, near_weights, near_weights_uncut, plan_reach, plan_size

Array = NDArray[Any]
Kind = type[np.floating[Any]]


def check_mask(mask: Any, name: str) -> Array:
    """The mask as an array; raises a DataError for values that are no memberships and for an empty mask."""
    array = np.asarray(mask)
    rows = array.reshape(-1, max(1, array.shape[-1] * array.shape[-2]))
    if array.dtype == np.bool_:
        smallest, largest, full = False, True, rows.any(1)
    elif array.dtype.kind in "iuf" and array.size:
        tops = rows.max(1)
        smallest, largest, full = array.min(), tops.max(), tops > 0
    else:
        raise DataError(f"mask {name} holds no numbers", found=f"{array.dtype} {array.shape}")
    if not (smallest >= 0 and largest <= 1):  # NaN fails as well
        found = "NaN" if np.isnan(smallest) else f"{smallest:g} to {largest:g}"
        fix = "Divide 8-bit masks by 255." if largest == 255 else None
        raise DataError(f"mask {name} holds values that are no memberships", found=found, expected="0 to 1", fix=fix)
    if not full.all():
        where = tuple(int(i) for i in np.unravel_index(int(np.argmin(full)), array.shape[:-2]))
        raise DataError(f"mask {name}{list(where) if where else ''} is empty: it has no position to speak of")
    return array


@functools.lru_cache(maxsize=16)
def _near(plan: Plan) -> tuple[Array, Array]:
    """Weights of the near corners [octant, 4 near, r] without a cut-off, and the flags of the divergent ones."""
    weights, diverges = (x.reshape(len(plan.x), -1, plan.r.size) for x in near_weights_uncut(plan))
    return weights, diverges * 1.0


@functools.lru_cache(maxsize=16)
def _single_blocks(plan: Plan) -> tuple[Block, ...]:
    """The blocks of far points in single precision."""
    return tuple(Block(block.start, block.weights.astype(np.float32)) for block in plan.blocks)


@functools.lru_cache(maxsize=16)
def _indices(plan: Plan) -> NDArray[np.intp]:
    """Where each point lies in a flattened table of 2 n + 1 squared with the origin in its middle."""
    return np.asarray((plan.y + plan.n) * (2 * plan.n + 1) + plan.x + plan.n, np.intp)


class _Scratch(threading.local):
    """Working memory kept between calls: fresh pages cost more than the arithmetic on some systems."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, Kind], Array] = {}

    def __call__(self, name: str, kind: Kind, *shape: int) -> Array:
        """An array of this kind and shape, with anything in it, valid until this thread asks for the name again."""
        size, key = math.prod(shape), (name, kind)
        if key not in self._buffers or self._buffers[key].size < size:
            self._buffers[key] = np.empty(size, kind)
        return self._buffers[key][:size].reshape(shape)


_scratch = _Scratch()


def _masses(plan: Plan, correlation: Correlation, count: int, kind: Kind) -> Array:
    """The mass at the first `count` points of every direction: [octant, 8, count]."""
    (counts, up, right), n = correlation, plan.n
    table = _scratch("table", kind, 2 * n + 1, 2 * n + 1)
    table.fill(0)
    table[n - up : n - up + counts.shape[0], n - right : n - right + counts.shape[1]] = counts
    mass = _scratch("mass", kind, *plan.x.shape[:2], count)
    return table.ravel().take(_indices(plan)[..., :count], mode="clip", out=mass)


def _share(mass: Array, block: Block, out: Array) -> None:
    """Write into `out` [octant, 8, ..] what the masses [octant, 8, far] at a block's points add up to."""
    part = mass[..., block.start : block.start + block.weights.shape[1]]
    if part.any():
        np.matmul(part, block.weights[:, : part.shape[-1]], out=out)
    else:
        out.fill(0)


def _far_forces(plan: Plan, mass: Array, result: Array, kind: Kind) -> None:
    """Write into `result` [octant, 8, r] what the masses at the first far points [octant, 8, ..] add up to."""
    first, *others = _single_blocks(plan) if kind is np.float32 else plan.blocks
    _share(mass, first, result)
    if not others:
        return
    nodes = _scratch("nodes", kind, *mass.shape[:2], len(plan.expand))
    width = len(plan.expand) // len(others)
    for i, block in enumerate(others):
        _share(mass, block, nodes[..., i * width : (i + 1) * width])
    expanded = _scratch("expanded", kind, *result.shape)
    np.matmul(nodes.reshape(-1, len(plan.expand)), plan.expand, out=expanded.reshape(-1, plan.r.size))
    result += expanded


def _apply(plan: Plan, correlation: Correlation, policy: Policy, rho_min: float, kind: Kind) -> Array:
    """[len(r), directions] of one pair, in working memory."""
    near = 4 * plan.near
    mass = _masses(plan, correlation, near + plan.far_within(correlation.longest), kind)
    result = _scratch("result", kind, *plan.x.shape[:2], plan.r.size)
    _far_forces(plan, mass[..., near:], result, kind)
    close = mass[..., :near]
    if close.any():  # objects apart have no pair of pixels there
        weights, diverges = _near(plan)
        if policy == "cutoff":
            cut = near_weights(plan.cells, plan.r, rho_min, np)
            weights = cut.reshape(weights.shape)
        weights = weights.astype(kind, copy=False)
        result += np.matmul(close, weights, out=_scratch("expanded", kind, *result.shape))
        if policy == "inf":
            result[close @ diverges > 0] = np.inf
    ordered = _scratch("ordered", kind, len(plan.order), plan.r.size)
    return result.reshape(-1, plan.r.size).take(plan.order, axis=0, mode="clip", out=ordered).T


def _one_pair(a: Array, b: Array, rho_min: float, options: ForceOptions, single: bool) -> Array:
    correlation = correlate(a, b)
    reach = plan_reach(rho_min) if options.policy == "cutoff" else 1.0
    plan = make_plan(plan_size(correlation.longest), options.directions, options.r, options.sub_angles, reach)
    # All terms are positive, so single precision loses next to nothing, except through interpolation.
    kind = np.float32 if single and not len(plan.expand) else np.float64
    return _apply(plan, correlation, options.policy, rho_min, kind)


def raw_banner(a: Array, b: Array, rho_min: Array, options: ForceOptions) -> Array:
    """F_r(theta) of masks [B, H, W] with cut-offs [B] in pixels: [B, len(r), directions], pixels^(3 - r).

    float32 masks get float32 unless the forces need more; they are correlated in double precision all the same.
    """
    single = bool(np.result_type(a, b) == np.float32 and not options.needs_double)
    out = np.empty((len(a), len(options.r), options.directions), np.float32 if single else np.float64)
    for i in range(len(a)):  # one by one: larger arrays would cost more in fresh memory than they save
        out[i] = _one_pair(a[i], b[i], float(rho_min[i]), options, single)
    return out
