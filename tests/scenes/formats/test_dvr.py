"""DVR's layout: cameras by position in the list of images, masks, lists of objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.scenes.formats import open_objects, open_scene, recognise, write_scene


def test_round_trip(two_views: Callable, tmp_path: Path) -> None:
    views = two_views(square=True)
    root = write_scene(views.scene, tmp_path / "chair", "dvr")
    assert recognise(root).name == "dvr"
    found = open_scene(root)
    views.same(found)
    assert found.background == (1, 1, 1)
    assert (found.frames[0].camera.near, found.frames[0].camera.far) == (1.2, 4.0)


def test_masks_come_from_alpha(two_views: Callable, tmp_path: Path) -> None:
    views = two_views(mode="RGBA", square=True)
    root = write_scene(views.scene, tmp_path / "chair", "dvr")
    found = open_scene(root)
    assert np.array_equal(found.image(0)[1], views.scene.image(0)[1])
    assert np.array_equal(found.image(0)[0], views.scene.image(0)[0])


def test_cameras_go_by_position_not_by_number(two_views: Callable, tmp_path: Path) -> None:
    views = two_views(square=True)
    root = write_scene(views.scene, tmp_path / "chair", "dvr")
    (root / "image/0000.png").rename(root / "image/0007.png")
    (root / "image/0001.png").rename(root / "image/0010.png")
    views.same(open_scene(root))


def test_lists(two_views: Callable, tmp_path: Path) -> None:
    views = two_views(square=True)
    for category, names in (("02", ("a", "b", "c")), ("03", ("d",))):
        for name in names:
            write_scene(views.scene, tmp_path / category / name, "dvr")
    (tmp_path / "02/softras_train.lst").write_text("b\na\n\n")
    (tmp_path / "02/softras_test.lst").write_text("c\n")
    (tmp_path / "03/softras_train.lst").write_text("d\n")
    assert [scene.name for scene in open_objects(tmp_path)] == ["b", "a", "d"]
    assert [scene.name for scene in open_objects(tmp_path / "02", "dvr", "test")] == ["c"]
    assert open_objects(tmp_path, hold_out=2)[0].indices("test") == [0]
    (tmp_path / "03/softras_train.lst").write_text("d\nghost\n")
    with pytest.raises(DataError, match=r"softras_train\.lst: 1 of 2 listed objects do not exist.*ghost"):
        open_objects(tmp_path)


def test_bad_files(two_views: Callable, tmp_path: Path) -> None:
    root = write_scene(two_views(square=True).scene, tmp_path / "chair", "dvr")
    file = root / "cameras.npz"
    arrays = dict(np.load(file))
    for changes, message in (
        ({"world_mat_1": np.eye(2)}, "camera 1: world_mat has the wrong shape.*2 x 2"),
        ({"world_mat_1": np.full((4, 4), np.nan)}, "camera 1.*NaN"),
        ({"world_mat_2": np.eye(4)}, "2 images, 0 masks, 3 cameras"),
    ):
        np.savez(file, **{**arrays, **changes})
        with pytest.raises(DataError, match=message):
            open_scene(root)
    renamed = {name.replace("world_mat_0", "world_mat_5"): value for name, value in arrays.items()}
    np.savez(file, **renamed)
    with pytest.raises(DataError, match="world_mat_0 is missing"):
        open_scene(root)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="cameras cannot be read"):
        open_scene(root)
    file.unlink()
    with pytest.raises(DataError, match="cameras are missing"):
        open_scene(root, "dvr")


def test_middle_is_needed(two_views: Callable, tmp_path: Path) -> None:
    views = two_views(square=True)
    frames = tuple(replace(f, camera=replace(f.camera, cx=30)) for f in views.scene.frames)
    with pytest.raises(DataError, match="in the middle"):
        write_scene(replace(views.scene, frames=frames), tmp_path / "t", "dvr")
