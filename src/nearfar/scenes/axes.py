"""Whether the poses of a scene mean what they are read as: scored against the mix-ups that happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nearfar.data.readers import Problem
from nearfar.errors import DataError
from nearfar.scenes.hull import Silhouette, carve, shared_region, silhouettes
from nearfar.scenes.scene import Scene
from nearfar.spatial.cameras import Camera, focus_point

Read = Callable[[NDArray[np.float64]], NDArray[np.float64]]
TURNED = np.diag([1.0, -1.0, -1.0, 1.0])
MIXUPS: dict[str, Read] = {
    "camera to world in OpenCV's axes (y down, looking along +z)": lambda pose: pose @ TURNED,
    "world to camera in OpenCV's axes": lambda pose: np.asarray(np.linalg.inv(pose)) @ TURNED,
    "world to camera": lambda pose: np.asarray(np.linalg.inv(pose)),
}
"""what poses may be in place of camera to world in OpenGL's axes, and how to read them then"""
CAMERAS, POINTS, SIDE = 32, 500, 32
SEEN = 0.3
"""smallest share of pairs of a point and a camera in sight in a scene that is well"""


@dataclass(frozen=True)
class _Evidence:
    """How well cameras fit what else is known, 0..1, if their poses are read in a way."""

    what: str
    """what it means if they do not"""
    score: Callable[[Read], float]
    certain: bool
    """whether a bad score is a fault in every kind of scene"""


def axis_problems(scene: Scene) -> Iterator[Problem]:
    """A mix-up of the poses that fits clearly better than what is read; points that cameras do not see.

    Judged by the scene's points, else by its silhouettes, else by whether cameras see the point nearest to all axes.
    """
    evidence = _evidence(scene)
    now = evidence.score(lambda pose: pose)
    if now >= SEEN:
        return
    scores = {name: evidence.score(read) for name, read in MIXUPS.items()}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] > max(2 * now, SEEN):
        surely = "the poses are" if evidence.certain else "if the views look at one thing, the poses are"
        what = f"{evidence.what}: {surely} {best}, not camera to world in OpenGL's axes"
        yield Problem(scene.name, what, "Convert the poses, or open the folder in its own format.", evidence.certain)
    elif evidence.certain:
        fix = "Check that poses, points and masks belong to one reconstruction, and that masks are not inverted."
        yield Problem(scene.name, evidence.what, fix)


def _evidence(scene: Scene) -> _Evidence:
    cameras = scene.cameras()
    cameras = cameras[:: -(-len(cameras) // CAMERAS)]
    if scene.points is not None and len(scene.points):
        return _of_points(cameras, scene.points[:: -(-len(scene.points) // POINTS)])
    try:
        views = silhouettes(scene)
    except DataError:  # images that cannot be decoded are told of by themselves
        views = []
    if views:
        return _Evidence("the silhouettes share no point", lambda read: _shared(views, scene, read), True)
    what = "the views look away from where their axes meet"
    return _Evidence(what, lambda read: _facing([_as(camera, read) for camera in cameras]), False)


def _of_points(cameras: list[Camera], points: NDArray[np.float64]) -> _Evidence:
    seen = float(np.mean([camera.sees(points).mean() for camera in cameras]))
    behind = all((camera.project(points)[1] <= 0).all() for camera in cameras)
    what = "all points lie behind all cameras" if behind else f"{seen:.0%} of the points are in sight of a camera"
    return _Evidence(what, lambda read: float(np.mean([_as(c, read).sees(points).mean() for c in cameras])), True)


def _shared(views: list[Silhouette], scene: Scene, read: Read) -> float:
    """Whether the visual hull holds anything; from one place alone there is none."""
    turned = [replace(view, camera=_as(view.camera, read)) for view in views]
    places = np.stack([view.camera.origin for view in turned])
    if len(turned) > 1 and np.ptp(places, axis=0).max() <= 1e-6 * np.abs(places).max():
        return 0.0
    bounds = scene.bounds or shared_region([view.camera for view in turned])
    return float(carve(turned, bounds, SIDE).filled.any())


def _facing(cameras: list[Camera]) -> float:
    """The share of cameras that see the point nearest to all axes."""
    focus = focus_point(cameras)
    return float(np.mean([camera.sees(focus[None])[0] for camera in cameras]))


def _as(camera: Camera, read: Read) -> Camera:
    return replace(camera, c2w=read(camera.matrix))
