"""Where the cameras of a scene stand and how they look, with its points: a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from nearfar.report.style import FAINT, INK, colour, figure, save
from nearfar.scenes.hull import region
from nearfar.scenes.scene import Scene, Split
from nearfar.spatial.cameras import Camera, focus_point

POINTS = 3000
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PLANES = ((0, 1, "from above"), (0, 2, "from the front"), (1, 2, "from the side"))
EDGES = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1))


def frustums_figure(scene: Scene, path: Path) -> Path:
    """Three projections along the axes: a pyramid a camera, coloured by split, the points, and the box of the scene.

    A pyramid opens the way its camera looks, and a short line marks the top of its image.
    """
    made, axes = figure(1, 3, 4.0, 4.0)
    made.set_layout_engine("compressed")  # for axes of equal aspect; otherwise titles are cut
    size = 0.12 * _distance(scene.cameras())
    for axis, (x, y, title) in zip(axes, PLANES, strict=True):
        _points(axis, scene, x, y)
        _box(axis, region(scene), x, y)
        for k, split in enumerate(SPLITS):
            lines = [line for camera in scene.cameras(split) for line in frustum(camera, size)[..., [x, y]]]
            axis.add_collection(LineCollection(lines, colors=colour(k), linewidths=0.6))
            if lines:
                axis.plot([], [], color=colour(k), label=f"{split} ({len(scene.cameras(split))})")
        axis.set(aspect="equal", xlabel="xyz"[x], ylabel="xyz"[y])
        axis.set_title(title, fontsize=9, color=INK)
        axis.autoscale_view()
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return save(made, path)


def frustum(camera: Camera, depth: float) -> NDArray[np.float64]:
    """Lines [9, 2, 3] of the pyramid to the image's corners at a depth, and of a mark above its top."""
    x = np.array([-camera.cx, camera.width - camera.cx]) / camera.fx
    y = np.array([camera.cy, camera.cy - camera.height]) / camera.fy
    corners = np.array([[x[0], y[0], -1], [x[1], y[0], -1], [x[1], y[1], -1], [x[0], y[1], -1]])
    top = np.array([[(x[0] + x[1]) / 2, y[0], -1], [(x[0] + x[1]) / 2, y[0] + 0.3 * (y[0] - y[1]), -1]])
    local = np.concatenate([np.zeros((1, 3)), corners, top]) * depth
    world = local @ camera.c2w[:, :3].T + camera.origin
    return np.stack([world[list(edge)] for edge in (*EDGES, (5, 6))])


def _distance(cameras: list[Camera]) -> float:
    focus = focus_point(cameras)
    return float(np.median([np.linalg.norm(camera.origin - focus) for camera in cameras])) or 1.0


def _points(axis: Axes, scene: Scene, x: int, y: int) -> None:
    if scene.points is None or not len(scene.points):
        return
    step = -(-len(scene.points) // POINTS)
    tint: Any = FAINT if scene.colours is None else scene.colours[::step]
    axis.scatter(scene.points[::step, x], scene.points[::step, y], s=1.0, c=tint, linewidths=0)


def _box(axis: Axes, bounds: tuple[NDArray[np.float64], NDArray[np.float64]], x: int, y: int) -> None:
    low, high = bounds
    axis.plot(
        [low[x], high[x], high[x], low[x], low[x]],
        [low[y], low[y], high[y], high[y], low[y]],
        "--",
        color=FAINT,
        linewidth=0.8,
        label="box",
    )
