"""Paths of cameras through a trained scene, and the pictures that are taken on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, Slerp

from nearfar.errors import ConfigError, DataError
from nearfar.scenes.config import SceneConfig
from nearfar.scenes.formats.base import read_json
from nearfar.scenes.learner import Learner, spread
from nearfar.scenes.metrics import eight_bit
from nearfar.scenes.object_learner import ObjectLearner
from nearfar.scenes.scene import Scene
from nearfar.scenes.scene_learner import SceneLearner
from nearfar.spatial.cameras import Camera, focus_point, orbit, spiral, sway

GAP = 120.0
"""degrees of azimuth without a camera from which on cameras do not stand all around"""
UPRIGHT = 0.9
"""cosine from which on the cameras' mean up is taken for the world's z"""
TOGETHER = 3
"""objects on one turntable"""


def scenes_of(learner: Learner) -> list[Scene]:
    """What a learner can render: its scene, or its objects, those seen in training first."""
    if isinstance(learner, ObjectLearner):
        return [*learner.known, *learner.unseen]
    assert isinstance(learner, SceneLearner)
    return [learner.scene]


def find_scene(learner: Learner, name: str | None) -> Scene:
    """The scene of that name, or the first. Raises ConfigError."""
    scenes = scenes_of(learner)
    if name is None:
        return scenes[0]
    for scene in scenes:
        if scene.name == name:
            return scene
    known = ", ".join(scene.name for scene in scenes[:8])
    raise ConfigError(
        f"there is no object {name!r}", where="--object", expected=f"{known}{', ...' * (len(scenes) > 8)}"
    )


def path_cameras(scene: Scene, kind: str, n: int) -> list[Camera]:
    """`n` cameras on a path, with the lens of the scene's first one.

    orbit: a circle at the median distance and elevation of the cameras, around what they look at; spiral: two turns
    from their lowest to their highest elevation; sway: an ellipse among them, for scenes seen from one side; auto:
    orbit where cameras stand all around, else sway. Raises ConfigError for other kinds.
    """
    cameras = scene.cameras("train") or scene.cameras()
    target, up = focus_point(cameras), _up(cameras)
    radius, elevation, _ = _polar(cameras, target, up)
    if kind == "auto":
        kind = "sway" if one_sided(scene) else "orbit"
    like: dict[str, Any] = {
        "target": target.tolist(), "up": up.tolist(), "like": replace(cameras[0], distortion=()),
        "near": cameras[0].near, "far": cameras[0].far,
    }  # fmt: skip
    if kind == "orbit":
        return orbit(n, float(np.median(radius)), float(np.median(elevation)), **like)
    if kind == "spiral":
        low, high = float(elevation.min()), float(elevation.max())
        return spiral(n, float(np.median(radius)), (low, high), **like)
    if kind == "sway":
        return sway([replace(camera, distortion=()) for camera in cameras], n)
    raise ConfigError(f"unknown path {kind!r}", expected="auto | orbit | spiral | sway | FILE.json")


def one_sided(scene: Scene) -> bool:
    """Whether cameras leave out a side of what they look at: an orbit then shows what no view saw."""
    cameras = scene.cameras("train") or scene.cameras()
    turns = np.sort(_polar(cameras, focus_point(cameras), _up(cameras))[2] % 360)
    return bool(np.diff(turns, append=turns[0] + 360).max() >= GAP)


def read_poses(path: Path, like: Camera, frames: int = 0) -> list[Camera]:
    """The cameras of a JSON file, with the lens of `like` where it gives none.

    Read are transforms.json ({"frames": [{"transform_matrix": 4 x 4}]}) and nerfstudio's camera paths ({"camera_path":
    [{"camera_to_world": 16 numbers, "fov"}]}), poses camera to world in OpenGL's axes. `frames`: so many cameras on a
    smooth path through them, which are key frames then; 0: they themselves. Raises DataError.
    """
    if not path.is_file():
        raise DataError("there is no such file of poses", where=path, fix="Check --path.")
    content = read_json(path)
    entries = content.get("frames", content.get("camera_path"))
    if not isinstance(entries, list) or not entries:
        raise DataError("the file lists no poses", where=path, expected="the key frames or camera_path")
    cameras = [_posed(entry, content, like, path) for entry in entries]
    return _smooth(cameras, frames) if frames else cameras


def scaled_to(cameras: Sequence[Camera], side: int) -> list[Camera]:
    """Cameras whose shorter side has `side` pixels; 0: as they are."""
    if not side:
        return list(cameras)
    return [camera.scaled(side / min(camera.width, camera.height)) for camera in cameras]


def pictures(learner: Learner, scene: Scene, cameras: Sequence[Camera]) -> Iterator[dict[str, NDArray[np.float32]]]:
    """What each camera sees: rgb [H, W, 3] in 0..1, alpha and depth [H, W]."""
    for camera in cameras:
        view: Mapping[str, Any] = learner.render(scene, camera)
        yield {name: value.float().cpu().numpy() for name, value in view.items()}


def turntable(learner: Learner, config: SceneConfig) -> NDArray[np.uint8]:
    """uint8 [n, H, W, 3]: a turn around the scene, or around a few objects beside each other."""
    scenes = scenes_of(learner)
    if isinstance(learner, ObjectLearner):
        scenes = [learner.known[k] for k in spread(range(len(learner.known)), TOGETHER)]
    strips = []
    for scene in scenes:
        cameras = path_cameras(scene, config.eval.turn, config.eval.frames)
        cameras = scaled_to([camera.scaled(learner.scale) for camera in cameras], config.eval.frame_size)
        strips.append(np.stack([view["rgb"] for view in pictures(learner, scene, cameras)]))
    return eight_bit(np.concatenate(strips, axis=2))


def _up(cameras: Sequence[Camera]) -> NDArray[np.float64]:
    """The mean of what is up in the images; z, where it is near that, because then z is meant."""
    mean = np.mean([camera.c2w[:, 1] for camera in cameras], axis=0)
    length = float(np.linalg.norm(mean))
    z = np.array([0.0, 0.0, 1.0])
    return z if length < 1e-6 or mean[2] / length > UPRIGHT else np.asarray(mean / length)


def _polar(
    cameras: Sequence[Camera], target: NDArray[np.float64], up: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Distance, elevation and azimuth (degrees) of each camera, seen from the target."""
    away = np.stack([camera.origin for camera in cameras]) - target
    radius = np.linalg.norm(away, axis=1)
    height = away @ up
    side = np.cross(up, [1.0, 0.0, 0.0] if abs(up[0]) < 0.9 else [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    azimuth = np.degrees(np.arctan2(away @ np.cross(up, side), away @ side))
    return radius, np.degrees(np.arcsin(np.clip(height / np.maximum(radius, 1e-12), -1, 1))), azimuth


def _posed(entry: Any, content: Mapping[str, Any], like: Camera, path: Path) -> Camera:
    pose = entry.get("transform_matrix", entry.get("camera_to_world")) if isinstance(entry, dict) else entry
    try:
        matrix = np.asarray(pose, np.float64).reshape(-1, 4)
        width, height = (int(content.get(key, size)) for key, size in _sizes(like))
        camera = replace(like.resized(width, height), c2w=matrix, distortion=())
        if isinstance(entry, dict) and "fov" in entry:  # nerfstudio's is the height's
            focal = 0.5 * height / np.tan(np.radians(float(entry["fov"])) / 2)
            camera = replace(camera, fx=focal, fy=focal)
    except (TypeError, ValueError) as error:
        raise DataError(f"a pose cannot be read: {error}", where=path, expected="4 x 4 numbers") from None
    return camera


def _sizes(like: Camera) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("render_width", like.width), ("render_height", like.height)


def _smooth(cameras: Sequence[Camera], frames: int) -> list[Camera]:
    """Places on a spline through the key frames, turns at even speed between them."""
    if len(cameras) == 1:
        return list(cameras) * frames
    keys = np.arange(len(cameras))
    places = np.stack([camera.origin for camera in cameras])
    spline = CubicSpline(keys, places) if len(cameras) > 2 else None
    turns = Slerp(keys, Rotation.from_matrix([camera.c2w[:, :3] for camera in cameras]))
    made = []
    for t in np.linspace(0, len(cameras) - 1, frames):
        place = spline(t) if spline is not None else places[0] + t * (places[1] - places[0])
        pose = np.concatenate([turns(t).as_matrix(), np.asarray(place)[:, None]], axis=1)
        made.append(replace(cameras[round(t)], c2w=pose))
    return made
