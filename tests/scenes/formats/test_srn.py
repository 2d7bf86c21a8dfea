"""SRN's layout: an object, folders of many, intrinsics with a line more or fewer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nearfar.errors import DataError
from nearfar.scenes.formats import open_objects, open_scene, recognise, write_scene


def test_round_trip(two_views: Callable, tmp_path: Path) -> None:
    views = two_views(square=True)
    root = write_scene(views.scene, tmp_path / "car", "srn")
    assert recognise(root).name == "srn"
    found = open_scene(root)
    views.same(found)
    assert (found.name, found.background) == ("car", (1, 1, 1))
    assert (found.frames[0].camera.near, found.frames[0].camera.far) == pytest.approx((2.4, 5.6))


@pytest.mark.parametrize("tail", ["64 64\n", "0.01\n1.\n64 64\n", "64 64\n1\n", "1.\n128 128\n\n"])
def test_intrinsics_of_all_kinds(two_views: Callable, tmp_path: Path, tail: str) -> None:
    root = write_scene(two_views(square=True).scene, tmp_path / "car", "srn")
    scale = 2 if "128" in tail else 1
    (root / "intrinsics.txt").write_text(f"{50 * scale} {32 * scale} {32 * scale} 0.\n0. 0. 0.\n{tail}")
    camera = open_scene(root).frames[0].camera
    assert (camera.fx, camera.cx, camera.width) == (50, 32, 64)


def test_transparent_images_are_composited(two_views: Callable, tmp_path: Path) -> None:
    views = two_views(mode="RGBA", square=True)
    views.same(open_scene(write_scene(views.scene, tmp_path / "car", "srn")))


@pytest.mark.parametrize("nested", [False, True])
def test_many(two_views: Callable, tmp_path: Path, nested: bool) -> None:
    views = two_views(square=True)
    inner = "chairs_train/chairs_2.0_train" if nested else "chairs_train"
    for name in ("b", "a"):
        write_scene(views.scene, tmp_path / inner / name, "srn")
    for root in (tmp_path / "chairs", tmp_path / "chairs_train", tmp_path):
        assert [scene.name for scene in open_objects(root, "srn")] == ["a", "b"]
    found = open_objects(tmp_path / "chairs_train")
    assert {frame.split for scene in found for frame in scene.frames} == {"train"}
    with pytest.raises(DataError, match="no test objects"):
        open_objects(tmp_path / "chairs_train", split="test")


@pytest.mark.parametrize("root", [".", ".."])
def test_the_folder_one_stands_in(
    two_views: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    write_scene(two_views(square=True).scene, tmp_path / "car", "srn")
    write_scene(two_views(square=True).scene, tmp_path / "cars/cars_train/a", "srn")
    (tmp_path / "car/in").mkdir()
    (tmp_path / "cars/cars_train/in").mkdir()
    monkeypatch.chdir(tmp_path / "car" / ("" if root == "." else "in"))
    assert open_scene(root).name == "car"
    monkeypatch.chdir(tmp_path / "cars/cars_train" / ("" if root == "." else "in"))
    assert [scene.name for scene in open_objects(root)] == ["a"]


def test_bad_files(two_views: Callable, tmp_path: Path) -> None:
    views = two_views(square=True)
    root = write_scene(views.scene, tmp_path / "car", "srn")
    (root / "intrinsics.txt").write_text("50 32 32 0.\n")
    with pytest.raises(DataError, match="intrinsics are not read"):
        open_scene(root)
    (root / "intrinsics.txt").write_text("50 32 32 0.\n64 64\n")
    (root / "pose/000001.txt").write_text("0 " * 16)
    with pytest.raises(DataError, match=r"000001\.txt: the last row of the pose"):
        open_scene(root)
    first, second = views.scene.frames
    wide = replace(views.scene, frames=tuple(replace(f, camera=replace(f.camera, fy=60)) for f in (first, second)))
    with pytest.raises(DataError, match="one focal length"):
        write_scene(wide, tmp_path / "x", "srn")
