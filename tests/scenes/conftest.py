"""A ball seen from all around; tiny runs of a scene and of objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.data.synthetic.objects import generate_objects, generate_scene
from nearfar.scenes.config import SceneConfig, load
from nearfar.scenes.fit import fit_objects, fit_scene
from nearfar.scenes.measure import measure
from nearfar.scenes.run import SceneRun
from nearfar.scenes.scene import Frame, Scene
from nearfar.spatial.cameras import orbit

TINY: dict[str, Any] = {
    "train.log_every": 1, "train.checkpoint_every": 0, "train.evaluations": 2, "train.evaluation_views": 1,
    "eval.frames": 2, "eval.pictures": 2, "eval.views": 2, "eval.objects": 1,
}  # fmt: skip
POINTS: dict[str, Any] = {
    "points.points": 60, "points.neighbours": 4, "points.width": 16, "points.feature_dim": 8, "points.rays": 64,
    "points.head_width": 16, "points.warmup": 2,
}  # fmt: skip
OBJECTS: dict[str, Any] = {
    "objects.width": 16, "objects.latent": 8, "objects.coarse": 8, "objects.objects": 2, "objects.rays": 32,
    "objects.encoder_size": 16, "objects.warmup": 2, "objects.near": 1.9, "objects.far": 3.5,
}  # fmt: skip


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scene/ of 24 and 3 views and objects/ of three and one object, 16 pixels; read only."""
    root = tmp_path_factory.mktemp("world")
    generate_scene(root / "scene", views=(24, 3), size=16)
    generate_objects(root / "objects", n=4, size=16, shares=(3, 0, 1))
    return root


@pytest.fixture(scope="session")
def tiny(world: Path) -> Callable[..., SceneConfig]:
    """tiny(task, **settings): a configuration that trains in a second on `world`; train.steps is 8."""

    def make(task: str = "scene", **settings: Any) -> SceneConfig:
        own = {"scene": POINTS, "objects": OBJECTS}[task]
        given = {key.replace("__", "."): value for key, value in settings.items()}
        root = world / task
        return load("demo", task, None, {**TINY, **own, "data.root": root, "train.steps": 8, **given})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def scene_run(tiny: Callable[..., SceneConfig], tmp_path_factory: pytest.TempPathFactory) -> SceneRun:
    """A trained and measured run of a scene; read only."""
    run = fit_scene(tiny("scene"), tmp_path_factory.mktemp("runs") / "scene")
    measure(run)
    return run


@pytest.fixture(scope="session")
def objects_run(tiny: Callable[..., SceneConfig], tmp_path_factory: pytest.TempPathFactory) -> SceneRun:
    """A trained and measured run of objects; read only."""
    run = fit_objects(tiny("objects"), tmp_path_factory.mktemp("runs") / "objects")
    measure(run)
    return run


CENTRE, RADIUS = np.array([0.3, -0.2, 0.5]), 0.6


@pytest.fixture
def ball(tmp_path: Path) -> Callable[..., Scene]:
    """ball(views=24, size=48): a ball of radius 0.6 at (0.3, -0.2, 0.5), red where x > 0.3, else blue."""

    def make(views: int = 24, size: int = 48) -> Scene:
        rig = [c for e in (-35.0, 10.0, 50.0) for c in orbit(views // 3, 3.5, e, width=size, height=size, fov=50)]
        frames = []
        for i, camera in enumerate(rig):
            origins, directions = camera.rays()
            v = CENTRE - origins
            along = (v * directions).sum(axis=1)
            inside = RADIUS**2 - (v * v).sum(axis=1) + along**2
            hit = origins + directions * (along - np.sqrt(np.maximum(inside, 0)))[:, None]
            rgb = np.where(hit[:, :1] > CENTRE[0], [1.0, 0, 0], [0, 0, 1.0])
            pixels = np.concatenate([rgb, (inside > 0)[:, None]], axis=1).astype(np.float32)
            path = tmp_path / "ball" / f"{i}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, pixels.reshape(size, size, 4))
            frames.append(Frame(path, camera, "test" if i % 8 == 0 else "train"))
        return Scene("ball", tuple(frames), background=(1, 1, 1))

    return make
