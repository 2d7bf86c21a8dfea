"""transforms.json: of nearfar, NeRF-synthetic and nerfstudio; the fox; what is wrong with a file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.errors import ConfigError, DataError
from nearfar.scenes.formats import open_objects, open_scene, recognise, write_scene, write_transforms
from nearfar.spatial.cameras import look_at

FOX = (0.0578421, -0.0805099, -0.000980296, 0.00015575)


@pytest.mark.parametrize("lens", [(), FOX])
def test_round_trip(two_views: Callable, tmp_path: Path, lens: tuple[float, ...]) -> None:
    views = two_views()
    made = tuple(replace(f, camera=replace(f.camera, distortion=lens)) for f in views.scene.frames)
    box = (np.array([-1.0, -2, -3]), np.array([1.0, 2, 3]))
    scene = replace(views.scene, frames=made, points=np.eye(3), colours=np.ones((3, 3), np.float32), bounds=box)
    root = write_scene(scene, tmp_path / "out")
    found = open_scene(root)
    if not lens:
        views.same(found)
    assert found.frames[0].camera.distortion == lens
    assert np.allclose(found.frames[0].camera.project(views.point)[0], scene.frames[0].camera.project(views.point)[0])
    assert np.array_equal(found.points, np.eye(3))
    assert np.array_equal(found.colours, np.ones((3, 3)))
    assert np.array_equal(found.bounds, box)
    assert (found.frames[0].camera.near, found.frames[0].camera.far) == (1.5, 6.5)
    assert recognise(root).name == "transforms"


def test_write_transforms_points_to_images_where_they_are(two_views: Callable, tmp_path: Path) -> None:
    views = two_views(mode="RGBA")
    path = write_transforms(views.scene, tmp_path / "deep/er/cameras.json")
    assert json.loads(path.read_text())["frames"][0]["file_path"] == "../../source/0.png"
    found = open_scene(path)
    assert found.background == (1, 1, 1)
    views.same(found)


def synthetic(root: Path, mode: str = "RGBA") -> Path:
    """A folder as NeRF-synthetic's: names without suffix, an angle for the focal length."""
    for split, eye in (("train", (0, -4, 0)), ("val", (4, 0, 0)), ("test", (0, 4, 0))):
        (root / split).mkdir(parents=True)
        pixels = np.full((20, 20, len(mode)), 51, np.uint8)
        Image.fromarray(pixels).save(root / split / "r_0.png")
        pose = np.vstack([look_at(eye), [0, 0, 0, 1]]).tolist()
        frame = {"file_path": f"./{split}/r_0", "rotation": 0.1, "transform_matrix": pose}
        values = {"camera_angle_x": 2 * math.atan(0.5), "frames": [frame]}
        (root / f"transforms_{split}.json").write_text(json.dumps(values))
    return root


def test_nerf_synthetic(tmp_path: Path) -> None:
    scene = open_scene(synthetic(tmp_path / "lego"))
    assert [frame.split for frame in scene.frames] == ["train", "val", "test"]
    camera = scene.frames[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.near, camera.far) == pytest.approx((20, 20, 10, 2, 6))
    assert np.allclose(camera.project([[1, 0, -0.8]])[0], [[15, 14]])
    rgb, alpha = scene.image(0)
    assert np.allclose(alpha, 0.2)
    assert np.allclose(rgb, 0.2 * 0.2 + 0.8)  # straight alpha on the white that such scenes stand on
    assert (scene.name, scene.background) == ("lego", (1, 1, 1))
    dark = open_scene(tmp_path / "lego", background=(0, 0, 0))
    assert np.allclose(dark.image(0)[0], 0.04)
    assert open_scene(synthetic(tmp_path / "opaque", "RGB")).background is None


def file(root: Path, views: object, **changes: object) -> Path:
    """transforms.json of the two views in folder root, its head and every frame changed ("frame.KEY")."""
    path = write_scene(views.scene, root) / "transforms.json"
    head = json.loads(path.read_text())
    for key, value in changes.items():
        for part in head["frames"] if key.startswith("frame_") else [head]:
            part.pop(key.removeprefix("frame_"), None)
            if value is not None:
                part[key.removeprefix("frame_")] = value
    path.write_text(json.dumps(head))
    return path


def test_every_nth_view_is_held_out(two_views: Callable, tmp_path: Path) -> None:
    none = {f"{split}_filenames": None for split in ("train", "val", "test")}
    path = file(tmp_path / "t", two_views(), **none)
    assert [f.split for f in open_scene(path).frames] == ["test", "train"]
    assert [f.split for f in open_scene(path, hold_out=1).frames] == ["test", "test"]
    assert [f.split for f in open_scene(path, hold_out=0).frames] == ["train", "train"]


def test_intrinsics_of_the_head_and_of_frames(two_views: Callable, tmp_path: Path) -> None:
    path = file(tmp_path / "t", two_views(), fl_x=99.0, k1=0.1, frame_fl_x=None, frame_fl_y=None, frame_w=None)
    camera = open_scene(path).frames[0].camera
    assert (camera.fx, camera.fy, camera.width, camera.distortion) == (99, 99, 64, (0.1, 0, 0, 0))


def test_smaller_images_than_the_file_says(two_views: Callable, tmp_path: Path) -> None:
    views = two_views()
    path = file(
        tmp_path / "t", views, frame_w=128, frame_h=96, frame_fl_x=100, frame_fl_y=120, frame_cx=62, frame_cy=50
    )
    views.same(open_scene(path))
    wide = open_scene(file(tmp_path / "u", views, frame_w=128))
    with pytest.raises(DataError, match=r"another size.*64 x 48.*128 x 48"):
        wide.image(0)


def test_masks(two_views: Callable, tmp_path: Path) -> None:
    views = two_views()
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    scene = replace(views.scene, frames=tuple(replace(f, mask=tmp_path / "mask.png") for f in views.scene.frames))
    found = open_scene(write_scene(scene, tmp_path / "t"))
    rgb, alpha = found.image(1)
    assert np.array_equal(alpha, mask / 255)
    assert np.array_equal(rgb, views.scene.image(1)[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame_transform_matrix": np.eye(3).tolist()}, r"frame 0: the pose has the wrong shape.*3 x 3"),
        ({"frame_transform_matrix": np.full((4, 4), np.nan).tolist()}, r"frame 0: the pose holds NaN"),
        ({"frame_transform_matrix": np.diag([1.0, 1, -1, 1]).tolist()}, r"mirror image.*turn two axes"),
        ({"frame_transform_matrix": [[1, 2], "x"]}, r"no matrix of numbers"),
        ({"frame_transform_matrix": None}, r"file_path and transform_matrix"),
        ({"frame_fl_x": None, "frame_fl_y": None}, r"no focal length"),
        ({"frame_fl_x": "wide"}, r"fl_x is not a number"),
        ({"camera_model": "OPENCV_FISHEYE"}, r"camera model is not read"),
        ({"frame_k3": 0.2}, r"camera model is not read.*k3"),
        ({"frames": []}, r"lists no frames"),
        ({"frames": None}, r"no list of frames"),
        ({"aabb": [[1, 1, 1], [0, 0, 0]]}, r"aabb is no box"),
        ({"background": [2, 0, 0]}, r"background is no colour"),
        ({"ply_file_path": "nothing.ply"}, r"point file does not exist"),
    ],
)
def test_bad_files_are_named(two_views: Callable, tmp_path: Path, changes: dict, message: str) -> None:
    path = file(tmp_path / "t", two_views(), **changes)
    with pytest.raises(DataError, match=message):
        open_scene(path)


def test_missing_images(two_views: Callable, tmp_path: Path) -> None:
    path = file(tmp_path / "t", two_views())
    (path.parent / "images/0001.png").unlink()
    with pytest.raises(DataError, match="1 of 2 images do not exist"):
        open_scene(path)
    scene = open_scene(path, missing=True)
    with pytest.raises(DataError, match="does not exist"):
        scene.image(1)


def test_what_is_no_scene(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_scene(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no format recognises"):
        open_scene(tmp_path)
    with pytest.raises(DataError, match=r"no transforms\.json"):
        open_scene(tmp_path, "transforms")
    with pytest.raises(ConfigError, match="Did you mean transforms"):
        open_scene(tmp_path, "transform")
    with pytest.raises(DataError, match="no train objects"):
        open_objects(tmp_path)
    with pytest.raises(ConfigError, match="Did you mean train"):
        open_objects(tmp_path, split="trian")
    for content, message in (("{", r"transforms\.json:1: this is no JSON"), ("[]", "holds no object")):
        (tmp_path / "transforms.json").write_text(content)
        with pytest.raises(DataError, match=message):
            open_scene(tmp_path)


def test_transparent_without_background(two_views: Callable) -> None:
    scene = replace(two_views(mode="RGBA").scene, background=None)
    with pytest.raises(DataError, match="declares no background"):
        scene.image(0)
    assert scene.alpha_of(0)[0, [0, 63]].tolist() == [0, 1]


def test_fox(shared_data: Path) -> None:
    scene = open_scene(shared_data / "fox_135x240")
    assert len(scene.frames) == 50
    assert scene.indices("test") == list(range(0, 50, 8))
    assert scene.background is None
    camera = scene.frames[0].camera
    assert (camera.width, camera.height, camera.distortion) == (135, 240, FOX)
    rgb, alpha = scene.image(0)
    assert rgb.shape == (240, 135, 3)
    assert alpha is None
    origins, directions = camera.rays()
    places, _ = camera.project(origins + 3 * directions)
    assert np.abs(places - camera.pixels()).max() < 1e-9
    assert 0 < camera.near < np.linalg.norm(camera.origin) < camera.far
    small = scene.image(0, 0.2)[0]
    assert small.shape == (48, 27, 3)
    assert np.allclose(small.mean((0, 1)), rgb.mean((0, 1)), atol=1e-3)


def test_other_json_files_are_no_scenes(two_views: Callable, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text('[{"image_path": "a.png"}]')
    assert recognise(path) is None
    assert recognise(write_transforms(two_views().scene, tmp_path / "views.json")).name == "transforms"
    assert recognise(tmp_path / "source/0.png") is None
