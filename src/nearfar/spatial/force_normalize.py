"""Lengths that make a force banner comparable between sizes, and its normalisations; for NumPy and torch alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearfar.spatial.force_options import ForceOptions, Policy


def fold(banner: Any) -> Any:
    """The symmetric banner S(theta) = F(theta) + F(theta + pi), on half the directions: pi-periodic, F^AB + F^BA."""
    half = banner.shape[-1] // 2
    return banner[..., :half] + banner[..., half:]


def _over(banner: Any, top: Any, policy: Policy, xp: Any) -> Any:
    """banner / top, 0 where top is 0; where it is infinite, 1 at the infinite entries and 0 elsewhere."""
    if policy != "inf":
        return banner / xp.where(top > 0, top, 1.0)
    infinite = xp.isinf(banner)
    ratio = xp.where(infinite, 0.0, banner) / xp.where(xp.isfinite(top) & (top > 0), top, 1.0)
    return xp.where(xp.isinf(top), infinite * 1.0, ratio)


def normalized(banner: Any, options: ForceOptions, mass: Any, side: Any, xp: Any) -> Any:
    """A banner [B, len(r), directions] normalised, given `mass` = |A| |B| [B] and `side` [B] (used by "mass" alone).

    row_max     every row by its maximum: keeps directions, forgets distance
    global_max  by the maximum of the whole banner
    scale       F_r lam^(r - 3), lam = (|A| |B|)^(1/4): no unit, unchanged by scaling
    mass        F_r side^(r + 1) / (|A| |B|), side = the longer side of the box round both: its sum over theta times
                the step is the mean over pairs of points of (rho / side)^-(r + 1)
    log         log(1 + scale)
    """
    if options.normalize == "none":
        return banner
    if options.normalize == "row_max":
        return _over(banner, xp.amax(banner, axis=-1, keepdims=True), options.policy, xp)
    if options.normalize == "global_max":
        return _over(banner, xp.amax(banner, axis=(-2, -1), keepdims=True), options.policy, xp)
    r = mass.new_tensor(options.r) if hasattr(mass, "new_tensor") else np.array(options.r)
    if options.normalize == "mass":
        return banner * (side[:, None] ** (r + 1) / mass[:, None])[..., None]
    scaled = banner * (mass[:, None] ** ((r - 3) / 4))[..., None]
    return xp.log1p(scaled) if options.normalize == "log" else scaled
