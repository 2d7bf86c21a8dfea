"""A ball seen from all around."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nearfar.scenes.scene import Frame, Scene
from nearfar.spatial.cameras import orbit

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
