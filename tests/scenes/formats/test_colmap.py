"""COLMAP's text files: poses, models, points, names with spaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.scenes.formats import open_scene, recognise, write_scene

LENS = (0.0578421, -0.0805099, -0.000980296, 0.00015575)


def written(two_views: Callable, root: Path, **changes: object) -> Path:
    return write_scene(replace(two_views().scene, **changes), root, "colmap")


@pytest.mark.parametrize("lens", [(), LENS])
def test_round_trip(two_views: Callable, tmp_path: Path, lens: tuple[float, ...]) -> None:
    views = two_views(lens=lens)
    points = np.random.default_rng(0).normal(size=(50, 3)) * 0.3
    scene = replace(views.scene, points=points, colours=np.full((50, 3), 0.2, np.float32))
    root = write_scene(scene, tmp_path / "t", "colmap")
    assert recognise(root).name == "colmap"
    found = open_scene(root)
    assert np.array_equal(found.points, points)
    assert np.allclose(found.colours, 0.2)
    assert found.frames[0].camera.distortion == lens
    assert 2.0 < found.frames[0].camera.near < 3.6
    assert 4.4 < found.frames[0].camera.far < 6.5
    if not lens:
        views.same(found)
    for mine, its in zip(scene.frames, found.frames, strict=True):
        assert np.allclose(its.camera.project(points)[0], mine.camera.project(points)[0])


def test_points_between_the_lines_and_names_with_spaces(two_views: Callable, tmp_path: Path) -> None:
    root = written(two_views, tmp_path / "t")
    file = root / "sparse/0/images.txt"
    lines = file.read_text().splitlines()
    lines[2] = "12.5 30.25 7 1.0 2.0 -1"
    lines[3] = lines[3].replace("0001.png", "a view.png")
    (root / "images/0001.png").rename(root / "images/a view.png")
    file.write_text("# more\n" + "\n".join(lines) + "\n\n")
    two_views().same(open_scene(root))


def test_model_beside_the_images(two_views: Callable, tmp_path: Path) -> None:
    root = written(two_views, tmp_path / "t")
    for file in (root / "sparse/0").iterdir():
        file.rename(root / file.name)
    (root / "points3D.txt").unlink()
    two_views().same(open_scene(root))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("cameras", "PINHOLE", "FOV", "camera model 'FOV' of COLMAP is not read"),
        ("cameras", "1 PINHOLE 64", "1 PINHOLE wide", "a camera is not read"),
        ("cameras", "1 PINHOLE", "7 PINHOLE", "camera 1 is not in cameras"),
        ("images", " 1 0000.png", "", "an image is not read"),
        ("images", "0000.png", "ghost.png", "1 of 2 images do not exist.*ghost"),
        ("points3D", "\n1 0 0 0", "\n1 nan 0 0", "NaN"),
        ("points3D", "\n1 0 0 0", "\n1 x 0 0", "a point is not read"),
    ],
)
def test_bad_files(two_views: Callable, tmp_path: Path, name: str, old: str, new: str, message: str) -> None:
    root = written(two_views, tmp_path / "t", points=np.zeros((1, 3)))
    file = root / f"sparse/0/{name}.txt"
    content = file.read_text()
    assert old in content
    file.write_text(content.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        open_scene(root)


def test_binary_model(two_views: Callable, tmp_path: Path) -> None:
    root = written(two_views, tmp_path / "t")
    (root / "sparse/0/cameras.txt").rename(root / "sparse/0/cameras.bin")
    with pytest.raises(DataError, match="model_converter"):
        open_scene(root, "colmap")
