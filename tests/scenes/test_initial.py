"""Points to begin with: the hull of a ball, files, shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError
from nearfar.scenes.formats import open_scene
from nearfar.scenes.hull import region, silhouettes, visual_hull
from nearfar.scenes.initial import initial_points
from nearfar.scenes.ply import write_ply
from nearfar.scenes.scene import Scene

CENTRE, RADIUS = np.array([0.3, -0.2, 0.5]), 0.6
BOX = (np.array([-1.0, -2, 0]), np.array([3.0, 2, 1]))


def test_hull_of_a_ball(ball: Callable[..., Scene]) -> None:
    points, colours = initial_points(ball(), "hull", 2000)
    radii = np.linalg.norm(points - CENTRE, axis=1)
    assert points.shape == (2000, 3)
    assert 0.9 * RADIUS < np.median(radii) < 1.1 * RADIUS
    assert radii.max() < 1.35 * RADIUS
    assert np.abs(points.mean(axis=0) - CENTRE).max() < 0.05
    right = points[:, 0] > CENTRE[0] + 0.25
    assert colours[right].mean(axis=0)[0] > 0.8
    left = points[:, 0] < CENTRE[0] - 0.25
    assert colours[left].mean(axis=0)[2] > 0.8


def test_hull_is_the_ball_from_enough_views(ball: Callable[..., Scene]) -> None:
    scene = ball(48, 64)
    hull = visual_hull(silhouettes(scene), region(scene))
    volume = hull.filled.sum() * hull.cell.prod()
    assert 1.0 < volume / (4 / 3 * np.pi * RADIUS**3) < 1.3
    low, high = hull.bounds()
    assert (low < CENTRE - RADIUS).all()
    assert (high > CENTRE + RADIUS).all()
    assert (high - low).max() < 1.7


def test_same_seed_same_points(ball: Callable[..., Scene]) -> None:
    scene = ball()
    first, again, other = (initial_points(scene, "hull", 50, seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_auto_takes_the_best_that_is_there(ball: Callable[..., Scene]) -> None:
    scene = ball()
    own = replace(scene, points=np.eye(3), colours=np.zeros((3, 3), np.float32))
    assert sorted(map(tuple, initial_points(own, n=10)[0])) == sorted(map(tuple, np.eye(3)))
    assert np.linalg.norm(initial_points(scene, n=100)[0] - CENTRE, axis=1).max() < 1.35 * RADIUS
    opaque = open_photographs(scene)
    boxed = initial_points(replace(opaque, bounds=BOX), n=100)[0]
    assert (boxed > BOX[0]).all()
    assert (boxed < BOX[1]).all()
    assert initial_points(opaque, n=8)[0].shape == (8, 3)


def open_photographs(scene: Scene) -> Scene:
    """The scene without its alpha."""
    for frame in scene.frames:
        np.save(frame.path, np.load(frame.path)[..., :3])
    return scene


def test_shapes(ball: Callable[..., Scene]) -> None:
    scene = replace(ball(), bounds=BOX)
    cube, none = initial_points(scene, "cube", 30)
    assert none is None
    assert len({tuple(p) for p in cube[:27]}) == 27
    assert np.allclose(cube[:27].min(axis=0), BOX[0])
    assert np.allclose(cube[:27].max(axis=0), BOX[1])
    sphere, _ = initial_points(scene, "sphere", 500)
    assert np.allclose(np.linalg.norm(sphere - [1, 0, 0.5], axis=1), 0.5)
    gaps = np.sort(np.linalg.norm(sphere[:, None] - sphere[None], axis=2), axis=1)[:, 1]
    assert gaps.max() / gaps.min() < 2
    uniform = initial_points(scene, "bbox", 4000)[0]
    assert np.allclose(uniform.mean(axis=0), [1, 0, 0.5], atol=0.1)


def test_region_of_cameras_alone(ball: Callable[..., Scene]) -> None:
    low, high = region(ball())
    assert np.allclose((low + high) / 2, 0, atol=1e-9)
    assert np.allclose(high - low, 2 * 3.5 * np.tan(np.radians(25)))
    points = np.random.default_rng(0).uniform(-1, 1, (4000, 3))
    assert np.allclose(region(replace(ball(), points=points)), [[-0.98] * 3, [0.98] * 3], atol=0.02)


def test_points_of_files(ball: Callable[..., Scene], tmp_path: Path) -> None:
    path = write_ply(tmp_path / "a.ply", np.arange(30).reshape(10, 3), np.zeros((10, 3)))
    points, colours = initial_points(ball(), "ply", 4, path=path)
    assert points.shape == colours.shape == (4, 3)
    assert len(initial_points(ball(), "ply", 400, path=path)[0]) == 10
    with pytest.raises(DataError, match="no points"):
        initial_points(ball(), "colmap")


def test_points_of_colmap(ball: Callable[..., Scene], tmp_path: Path) -> None:
    scene = replace(ball(3), points=np.eye(3))
    root = tmp_path / "model"
    from nearfar.scenes.formats import write_scene

    write_scene(replace(scene, frames=scene.frames[:2]), root, "colmap")
    assert len(open_scene(root).frames) == 2
    assert np.array_equal(np.sort(initial_points(ball(3), "colmap", path=root)[0], axis=0), np.sort(np.eye(3), axis=0))


def test_what_is_missing_is_named(ball: Callable[..., Scene]) -> None:
    scene = open_photographs(ball(3))
    with pytest.raises(DataError, match="alpha or masks"):
        initial_points(scene, "hull")
    with pytest.raises(DataError, match="no bounding box"):
        initial_points(scene, "bbox")
    with pytest.raises(ConfigError, match="Did you mean hull"):
        initial_points(scene, "hul")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one"):
        initial_points(scene, "cube", 0)


def test_inverted_silhouettes_leave_nothing(ball: Callable[..., Scene]) -> None:
    scene = ball()
    for frame in scene.frames:
        pixels = np.load(frame.path)
        pixels[..., 3] = 0
        pixels[:5, :5, 3] = 1
        np.save(frame.path, pixels)
    with pytest.raises(DataError, match=r"share no point.*data check"):
        initial_points(scene, "hull")


def test_region_of_cameras_at_one_place(ball: Callable[..., Scene]) -> None:
    scene = ball(3)
    rig = [replace(f, camera=replace(f.camera, c2w=np.eye(4))) for f in scene.frames]
    low, high = region(replace(scene, frames=tuple(rig)))
    assert np.isfinite(low).all()
    assert ((high - low) > 0.1).all()
