"""Images of a scene: channels, depths, sizes; sampling between pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.errors import DataError
from nearfar.scenes.scene import Frame, Scene, resampled, sample_image
from nearfar.spatial.cameras import Camera, look_at


def scene_of(path: Path, array: np.ndarray, **changes: object) -> Scene:
    np.save(path, array)
    camera = Camera(look_at((0, -4, 0)), 9, 9, 4, 3, 8, 6)
    return Scene("one", (Frame(path, camera),), **changes)


def test_grey_deep_and_colour_images_become_rgb(tmp_path: Path) -> None:
    deep = scene_of(tmp_path / "a.npy", np.full((6, 8), 65535, np.uint16))
    assert deep.image(0)[0].tolist() == np.ones((6, 8, 3)).tolist()
    pair = np.stack([np.full((6, 8), 255), np.full((6, 8), 51)], -1).astype(np.uint8)
    rgb, alpha = scene_of(tmp_path / "b.npy", pair, background=(0.0, 0.5, 1.0)).image(0)
    assert np.allclose(rgb[0, 0], [0.2, 0.6, 1.0])
    assert np.allclose(alpha, 0.2)
    with pytest.raises(DataError, match="one to four channels"):
        scene_of(tmp_path / "c.npy", np.zeros((6, 8, 5), np.uint8)).image(0)


def test_smaller_images_are_means_of_what_is_composited(tmp_path: Path) -> None:
    values = np.zeros((6, 8, 4), np.float32)
    values[:, ::2] = (0.0, 0.0, 0.0, 1.0)
    values[:, 1::2] = (1.0, 0.0, 0.0, 0.0)  # a colour that nobody sees
    rgb, alpha = scene_of(tmp_path / "a.npy", values, background=(1.0, 1.0, 1.0)).image(0, 0.5)
    assert rgb.shape == (3, 4, 3)
    assert np.allclose(rgb, 0.5)
    assert np.allclose(alpha, 0.5)
    grown = scene_of(tmp_path / "b.npy", np.full((6, 8, 3), 0.25, np.float32)).image(0, 2.0)[0]
    assert grown.shape == (12, 16, 3)
    assert np.allclose(grown, 0.25)


def test_mask_of_another_size(tmp_path: Path) -> None:
    scene = scene_of(tmp_path / "a.npy", np.zeros((6, 8, 3), np.float32))
    Image.fromarray(np.zeros((5, 8), np.uint8)).save(tmp_path / "m.png")
    frame = Frame(scene.frames[0].path, scene.frames[0].camera, mask=tmp_path / "m.png")
    with pytest.raises(DataError, match=r"m\.png.*8 x 5.*8 x 6"):
        Scene("one", (frame,)).image(0)


def test_splits() -> None:
    camera = Camera(look_at((0, -4, 0)), 9, 9, 4, 3, 8, 6)
    frames = tuple(Frame(Path(f"{i}.png"), camera, split) for i, split in enumerate(("test", "train", "test")))
    scene = Scene("one", frames)
    assert scene.indices("test") == [0, 2]
    assert len(scene.cameras()) == 3
    assert len(scene.cameras("train")) == 1
    assert scene.indices("val") == []


def test_sampling_is_exact_at_centres_and_linear_between() -> None:
    image = np.random.default_rng(0).random((5, 7, 3), dtype=np.float32)
    rows, columns = np.mgrid[:5, :7]
    centres = np.stack([columns.ravel(), rows.ravel()], -1) + 0.5
    assert np.array_equal(sample_image(image, centres), image.reshape(-1, 3))
    ramp = np.tile(np.arange(7, dtype=np.float32)[None, :, None], (5, 1, 1))
    assert np.allclose(sample_image(ramp, np.array([[2.75, 1.2], [-3.0, 9.0]]))[:, 0], [2.25, 0])


def test_resampled_keeps_the_mean() -> None:
    image = np.random.default_rng(0).random((8, 8, 1), dtype=np.float32)
    assert np.isclose(resampled(image, 2, 4).mean(), image.mean(), atol=1e-6)
