"""Two cameras that see one point, as files of any format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.scenes.scene import Frame, Scene
from nearfar.spatial.cameras import Camera, look_at

POINT = np.array([[0.44, 0.0, 12.5 / 15]])
"""seen by the first camera in the middle of pixel (36, 12), where its image is red"""


@dataclass(frozen=True)
class TwoViews:
    scene: Scene
    point: np.ndarray
    pixel: tuple[int, int] = (36, 12)

    def same(self, other: Scene, *, atol: float = 1e-9) -> None:
        """Asserts that `other` has the same cameras, splits and pictures, and sees the point at its pixel."""
        assert len(other.frames) == 2
        for i, (mine, its) in enumerate(zip(self.scene.frames, other.frames, strict=True)):
            assert its.split == mine.split
            expected = mine.camera.project(self.point)[0]
            assert np.allclose(its.camera.project(self.point)[0], expected, atol=max(atol, 1e-9))
            for name in ("c2w", "fx", "fy", "cx", "cy", "width", "height"):
                assert np.allclose(getattr(its.camera, name), getattr(mine.camera, name), atol=atol), name
            assert np.allclose(other.image(i)[0], self.scene.image(i)[0])
        column, row = self.pixel
        assert np.allclose(other.frames[0].camera.project(self.point)[0], [[column + 0.5, row + 0.5]], atol=atol)
        assert other.image(0)[0][row, column].tolist() == [1, 0, 0]


@pytest.fixture
def two_views(tmp_path: Path) -> Callable[..., TwoViews]:
    """two_views(lens=(), mode="RGB", square=False): a scene with images; alpha is 0 in the left half."""

    def make(lens: tuple[float, ...] = (), mode: str = "RGB", square: bool = False) -> TwoViews:
        size = (64, 64) if square else (64, 48)
        focal, middle = ((50, 50), (32, 32)) if square else ((50, 60), (31, 25))
        frames = []
        for i, (eye, split) in enumerate([((0, -4, 0), "test"), ((4, 0, 0), "train")]):
            camera = Camera(look_at(eye), *focal, *middle, *size, near=1.5, far=6.5, distortion=lens)
            rows, columns = np.mgrid[: size[1], : size[0]]
            pixels = np.stack([columns, rows * 3, 0 * rows + 40 * i], -1).astype(np.uint8)
            alpha = np.where(columns < 20, 0, 255).astype(np.uint8)
            pixels[12, 36] = (255, 0, 0)
            made = np.dstack([pixels, alpha]) if mode == "RGBA" else pixels
            path = tmp_path / "source" / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(made).save(path)
            frames.append(Frame(path, camera, split))
        point = np.array([[0.36, 0.0, 1.56]]) if square else POINT
        return TwoViews(Scene("two", tuple(frames), background=(1, 1, 1) if mode == "RGBA" else None), point)

    return make
