"""Force banners of boxes: polygons of four corners, exact, without pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import DataError, ShapeError
from nearfar.spatial.force_options import CUTOFF, FORCES, Normalization, Policy
from nearfar.spatial.force_polygons import polygon_banner

Floats = NDArray[np.float64]


def _boxes(boxes: Any, name: str) -> Floats:
    array = np.asarray(boxes, float)
    if array.ndim < 1 or array.shape[-1] != 4:
        raise ShapeError(f"boxes {name} have a wrong shape", found=array.shape, expected="[.., 4]")
    good = (array[..., 0] < array[..., 2]) & (array[..., 1] < array[..., 3]) & np.isfinite(array).all(-1)
    if not good.all():
        bad = array.reshape(-1, 4)[int(np.argmin(good))].tolist()
        raise DataError(
            f"boxes {name} hold one without an area", found=bad, expected="[x0, y0, x1, y1], x0 < x1, y0 < y1"
        )
    return array


def _rings(boxes: Floats) -> Floats:
    """Corners in order [.., 4, 2] of boxes [.., 4]."""
    return boxes[..., [0, 1, 2, 1, 2, 3, 0, 3]].reshape(*boxes.shape[:-1], 4, 2)


def box_banner(
    a: Any,
    b: Any,
    r: Iterable[float] = FORCES,
    directions: int = 180,
    *,
    policy: Policy = "auto",
    cutoff: float = CUTOFF,
    normalize: Normalization = "row_max",
    symmetric: bool = False,
    sub_angles: int = 1,
) -> Floats:
    """The force banner of boxes a and b [.., 4] as [x0, y0, x1, y1] in image coordinates, y downwards.

    [.., len(r), directions] (float64), pair by pair; leading sizes broadcast, options as in `polygon_banner`.
    Raises ShapeError for shapes that do not fit, DataError for a box without an area.
    """
    boxes = [_boxes(values, name) for values, name in ((a, "a"), (b, "b"))]
    try:
        lead = np.broadcast_shapes(boxes[0].shape[:-1], boxes[1].shape[:-1])
    except ValueError:
        found = f"{boxes[0].shape} and {boxes[1].shape}"
        raise ShapeError("the leading sizes of boxes a and b do not broadcast", found=found) from None
    forces = tuple(r) if isinstance(r, Iterable) else (r,)
    pairs = [_rings(np.broadcast_to(x, (*lead, 4)).reshape(-1, 4)) for x in boxes]
    rows = [
        polygon_banner(
            p,
            q,
            forces,
            directions,
            policy=policy,
            cutoff=cutoff,
            normalize=normalize,
            symmetric=symmetric,
            sub_angles=sub_angles,
        )
        for p, q in zip(*pairs, strict=True)
    ]
    width = directions // 2 if symmetric else directions
    return (
        np.stack(rows).reshape(*lead, len(forces), width) if math.prod(lead) else np.empty((*lead, len(forces), width))
    )
