"""The points nearest to each ray, exactly, in bounded memory.

The squared distance of p from the line o + s d (|d| = 1) is |v|^2 - (v . d)^2 with v = p - o. With coordinates from the
cloud's centre and o moved along the ray to its closest approach to it, that is p'(I - d d')p - 2 o . p + |o|^2: a
product of nine numbers of the ray and nine of the point, so that one matrix product gives all distances. Far cameras
cost no digits, because o has left the camera.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError

LANES = 64
"""points are padded to a multiple of this, which all sizes of groups divide"""
CACHED = 4 << 20
"""bytes of distances that a CPU core keeps near; larger chunks are slower there"""


@torch.no_grad()
def nearest_points(
    origins: Tensor,
    directions: Tensor,
    points: Tensor,
    k: int,
    *,
    chunk_bytes: int = 256 << 20,
    ahead: bool = False,
) -> Tensor:
    """Indices int64 [R, k] of the k points [P, 3] with the smallest distance to each ray's line, nearest first.

    Origins and directions are [R, 3], directions of any length. Distances of at most `chunk_bytes` (one ray at least)
    exist at a time. Exact but for ties within rounding (in single precision 1e-6 of the cloud's squared size).
    `ahead` passes over points behind a ray's origin as long as there are k before it. Raises ShapeError for other
    shapes, ConfigError for k < 1 or more than there are points.
    """
    _check(origins, directions, points, k)
    kind = points.dtype if points.dtype == torch.float64 else torch.float32
    with torch.autocast(points.device.type, enabled=False):
        origins, directions, points = origins.to(kind), directions.to(kind), points.to(kind)
        directions = directions / directions.norm(dim=-1, keepdim=True)
        centre = points.mean(dim=0)
        return _in_chunks(origins - centre, directions, points - centre, k, chunk_bytes, ahead)


def _in_chunks(origins: Tensor, directions: Tensor, points: Tensor, k: int, chunk_bytes: int, ahead: bool) -> Tensor:
    along = (origins * directions).sum(dim=-1)
    closest = origins - along[:, None] * directions
    # Once more: of a far origin the first difference leaves a rounding error along the ray.
    closest = closest - (closest * directions).sum(dim=-1, keepdim=True) * directions
    table, rays = _of_points(points), _of_rays(closest, directions)
    per_ray = table.shape[1] * table.element_size() * (3 if ahead else 1)
    budget = min(chunk_bytes, CACHED) if points.device.type == "cpu" else chunk_bytes
    step = max(1, budget // per_ray)
    reach = points.norm(dim=-1).max()
    found = torch.empty(len(rays), k, dtype=torch.int64, device=points.device)
    for start in range(0, len(rays), step):
        chunk = slice(start, start + step)
        distances = rays[chunk] @ table
        if ahead and bool((along[chunk] > -reach).any()):
            behind = directions[chunk] @ points.T < along[chunk, None]
            distances[:, : len(points)].masked_fill_(behind, torch.finfo(points.dtype).max / 4)
        found[chunk] = _smallest(distances, k)
    return found


def _of_points(points: Tensor) -> Tensor:
    """[10, P'], padded to whole groups with points that are farther than any other."""
    x, y, z = points.unbind(dim=-1)
    rows = torch.stack([x, y, z, x * x, y * y, z * z, x * y, x * z, y * z, torch.zeros_like(x)])
    missing = -len(points) % LANES
    padding = rows.new_zeros(10, missing)
    padding[9] = torch.finfo(points.dtype).max / 2
    return torch.cat([rows, padding], dim=1)


def _of_rays(closest: Tensor, directions: Tensor) -> Tensor:
    """[R, 10]: times `_of_points`, the squared distance less a constant of the ray."""
    a, b, c = directions.unbind(dim=-1)
    squares = torch.stack([1 - a * a, 1 - b * b, 1 - c * c, -2 * a * b, -2 * a * c, -2 * b * c], dim=-1)
    return torch.cat([-2 * closest, squares, torch.ones_like(a)[:, None]], dim=-1)


def _smallest(values: Tensor, k: int) -> Tensor:
    """Indices of the k smallest of each row [R, P], smallest first.

    The k smallest lie in the k groups with the smallest minima, so that a long row is only read once.
    """
    rows, columns = values.shape
    size = next((s for s in (64, 32, 16, 8) if s * s * k <= columns), 1)  # reads the fewest values in all
    if size == 1:
        return values.topk(k, dim=1, largest=False).indices
    groups = columns // size
    members = values.view(rows, size, groups)
    near = members.amin(dim=1).topk(k, dim=1, largest=False, sorted=False).indices
    candidates = members.gather(2, near[:, None].expand(rows, size, k)).flatten(1)
    best = candidates.topk(k, dim=1, largest=False).indices
    return best // k * groups + near.gather(1, best % k)


def _check(origins: Tensor, directions: Tensor, points: Tensor, k: int) -> None:
    if origins.ndim != 2 or origins.shape[1] != 3 or origins.shape != directions.shape:
        found = f"{tuple(origins.shape)} and {tuple(directions.shape)}"
        raise ShapeError("origins and directions of rays must agree", found=found, expected="[R, 3] each")
    if points.ndim != 2 or points.shape[1] != 3:
        raise ShapeError("points have three coordinates", found=tuple(points.shape), expected="[P, 3]")
    if not 1 <= k <= len(points):
        raise ConfigError("a ray cannot have so many nearest points", found=f"k = {k}", expected=f"1 to {len(points)}")
