"""The figure of cameras: pyramids that open the way the camera looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from nearfar.report.frustums import frustum, frustums_figure
from nearfar.scenes.scene import Frame, Scene
from nearfar.spatial.cameras import Camera, look_at, orbit


def test_frustum_projects_onto_the_image() -> None:
    camera = Camera(look_at((1, -4, 2)), 50, 60, 31, 25, 64, 48)
    lines = frustum(camera, 0.5)
    assert lines.shape == (9, 2, 3)
    assert np.allclose(lines[:4, 0], camera.origin)
    assert np.allclose(camera.project(lines[:4, 1])[0], [[0, 0], [64, 0], [64, 48], [0, 48]])
    assert np.allclose(camera.project(lines[8])[0][:, 0], 32)
    assert camera.project(lines[8, 1:])[0][0, 1] < 0
    assert np.allclose(camera.project(lines[:4, 1])[1], 0.5)


def test_figure(tmp_path: Path) -> None:
    frames = tuple(
        Frame(Path("x.png"), camera, "test" if i % 4 == 0 else "train") for i, camera in enumerate(orbit(8, 3.0))
    )
    plain = Scene("ring", frames)
    path = frustums_figure(plain, tmp_path / "deep/cameras.png")
    coloured = Scene("ring", frames, points=np.random.default_rng(0).normal(size=(9000, 3)) * 0.3,
                     colours=np.full((9000, 3), (1, 0, 0), np.float32))  # fmt: skip
    other = frustums_figure(coloured, tmp_path / "b.png")
    red = [int((np.asarray(Image.open(p))[..., :3] == (255, 0, 0)).all(-1).sum()) for p in (path, other)]
    assert red[0] == 0
    assert red[1] > 500
