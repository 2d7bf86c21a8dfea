"""Where a scene is: the box it fills, and the visual hull of its silhouettes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nearfar.errors import DataError
from nearfar.scenes.scene import Pixels, Points, Scene, sample_image
from nearfar.spatial.cameras import Camera, focus_point

VIEWS = 64
"""silhouettes that are looked at, at equal steps; more carve little"""
PIXELS = 200
"""longer side at which silhouettes are read"""
GRID = (24, 48)
"""cells a side, of the whole region and then of the part that is left"""


@dataclass(frozen=True)
class Silhouette:
    """What one view says of where the scene is."""

    camera: Camera
    inside: NDArray[np.bool_]
    """[H, W], a pixel wider than the object"""
    rgb: Pixels


@dataclass(frozen=True)
class Hull:
    """Cells of a box that no silhouette rules out."""

    low: Points
    """corner of the box, [3]"""
    cell: Points
    """sides of a cell, [3]"""
    filled: NDArray[np.bool_]
    """[n, n, n]"""

    def surface(self) -> Points:
        """Centres of the cells that have an empty neighbour, [m, 3]."""
        inner = ndimage.binary_erosion(self.filled)
        return self._centres(np.argwhere(self.filled & ~inner))

    def bounds(self) -> tuple[Points, Points]:
        """The corners of what is filled, a cell wider."""
        cells = np.argwhere(self.filled)
        return self.low + (cells.min(axis=0) - 1) * self.cell, self.low + (cells.max(axis=0) + 2) * self.cell

    def _centres(self, cells: NDArray[np.int64]) -> Points:
        return np.asarray(self.low + (cells + 0.5) * self.cell)


def silhouettes(scene: Scene) -> list[Silhouette]:
    """Those of the training views (of all, where there are none) that have alpha or a mask. Decodes these images."""
    indices = scene.indices("train") or list(range(len(scene.frames)))
    step = max(1, len(indices) / VIEWS)
    made = []
    for i in [indices[int(k * step)] for k in range(int(len(indices) / step))]:
        camera = scene.frames[i].camera
        scale = min(1.0, PIXELS / max(camera.width, camera.height))
        rgb, alpha = scene.image(i, scale)
        if alpha is None:
            return []
        inside = ndimage.binary_dilation(alpha > 0.5, np.ones((3, 3)))
        made.append(Silhouette(camera.scaled(scale), inside, rgb))
    return made


def region(scene: Scene) -> tuple[Points, Points]:
    """Corners of a box that holds the scene: its bounds, those of 98 % of its points, or what its cameras share.

    The last is a cube about the point nearest to all axes, as wide as the median view there.
    """
    if scene.bounds is not None:
        return scene.bounds
    if scene.points is not None and len(scene.points):
        low, high = np.percentile(scene.points, [1, 99], axis=0)
        return low, np.maximum(high, low + 1e-9)
    return shared_region(scene.cameras())


def shared_region(cameras: Sequence[Camera]) -> tuple[Points, Points]:
    """The cube about the point nearest to all axes that is as wide as the median view there."""
    focus = focus_point(cameras)
    distances = [float(np.linalg.norm(camera.origin - focus)) for camera in cameras]
    slopes = [min(camera.width / camera.fx, camera.height / camera.fy) / 2 for camera in cameras]
    distance = float(np.median(distances))
    if distance <= 1e-9 * max(1.0, float(np.abs(focus).max())):  # all stand at one place: any size will do
        return focus - 1, focus + 1
    half = min(float(np.median(np.multiply(distances, slopes))), 0.9 * distance)
    return focus - half, focus + half


def carve(views: Sequence[Silhouette], bounds: tuple[Points, Points], side: int) -> Hull:
    """The cells of a box, `side` along each edge, that lie inside every silhouette that has them in its image.

    A cell must be in the image of at least half of the views.
    """
    low, high = np.asarray(bounds[0], dtype=np.float64), np.asarray(bounds[1], dtype=np.float64)
    cell = (high - low) / side
    places = low + (np.argwhere(np.ones((side,) * 3, dtype=bool)) + 0.5) * cell
    alive, seen = np.arange(len(places)), np.zeros(len(places), dtype=int)
    for view in views:
        uv, _ = view.camera.project(places[alive])
        with np.errstate(invalid="ignore"):
            visible = ((uv >= 0) & (uv < [view.camera.width, view.camera.height])).all(axis=1)
        column, row = uv[visible].astype(int).T
        outside = np.zeros(len(alive), dtype=bool)
        outside[visible] = ~view.inside[row, column]
        seen[alive] += visible
        alive = alive[~outside]
    filled = np.zeros(len(places), dtype=bool)
    filled[alive] = seen[alive] >= max(1, len(views) / 2)
    return Hull(low, cell, filled.reshape((side,) * 3))


def visual_hull(views: Sequence[Silhouette], bounds: tuple[Points, Points]) -> Hull:
    """The visual hull (Laurentini, PAMI 16(2), 1994) on a grid of what a coarser grid left of the box.

    Raises DataError where no cell is left.
    """
    coarse = carve(views, bounds, GRID[0])
    hull = carve(views, coarse.bounds(), GRID[1]) if coarse.filled.any() else coarse
    if not hull.filled.any():
        raise DataError(
            "the silhouettes of the views share no point",
            found=f"{len(views)} views, box from {np.round(bounds[0], 3)} to {np.round(bounds[1], 3)}",
            fix="Masks may be inverted, or the poses of another convention: `nearfar data check` tells which.",
        )
    return hull


def colours_of(points: Points, views: Sequence[Silhouette]) -> Pixels:
    """A colour [n, 3] for each point [n, 3] of an object's surface: the mean of the views that see it, those before
    which it faces most of all.

    Nothing is known of what hides it; the direction from the middle of all points stands for the surface's normal.
    """
    outward = points - points.mean(axis=0)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-12)
    total, weights = np.zeros((len(points), 3)), np.full((len(points), 1), 1e-12)
    for view in views:
        towards = view.camera.origin - points
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        facing = np.maximum((outward * towards).sum(axis=1), 0.01) ** 2 * view.camera.sees(points)
        uv = np.nan_to_num(view.camera.project(points)[0])
        total += facing[:, None] * sample_image(view.rgb, uv)
        weights += facing[:, None]
    return np.asarray(total / weights, dtype=np.float32)
