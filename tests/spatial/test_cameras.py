"""One camera: goldens, known points, the lens both ways, formats, paths, bad poses."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.spatial import lens
from nearfar.spatial.cameras import (
    Camera,
    focus_point,
    from_colmap,
    from_dvr,
    from_nsvf,
    from_opencv,
    from_srn,
    look_at,
    orbit,
    quaternion,
    rotation,
    spiral,
    sway,
)

FOX = (0.0578421, -0.0805099, -0.000980296, 0.00015575)
K = np.array([[50.0, 0, 31.0], [0, 60.0, 25.0], [0, 0, 1]])


def camera(**changes: object) -> Camera:
    """At (0, -4, 0), looking along +y with z up: a point (x, 0, z) is seen at (31 + 50 x / 4, 25 - 60 z / 4)."""
    values = {"c2w": look_at((0, -4, 0)), "fx": 50, "fy": 60, "cx": 31, "cy": 25, "width": 64, "height": 48}
    return Camera(**{**values, **changes})  # type: ignore[arg-type]


def golden(folder: Path, key: str) -> dict:
    return json.loads((folder / "smcl/golden.json").read_text())[key]


def test_rays_golden(golden_dir: Path) -> None:
    g = golden(golden_dir, "rays")
    w, h = g["W"], g["H"]
    c = Camera(g["c2w"], g["fx"], g["fy"], w / 2, h / 2, w, h)
    origins, directions = c.rays()
    expected = np.array(g["point_renderer_pixel_centre"]["dirs"]).reshape(-1, 3)
    assert np.abs(directions - expected).max() < 1e-6
    assert np.array_equal(origins, np.tile([1.0, -3.0, 1.5], (12, 1)))
    corner = c.rays(c.pixels() - 0.5)[1]
    assert np.abs(corner - np.array(g["view_synth_pixel_corner"]["dirs"]).reshape(-1, 3)).max() < 1e-6
    assert np.array_equal(c.rays([[2, 1]])[1][0], directions[1 * w + 2])


def test_dvr_golden(golden_dir: Path) -> None:
    g = golden(golden_dir, "cameras")
    c = from_dvr(g["dvr_world_mat"], np.diag([2.0, 2.0, 1, 1]), (64, 64))
    assert np.abs(c.matrix - np.array(g["dvr_pose_gl"])).max() < 1e-9
    assert (c.fx, c.fy, c.cx, c.cy, c.near, c.far) == (64, 64, 32, 32, 1.2, 4.0)


def test_project_known_point() -> None:
    places, depth = camera().project([[0.4, 0, 0.8], [0, 1, 0], [0, -5, 0]])
    assert np.allclose(places[:2], [[36, 13], [31, 25]])
    assert np.allclose(depth, [4, 5, -1])
    assert np.isnan(places[2]).all()
    assert camera().sees([[0.4, 0, 0.8], [0, -5, 0], [5, 0, 0]]).tolist() == [True, False, False]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_rays_meet_what_they_project(seed: int, distorted: bool) -> None:
    rng = np.random.default_rng(seed)
    c = camera(c2w=look_at(rng.normal(size=3) * 3 + 6, rng.normal(size=3)), distortion=FOX if distorted else ())
    pixels = rng.uniform([0, 0], [64, 48], (40, 2))
    origins, directions = c.rays(pixels)
    assert np.abs(np.linalg.norm(directions, axis=1) - 1).max() < 1e-12
    back, depth = c.project(origins + directions * rng.uniform(0.5, 9, (40, 1)))
    assert np.abs(back - pixels).max() < 1e-9
    assert (depth > 0).all()


@pytest.mark.parametrize("coefficients", [FOX, (-0.2, 0.05, 0.001, -0.002), (0.3, 0.1, 0.0, 0.0), (0, 0, 0.01, 0.02)])
def test_lens_is_undone_exactly(coefficients: tuple[float, ...]) -> None:
    grid = np.stack(np.meshgrid(np.linspace(-0.8, 0.8, 31), np.linspace(-0.7, 0.7, 29)), -1).reshape(-1, 2)
    assert np.abs(lens.distort(grid, coefficients) - grid).max() > 1e-3
    assert np.abs(lens.undistort(lens.distort(grid, coefficients), coefficients) - grid).max() < 1e-9


def test_lens_known_values() -> None:
    x, y, (k1, k2, p1, p2) = 0.3, -0.2, (0.1, 0.01, 0.002, 0.003)
    assert np.allclose(
        lens.distort(np.array([[x, y]]), (k1, k2, p1, p2)),
        [[0.3 * 1.013169 + 2 * p1 * x * y + p2 * 0.31, -0.2 * 1.013169 + p1 * 0.21 + 2 * p2 * x * y]],
    )


def test_lens_that_folds_is_named() -> None:
    with pytest.raises(DataError, match="cannot be undone"):
        camera(distortion=(-2.0, 0.0, 0.0, 0.0)).rays()
    folding = camera(distortion=(-0.2, 0.0, 0.0, 0.0))  # folds at r = 1.29
    places, depth = folding.project([[0.0, 0, 0], [8.0, 0, 0]])
    assert np.isfinite(places[0]).all()
    assert np.isnan(places[1]).all()
    assert depth[1] == 4


def test_scaled_keeps_the_view() -> None:
    c = camera(distortion=FOX)
    half, point = c.scaled(0.5), np.array([[0.4, 0, 0.8]])
    assert (half.width, half.height) == (32, 24)
    assert np.allclose(half.project(point)[0], c.project(point)[0] / 2)
    odd = camera(width=65).scaled(0.5)
    assert (odd.width, odd.fx) == (32, 50 * 32 / 65)


def opencv_pose() -> np.ndarray:
    """The pose of `camera` in OpenCV's axes: x right, y down is -z, ahead is +y."""
    return np.array([[1.0, 0, 0, 0], [0, 0, 1, -4], [0, -1, 0, 0], [0, 0, 0, 1]])


def test_conventions_agree() -> None:
    pose, w2c = opencv_pose(), np.linalg.inv(opencv_pose())
    colmap = from_colmap(quaternion(w2c[:3, :3]), w2c[:3, 3], (50, 60, 31, 25), 64, 48, model="PINHOLE")
    for c in (from_opencv(pose, K, 64, 48), from_nsvf(pose, np.pad(K, (0, 1)), 64, 48), colmap):
        assert np.allclose(c.c2w, camera().c2w)
        assert np.allclose(c.project([[0.4, 0, 0.8]])[0], [[36, 13]])
    srn = from_srn(pose, 50, 31, 25, 64, 48)
    assert np.allclose(srn.project([[0.4, 0, 0.8]])[0], [[36, 15]])
    assert np.array_equal(from_opencv(pose, K, 64, 48).intrinsics, K)


def test_colmap_models() -> None:
    q, t = (1, 0, 0, 0), (0, 0, 4)
    c = from_colmap(q, t, (50, 32, 24, 0.1), 64, 48, model="SIMPLE_RADIAL")
    assert (c.fx, c.fy, c.distortion) == (50, 50, (0.1, 0, 0, 0))
    assert from_colmap(q, t, (50, 32, 24), 64, 48, model="SIMPLE_PINHOLE").distortion == ()
    assert from_colmap(q, t, (50, 60, 32, 24, *FOX), 64, 48).distortion == FOX
    with pytest.raises(DataError, match=r"OPENCV_FISHEYE.*Did you mean OPENCV"):
        from_colmap(q, t, (50, 60, 32, 24, *FOX), 64, 48, model="OPENCV_FISHEYE")
    with pytest.raises(DataError, match="PINHOLE camera has fx fy cx cy"):
        from_colmap(q, t, (50, 32, 24), 64, 48, model="PINHOLE")
    with pytest.raises(DataError, match="quaternion"):
        from_colmap((0, 0, 0, 0), t, (50, 60, 32, 24, *FOX), 64, 48)


def test_dtu_projection_is_taken_apart() -> None:
    w2c = np.linalg.inv(opencv_pose())
    scale = np.diag([2.0, 2.0, 2.0, 1.0])
    scale[:3, 3] = (0.5, 0.0, 1.0)
    for sign in (1, -3):  # a projection has no scale
        c = from_dvr(sign * K @ w2c[:3], None, (64, 48), scale_mat=scale)
        assert np.allclose(c.intrinsics, K)
        world = np.diag([1.0, -1.0, -1.0]) @ ((np.array([0.4, 0, 0.8]) - scale[:3, 3]) / 2)
        assert np.allclose(c.project(world[None])[0], [[36, 13]])
    with pytest.raises(DataError, match="camera_mat"):
        from_dvr(np.eye(4), None, (64, 64))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.01))
def test_quaternion_round_trip(q: list[float]) -> None:
    matrix = rotation(q)
    assert np.abs(rotation(quaternion(matrix)) - matrix).max() < 1e-9
    assert abs(np.linalg.det(matrix) - 1) < 1e-9


def test_orbit_and_spiral() -> None:
    made = orbit(8, 3.0, 30.0, target=(1, 2, 3), width=32, height=16)
    for c in made:
        assert np.allclose(c.project([[1, 2, 3]])[0], [[16, 8]])
        assert np.isclose(np.linalg.norm(c.origin - [1, 2, 3]), 3)
        assert np.isclose(c.origin[2] - 3, 1.5)
    assert np.allclose(made[2].origin - [1, 2, 3], [3 * math.cos(math.pi / 6), 0, 1.5])  # azimuth 90 stands at +x
    assert np.allclose(made[1].origin[:2] + made[7].origin[:2], [2, 2 * made[1].origin[1]])  # mirrored in x = 1
    assert math.isclose(math.degrees(2 * math.atan(16 / made[0].fx)), 40)
    rising = spiral(10, 2.0, (0, 45))
    assert np.isclose(rising[0].origin[2], 0)
    assert np.isclose(rising[-1].origin[2], math.sqrt(2))
    like = orbit(1, 3.0, like=camera(distortion=FOX))[0]
    assert (like.width, like.distortion, like.near, like.far) == (64, FOX, 1.5, 4.5)


@pytest.mark.parametrize("up", [(0, 1, 0), (0, 0, -1), (1, 2, -0.5)])
def test_orbit_about_any_axis(up: tuple[float, ...]) -> None:
    axis = np.array(up) / np.linalg.norm(up)
    for c in orbit(5, 2.0, 20.0, up=up):
        assert math.isclose(c.origin @ axis, 2 * math.sin(math.radians(20)), abs_tol=1e-9)
        assert c.c2w[:, 1] @ axis > 0.9


def test_look_straight_down_and_refusals() -> None:
    c = camera(c2w=look_at((0, 0, 5)))
    assert np.allclose(c.project([[0, 0, 0]])[0], [[31, 25]])
    for call in (lambda: look_at((1, 1, 1), (1, 1, 1)), lambda: orbit(0, 1.0), lambda: orbit(3, -1.0)):
        with pytest.raises(ConfigError):
            call()
    with pytest.raises(ConfigError, match="180"):
        orbit(3, 1.0, fov=180)


def test_focus_and_sway() -> None:
    ring = orbit(8, 3.0, 30.0, target=(1, 2, 3))
    assert np.allclose(focus_point(ring), [1, 2, 3])
    assert np.allclose(focus_point([camera(), camera()]), [0, -3, 0])
    some = ring[:3]
    path = sway(some, 6)
    spread = np.stack([c.origin for c in some])
    assert all(np.allclose(c.project([focus_point(some)])[0], [[32, 32]]) for c in path)
    assert np.ptp(np.stack([c.origin for c in path]), axis=0).max() < np.ptp(spread, axis=0).max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"c2w": np.eye(3)}, "wrong shape.*3 x 3"),
        ({"c2w": np.full((3, 4), np.nan)}, "NaN"),
        ({"c2w": 2 * np.eye(4)}, "last row"),
        ({"c2w": np.diag([2.0, 2, 2, 1])}, "no rotation and place"),
        ({"c2w": np.diag([1.0, 1, -1, 1])}, "mirror image"),
        ({"fx": 0}, "focal length"),
        ({"cx": float("nan")}, "NaN"),
        ({"width": 0}, "no pixels"),
        ({"near": 5, "far": 2}, "increase"),
        ({"distortion": (0.1,)}, "coefficients"),
    ],
)
def test_bad_cameras_are_named(changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        camera(**changes)


def test_wrong_shapes() -> None:
    with pytest.raises(ShapeError):
        camera().rays([1.0, 2.0])
    with pytest.raises(ShapeError):
        camera().project([[1.0, 2.0]])
    with pytest.raises(DataError, match="intrinsics"):
        from_opencv(np.eye(4), np.eye(2), 4, 4)
    with pytest.raises(DataError, match=r"world_mat.*2 x 2"):
        from_dvr(np.eye(2), np.eye(4), (4, 4))
    with pytest.raises(ValueError, match="read-only"):
        camera().c2w[0, 0] = 3
