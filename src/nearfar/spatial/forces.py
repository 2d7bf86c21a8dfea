"""Force histograms and force banners: how region A lies to region B, in every direction, for every kind of force.

    F_r^AB(theta) = int_0^inf rho^-r Psi(rho u_theta) d rho,    Psi(d) = area of {p : p + d in A, p in B}

is the total force that A exerts on B along theta if points attract as rho^-r: "A is in direction theta of B", theta
counter-clockwise from the right with y up, although masks are [row, column] with rows downwards. F_0 weighs pairs of
sections alike, F_2 is gravitation, negative r lets far pairs count most. A banner stacks one histogram for each r.
For pixel masks the integral is exact (`force_kernel`), grey memberships multiply ("double cuts").

Where A and B overlap, F_r diverges for r >= 1, where they touch for r >= 2 (at corners alone for r >= 3). `policy`:

    cutoff  integrate from rho >= cutoff * lam, lam = (|A| |B|)^(1/4): finite, smooth in r, unchanged by scaling; the
            cut falls on all rows, also those with r < 1
    drop    leave out the divergent corner of the first lattice cell (Ni et al.); jumps between rows at r = 1, 2, 3
    inf     what the integral is
    auto    cutoff if any r >= 1, else nothing diverges and nothing is cut

Sources: Matsakis, Wendling, PAMI 1999 (F_r); Delearde, Kurtz, Wendling, "Description and recognition of complex spatial
configurations of object pairs with Force Banner 2D features", Pattern Recognition 2022 (banner).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import ConfigError
from nearfar.spatial import force_numpy
from nearfar.spatial.force_normalize import fold, normalized
from nearfar.spatial.force_options import CUTOFF, FORCES, ForceOptions, Normalization, Policy, check_shapes

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", NDArray[Any], "Tensor")


def _library(a: Any, b: Any) -> tuple[ModuleType, ModuleType]:
    """(torch, its implementation) for two tensors, (numpy, its implementation) for arrays."""
    torch = sys.modules.get("torch")  # nobody holds a tensor who has not imported it
    tensors = [torch is not None and isinstance(x, torch.Tensor) for x in (a, b)]
    if torch is None or not any(tensors):
        return np, force_numpy
    if not all(tensors) or a.device != b.device:
        found = (
            f"{type(a).__name__} on {a.device} and {type(b).__name__} on {b.device}" if all(tensors) else "a mixture"
        )
        expected = "two arrays, or two tensors on one device"
        raise ConfigError("masks a and b are not of one kind", found=found, expected=expected)
    from nearfar.spatial import force_torch

    return torch, force_torch


class _Pair(NamedTuple):
    """Checked masks [B, H, W] of one library, and what is known of them."""

    a: Any
    b: Any
    area_a: Any
    area_b: Any
    lead: tuple[int, ...]
    xp: ModuleType
    implementation: Any

    def finish(self, raw: Any, options: ForceOptions) -> Any:
        """Raw banners [B, len(r), directions], normalised, of the leading sizes that the masks came with."""
        if options.symmetric:
            raw = fold(raw)
        side = _union_side(self.a, self.b, self.xp) if options.normalize == "mass" else None
        result = normalized(raw, options, self.area_a * self.area_b, side, self.xp)
        result = result.astype(raw.dtype, copy=False) if self.xp is np else result.to(raw.dtype)
        return result.reshape((*self.lead, *result.shape[1:]))


def _pair(a: Any, b: Any) -> _Pair:
    xp, implementation = _library(a, b)
    if xp is np:
        a, b = np.asarray(a), np.asarray(b)
    check_shapes(tuple(a.shape), tuple(b.shape))
    a, b = implementation.check_mask(a, "a"), implementation.check_mask(b, "b")
    lead = tuple(np.broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2])))
    size = tuple(a.shape[-2:])
    a, b = (xp.broadcast_to(m, lead + size).reshape((math.prod(lead), *size)) for m in (a, b))
    exact = (xp.float32, xp.float64)
    areas = [m.sum((1, 2), dtype=m.dtype if m.dtype in exact else xp.float64) for m in (a, b)]
    return _Pair(a, b, areas[0], areas[1], lead, xp, implementation)


def _union_side(a: Any, b: Any, xp: Any) -> Any:
    """The longer side of the box round both supports [B], pixels."""
    union = (a > 0) | (b > 0)
    sides = []
    for axis in (1, 2):
        line = union.any(3 - axis)
        size = line.shape[1]
        first, last = xp.argmax(line * 1, 1), xp.argmax(xp.flip(line, (1,)) * 1, 1)
        sides.append(size - first - last)
    return xp.maximum(*sides) * 1.0


def force_banner(
    a: Array,
    b: Array | None = None,
    r: Iterable[float] = FORCES,
    directions: int = 180,
    *,
    policy: Policy = "auto",
    cutoff: float = CUTOFF,
    normalize: Normalization = "row_max",
    symmetric: bool = False,
    sub_angles: int = 1,
) -> Array:
    """The force banner of masks a and b: [.., len(r), directions], row i for r[i], column j for 2 pi j / directions.

    a, b: [.., H, W] memberships in 0..1 of one image, bool, integer or floating, NumPy arrays or torch tensors; leading
        sizes broadcast. Without b the self banner of a. Arrays are correlated exactly by run lengths; tensors pass
        through the FFT on their device and are differentiable in both. float32 gives float32 (float64 for forces beyond
        8), bool and integer tensors the default dtype, other masks float64, which is right to about 1e-12. On a CPU and
        without gradients arrays are the quicker kind.
    r: forces, any real numbers from -20 to 20 in any order.
    directions: columns, divisible by 4 (quarter turns of the masks are then shifts of the columns, exactly).
    policy, cutoff: what to do where the integral diverges, see the module; cutoff in parts of lam.
    normalize: "row_max" (as C-SIP does), "global_max", "scale", "mass", "log" or "none", see `force_normalize`.
        row_max forgets how far the objects are apart; scale, mass and log keep it.
    symmetric: F(theta) + F(theta + pi) on directions / 2 columns; the same for (a, b) and (b, a).
    sub_angles: average each column over this many rays in its bin instead of taking the one in its middle.

    Raises ShapeError for masks of different images, DataError for empty masks, NaN and values outside 0..1, ConfigError
    for options that are none. Unnormalised values are in pixels^(3 - r).
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
    pair = _pair(a, a if b is None else b)
    rho_min = options.cutoff * (pair.area_a * pair.area_b) ** 0.25
    result: Array = pair.finish(pair.implementation.raw_banner(pair.a, pair.b, rho_min, options), options)
    return result


def _hybrid_cutoff(pair: _Pair) -> Any:
    """Y0: 1 % of the diameter of a disc as large as the smaller object, or 3 diameters of one as large as A and B."""
    meet = (pair.a * pair.b).sum((1, 2)) * 1.0
    smaller = pair.xp.minimum(pair.area_a, pair.area_b)
    return (4 / math.pi * pair.xp.maximum(1e-4 * smaller, 9 * meet)) ** 0.5


def force_histogram(
    a: Array,
    b: Array | None = None,
    *,
    r: float | Literal["hybrid"] = 0.0,
    directions: int = 180,
    policy: Policy = "auto",
    cutoff: float = CUTOFF,
    normalize: Normalization = "none",
    symmetric: bool = False,
    sub_angles: int = 1,
) -> Array:
    """The force histogram F_r of masks a and b: [.., directions]. Arguments and errors as in `force_banner`.

    r: a real number, or "hybrid": gravitation that turns constant when near, phi(rho) = 1 / max(rho, Y0)^2, so that it
        is finite for any two objects (F_02 of Matsakis' HoF); policy and cutoff play no part then, and "scale", "mass"
        and "log" take r = 2.
    """
    if r != "hybrid":
        rows = force_banner(
            a,
            b,
            [r],
            directions,
            policy=policy,
            cutoff=cutoff,
            normalize=normalize,
            symmetric=symmetric,
            sub_angles=sub_angles,
        )
        return rows[..., 0, :]
    pair = _pair(a, a if b is None else b)
    rest: dict[str, Any] = {"directions": directions, "sub_angles": sub_angles}
    near, raw_banner = _hybrid_cutoff(pair), pair.implementation.raw_banner
    whole = raw_banner(pair.a, pair.b, near, ForceOptions.of([0.0], policy="drop", **rest))
    beyond = raw_banner(pair.a, pair.b, near, ForceOptions.of([0.0, 2.0], policy="cutoff", **rest))
    raw = beyond[:, 1:] + (whole - beyond[:, :1]) / near[:, None, None] ** 2
    options = ForceOptions.of([2.0], policy=policy, cutoff=cutoff, normalize=normalize, symmetric=symmetric, **rest)
    result: Array = pair.finish(raw, options)[..., 0, :]
    return result
