"""Points to begin with: of the scene's files, of its silhouettes, or of a shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from nearfar.errors import ConfigError, DataError, did_you_mean
from nearfar.scenes.hull import Silhouette, colours_of, region, silhouettes, visual_hull
from nearfar.scenes.ply import read_points
from nearfar.scenes.scene import Pixels, Points, Scene

Kind = Literal["auto", "hull", "bbox", "ply", "colmap", "cube", "sphere"]
Made = tuple[Points, Pixels | None]
Random = np.random.Generator


def initial_points(
    scene: Scene, kind: Kind = "auto", n: int = 1000, seed: int = 0, *, path: Path | str | None = None
) -> Made:
    """(points [n, 3], colours [n, 3] in 0..1 or None) to begin with; the same for the same seed.

    hull: on the visual hull of alpha or masks, coloured by the views. bbox: uniform in the scene's box. ply: of the
    file `path`, or the scene's own points. colmap: of the reconstruction in the folder `path`, or the scene's own.
    cube: a lattice of m^3 <= n points, the others uniform. sphere: equally spread (Fibonacci). Shapes fill what cameras
    share where the scene has no box. Of files, `n` points are drawn; all, where they have fewer. auto: the scene's own
    points, else the hull where there are silhouettes, else the box, else the cube.

    Raises ConfigError for an unknown kind or n < 1, DataError where the scene lacks what a kind needs.
    """
    if kind not in get_args(Kind):
        raise ConfigError(f"unknown kind of points {kind!r}", expected=" | ".join(get_args(Kind)),
                          fix=did_you_mean(kind, get_args(Kind)))  # fmt: skip
    if n < 1:
        raise ConfigError("at least one point is needed", found=n)
    rng = np.random.default_rng(seed)
    if kind == "auto":
        return _auto(scene, n, rng)
    if kind in ("ply", "colmap"):
        return _drawn(*_own(scene, kind, path), n, rng)
    makers: dict[str, Callable[[Scene, int, Random], Made]] = {
        "hull": _hull, "bbox": _bbox, "cube": _cube, "sphere": _sphere,
    }  # fmt: skip
    return makers[kind](scene, n, rng)


def _auto(scene: Scene, n: int, rng: Random) -> Made:
    if scene.points is not None and len(scene.points):
        return _drawn(scene.points, scene.colours, n, rng)
    if views := silhouettes(scene):
        return _on_hull(scene, views, n, rng)
    return (_bbox if scene.bounds is not None else _cube)(scene, n, rng)


def _own(scene: Scene, kind: str, path: Path | str | None) -> Made:
    if path is not None and kind == "ply":
        return read_points(path)
    if path is not None:
        from nearfar.scenes.formats import open_scene

        scene = open_scene(path, "colmap")
    if scene.points is None or not len(scene.points):
        raise DataError("the scene has no points", where=path or scene.name, fix="Name a file, or start from the hull.")
    return scene.points, scene.colours


def _drawn(points: Points, colours: Pixels | None, n: int, rng: Random) -> Made:
    chosen = rng.permutation(len(points))[:n]
    return points[chosen], None if colours is None else colours[chosen]


def _hull(scene: Scene, n: int, rng: Random) -> Made:
    views = silhouettes(scene)
    if not views:
        raise DataError(
            "a hull needs alpha or masks in every training view", where=scene.name, fix="Start from cube or bbox."
        )
    return _on_hull(scene, views, n, rng)


def _on_hull(scene: Scene, views: Sequence[Silhouette], n: int, rng: Random) -> Made:
    hull = visual_hull(views, region(scene))
    surface = hull.surface()
    points = surface[rng.integers(len(surface), size=n)] + (rng.random((n, 3)) - 0.5) * hull.cell
    return points, colours_of(points, views)


def _bbox(scene: Scene, n: int, rng: Random) -> Made:
    if scene.bounds is None:
        raise DataError(
            "the scene has no bounding box", where=scene.name, fix="Start from cube, or give aabb or bbox.txt."
        )
    low, high = scene.bounds
    return low + rng.random((n, 3)) * (high - low), None


def _cube(scene: Scene, n: int, rng: Random) -> Made:
    low, high = region(scene)
    side = int(np.floor(np.cbrt(n) + 1e-9))
    lattice = np.argwhere(np.ones((side,) * 3, dtype=bool)) / max(side - 1, 1)
    unit = np.concatenate([lattice, rng.random((n - len(lattice), 3))])
    return low + unit * (high - low), None


def _sphere(scene: Scene, n: int, rng: Random) -> Made:
    low, high = region(scene)
    height = 1 - 2 * (np.arange(n) + 0.5) / n
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(n) + rng.random() * 2 * np.pi
    level = np.sqrt(1 - height**2)
    unit = np.stack([level * np.cos(angle), level * np.sin(angle), height], axis=1)
    return np.asarray((low + high) / 2 + unit * (high - low).min() / 2), None
