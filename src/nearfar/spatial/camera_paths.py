"""Cameras that look at a place from around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.errors import ConfigError
from nearfar.spatial.pinhole import Camera

Array = NDArray[np.float64]


def look_at(eye: ArrayLike, target: ArrayLike = (0.0, 0.0, 0.0), up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """The pose, camera to world [3, 4], that looks from `eye` at `target` with `up` upwards in the image.

    Looking along `up` itself, the top of the image is any direction square to it. Raises ConfigError where eye and
    target are one point.
    """
    place, upwards = np.asarray(eye, dtype=np.float64), np.asarray(up, dtype=np.float64)
    back = place - np.asarray(target, dtype=np.float64)
    if not np.linalg.norm(back) > 0:
        raise ConfigError("a camera cannot look at where it stands", found=place.tolist())
    back /= np.linalg.norm(back)
    right = np.cross(upwards, back)
    if np.linalg.norm(right) < 1e-9 * np.linalg.norm(upwards):
        right = np.cross(np.eye(3)[np.argmin(np.abs(back))], back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back, place], axis=1)


def orbit(
    n: int,
    radius: float,
    elevation: float = 30.0,
    *,
    width: int = 64,
    height: int = 64,
    fov: float = 40.0,
    target: Sequence[float] = (0.0, 0.0, 0.0),
    up: Sequence[float] = (0.0, 0.0, 1.0),
    start: float = 0.0,
    near: float | None = None,
    far: float | None = None,
    like: Camera | None = None,
) -> list[Camera]:
    """`n` cameras on a circle around `target`, at equal steps of azimuth from `start`; angles in degrees.

    Azimuth 0 looks from -y, 90 from +x (with z up), so that the mirror image in the plane x = 0 of the view at an
    azimuth is the one at its negative. `fov` is the width's; `like` gives size and lens in its place. Distances are by
    default half and three halves of the radius. Raises ConfigError for n < 1 or a radius that is not positive.
    """
    angles = start + 360.0 * np.arange(n) / max(n, 1)
    elevations = np.full(n, elevation)
    model = like or _model(width, height, fov)
    return _around(angles, elevations, radius, target, up, near, far, model)


def spiral(
    n: int,
    radius: float,
    elevation: tuple[float, float] = (5.0, 60.0),
    *,
    turns: float = 2.0,
    width: int = 64,
    height: int = 64,
    fov: float = 40.0,
    target: Sequence[float] = (0.0, 0.0, 0.0),
    up: Sequence[float] = (0.0, 0.0, 1.0),
    start: float = 0.0,
    near: float | None = None,
    far: float | None = None,
    like: Camera | None = None,
) -> list[Camera]:
    """`n` cameras that rise from the first elevation to the second over some turns; otherwise as `orbit`."""
    angles = start + 360.0 * turns * np.arange(n) / max(n, 1)
    model = like or _model(width, height, fov)
    return _around(angles, np.linspace(*elevation, n), radius, target, up, near, far, model)


def sway(cameras: Sequence[Camera], n: int, amount: float = 0.6) -> list[Camera]:
    """`n` cameras on an ellipse among given ones, all looking at what those look at: a path where a scene has no back.

    The ellipse lies in the mean camera's image plane; its half axes are `amount` times the standard deviations of the
    given places (times the square root of 2). Size, lens and distances are the first camera's.
    """
    focus = focus_point(cameras)
    places = np.stack([camera.origin for camera in cameras])
    up = np.mean([camera.c2w[:, 1] for camera in cameras], axis=0)
    middle = look_at(places.mean(axis=0), focus, up)
    spread = ((places - middle[:, 3]) @ middle[:, :2]).std(axis=0) * amount * math.sqrt(2)
    made = []
    for angle in 2 * math.pi * np.arange(n) / max(n, 1):
        eye = middle[:, 3] + middle[:, :2] @ (spread * [math.cos(angle), math.sin(angle)])
        made.append(replace(cameras[0], c2w=look_at(eye, focus, up)))
    return made


def focus_point(cameras: Sequence[Camera]) -> Array:
    """The point [3] nearest to all viewing axes (least squares); for parallel ones, 1 ahead of the mean place."""
    axes = np.stack([camera.axis for camera in cameras])
    places = np.stack([camera.origin for camera in cameras])
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    normal = across.sum(axis=0)
    if np.linalg.eigvalsh(normal)[0] < 1e-6 * len(cameras):
        return np.asarray(places.mean(axis=0) + axes.mean(axis=0))
    return np.asarray(np.linalg.solve(normal, (across @ places[:, :, None]).sum(axis=0))[:, 0])


def _model(width: int, height: int, fov: float) -> Camera:
    if not 0 < fov < 180:
        raise ConfigError("the field of view must be between 0 and 180 degrees", found=fov)
    focal = 0.5 * width / math.tan(math.radians(fov) / 2)
    return Camera(np.eye(4), focal, focal, width / 2, height / 2, width, height)


def _around(
    angles: Array,
    elevations: Array,
    radius: float,
    target: Sequence[float],
    up: Sequence[float],
    near: float | None,
    far: float | None,
    model: Camera,
) -> list[Camera]:
    if len(angles) < 1 or not radius > 0:
        raise ConfigError("a path needs a camera and a positive radius", found=f"n {len(angles)}, radius {radius}")
    turn, centre = _upright(up), np.asarray(target, dtype=np.float64)
    distances = (near if near is not None else 0.5 * radius, far if far is not None else 1.5 * radius)
    made = []
    for azimuth, elevation in zip(np.radians(angles), np.radians(elevations), strict=True):
        level = math.cos(elevation)
        out = np.array([level * math.sin(azimuth), -level * math.cos(azimuth), math.sin(elevation)])
        pose = look_at(centre + radius * turn @ out, centre, up)
        made.append(replace(model, c2w=pose, near=distances[0], far=distances[1]))
    return made


def _upright(up: Sequence[float]) -> Array:
    """The shortest rotation that takes z to `up`."""
    axis = np.asarray(up, dtype=np.float64) / np.linalg.norm(up)
    if axis[2] < -1 + 1e-12:
        return np.diag([1.0, -1.0, -1.0])
    half = axis + np.array([0.0, 0.0, 1.0])
    half /= np.linalg.norm(half)
    turn: Array = 2 * np.outer(half, half) - np.eye(3)  # half a turn about the bisector takes z to up ...
    return turn @ np.diag([-1.0, -1.0, 1.0])  # ... and half a turn about z before it makes it the shortest
