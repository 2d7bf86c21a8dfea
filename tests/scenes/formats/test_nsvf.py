"""NSVF's layout: splits by prefix, intrinsics in two forms, bounding box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError
from nearfar.scenes.formats import open_scene, recognise, write_scene

BOX = (np.array([-1.0, -1, -1]), np.array([1.0, 1, 1]))


def test_round_trip(two_views: Callable, tmp_path: Path) -> None:
    views = two_views()
    root = write_scene(replace(views.scene, bounds=BOX), tmp_path / "t", "nsvf")
    assert recognise(root).name == "nsvf"
    assert sorted(path.name for path in (root / "rgb").iterdir()) == ["0_0001.png", "1_0000.png"]
    found = open_scene(root)
    views.same(found)
    assert np.array_equal(found.bounds, BOX)
    assert found.background == (1, 1, 1)
    assert (found.frames[0].camera.near, found.frames[0].camera.far) == pytest.approx((3, 5))


def test_three_splits_and_order(two_views: Callable, tmp_path: Path) -> None:
    views = two_views()
    first, second = views.scene.frames
    frames = tuple(replace(first if i % 2 else second, split=s) for i, s in enumerate(["test", "val", "train"] * 4))
    found = open_scene(write_scene(replace(views.scene, frames=frames), tmp_path / "t", "nsvf"))
    assert [frame.split for frame in found.frames] == [frame.split for frame in frames]


def test_short_intrinsics(two_views: Callable, tmp_path: Path) -> None:
    root = write_scene(two_views().scene, tmp_path / "t", "nsvf")
    (root / "intrinsics.txt").write_text("70.5 30 20 0.\n0. 0. 0.\n1.\n48 64\n")
    camera = open_scene(root).frames[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.width) == (70.5, 70.5, 30, 20, 64)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pose/1_0000.txt", "1 2 3\n4 5 6\n", r"1_0000\.txt: the matrix has the wrong shape.*2 x 3"),
        ("pose/1_0000.txt", "1 2\n3\n", r"1_0000\.txt: this is no matrix"),
        ("pose/1_0000.txt", "nan " * 16, r"1_0000\.txt: the pose holds NaN"),
        ("pose/1_0000.txt", "", "an empty file"),
        ("intrinsics.txt", "wide\n", "intrinsics are not read"),
        ("bbox.txt", "1 1 1 0 0 0 0.1", "no bounding box"),
    ],
)
def test_bad_files(two_views: Callable, tmp_path: Path, name: str, content: str, message: str) -> None:
    root = write_scene(two_views().scene, tmp_path / "t", "nsvf")
    (root / name).write_text(content)
    with pytest.raises(DataError, match=message):
        open_scene(root)


def test_images_and_poses_that_miss_each_other(two_views: Callable, tmp_path: Path) -> None:
    root = write_scene(two_views().scene, tmp_path / "t", "nsvf")
    (root / "pose/0_0001.txt").rename(root / "pose/0_0009.txt")
    with pytest.raises(DataError, match=r"1 images have no pose.*0_0001"):
        open_scene(root)
    (root / "rgb/0_0001.png").unlink()
    with pytest.raises(DataError, match="1 of 2 images do not exist"):
        open_scene(root)


def test_what_it_cannot_hold(two_views: Callable, tmp_path: Path) -> None:
    scene = two_views(lens=(0.1, 0, 0, 0)).scene
    with pytest.raises(DataError, match="no lens distortion"):
        write_scene(scene, tmp_path / "t", "nsvf")
    first, second = two_views().scene.frames
    mixed = replace(scene, frames=(first, replace(second, camera=replace(second.camera, fx=51))))
    with pytest.raises(DataError, match="one set of intrinsics"):
        write_scene(mixed, tmp_path / "t", "nsvf")


def test_a_file_where_a_folder_should_be(two_views: Callable, tmp_path: Path) -> None:
    (tmp_path / "pose").write_text("")
    with pytest.raises(ConfigError, match="a file lies where a folder should be"):
        write_scene(two_views().scene, tmp_path, "nsvf")
