"""What `check_scene` finds, each planted on purpose; nothing in what is well."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.errors import ConfigError, DataError
from nearfar.scenes.axes import MIXUPS
from nearfar.scenes.check import check_folder, check_scene
from nearfar.scenes.formats import open_scene, write_scene
from nearfar.scenes.scene import Frame, Scene
from nearfar.spatial.cameras import Camera

TURNED = np.diag([1.0, -1, -1, 1])
PLANTED = {  # the pose in the file -> what it is
    "OpenCV": (lambda pose: pose @ TURNED, 0),
    "inverse OpenCV": (lambda pose: np.linalg.inv(pose @ TURNED), 1),
    "inverse": (np.linalg.inv, 2),
}
POINTS = np.random.default_rng(0).normal(size=(200, 3)) * 0.3 + [0.3, -0.2, 0.5]


def whats(scene: Scene) -> str:
    return "\n".join(f"{problem.path}: {problem.what}" for problem in check_scene(scene))


def moved(scene: Scene, change: Callable[[np.ndarray], np.ndarray]) -> Scene:
    frames = [replace(f, camera=replace(f.camera, c2w=change(f.camera.matrix))) for f in scene.frames]
    return replace(scene, frames=tuple(frames))


def photographs(scene: Scene) -> Scene:
    for frame in scene.frames:
        np.save(frame.path, np.load(frame.path)[..., :3])
    return scene


def test_nothing_in_what_is_well(ball: Callable[..., Scene]) -> None:
    scene = ball(12, 24)
    assert whats(scene) == ""
    assert whats(replace(scene, points=POINTS)) == ""
    assert whats(photographs(scene)) == ""


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("evidence", ["points", "silhouettes", "axes"])
def test_mixups_are_named(ball: Callable[..., Scene], kind: str, evidence: str) -> None:
    change, number = PLANTED[kind]
    scene = moved(ball(12, 24), change)
    scene = replace(scene, points=POINTS) if evidence == "points" else scene
    scene = photographs(scene) if evidence == "axes" else scene
    found = [problem for problem in check_scene(scene) if "OpenGL's axes" in problem.what]
    assert len(found) == 1
    assert f"poses are {list(MIXUPS)[number]}, not" in found[0].what
    assert found[0].fatal == (evidence != "axes")
    if evidence == "points" and kind == "OpenCV":
        assert "all points lie behind all cameras" in found[0].what


def test_points_of_another_reconstruction(ball: Callable[..., Scene]) -> None:
    text = whats(replace(ball(12, 24), points=POINTS + 500))
    assert "0% of the points are in sight of a camera" in text


def test_images(ball: Callable[..., Scene]) -> None:
    scene = ball(12, 24)
    paths = [frame.path for frame in scene.frames]
    paths[0].unlink()
    paths[1].write_bytes(b"no image")
    np.save(paths[2], np.zeros((24, 20, 4), np.float32))
    np.save(paths[3], np.zeros((24, 24, 4), np.float32))
    text = whats(scene)
    assert f"{paths[0]}: the image does not exist" in text
    assert f"{paths[1]}: the image cannot be decoded" in text
    assert f"{paths[2]}: the image has another size than its camera (found 20 x 24, expected 24 x 24)" in text
    assert f"{paths[3]}: the image is wholly transparent" in text


def with_mask(scene: Scene, mask: np.ndarray, i: int, path: Path) -> Scene:
    Image.fromarray(np.asarray(mask * 255, np.uint8)).save(path)
    frames = [replace(f, mask=path) if k == i else f for k, f in enumerate(scene.frames)]
    return replace(scene, frames=tuple(frames))


def test_masks_against_alpha(ball: Callable[..., Scene], tmp_path: Path) -> None:
    scene = ball(12, 24)
    alpha = np.load(scene.frames[4].path)[..., 3] > 0.5
    assert whats(with_mask(scene, alpha, 4, tmp_path / "m.png")) == ""
    assert "overlap by 0%; inverted it would fit" in whats(with_mask(scene, ~alpha, 4, tmp_path / "m.png"))
    half = alpha & (np.arange(24) < 13)
    assert "m.png: the mask and the alpha of 4.npy overlap by" in whats(with_mask(scene, half, 4, tmp_path / "m.png"))
    assert "the mask is empty" in whats(with_mask(scene, 0 * alpha, 4, tmp_path / "m.png"))
    small = with_mask(scene, alpha[:20], 4, tmp_path / "m.png")
    assert "the mask is 24 x 20, its image 24 x 24" in whats(small)
    (tmp_path / "m.png").unlink()
    assert "m.png: the image does not exist" in whats(small)


def test_masks_against_the_background(ball: Callable[..., Scene], tmp_path: Path) -> None:
    scene = ball(12, 24)
    pixels = np.load(scene.frames[4].path)
    np.save(scene.frames[4].path, np.where(pixels[..., 3:] > 0.5, pixels[..., :3], 1.0).astype(np.float32))
    mask = pixels[..., 3] > 0.5
    assert whats(with_mask(scene, mask, 4, tmp_path / "m.png")) == ""
    assert "not background; inverted it would fit" in whats(with_mask(scene, ~mask, 4, tmp_path / "m.png"))


def test_lists_and_places(ball: Callable[..., Scene]) -> None:
    scene = photographs(ball(12, 24))
    first, second, *rest = scene.frames
    assert "listed in test and in train" in whats(replace(scene, frames=(first, replace(first, split="train"), *rest)))
    same = replace(second, camera=first.camera)
    assert "same pose as 0.npy" in whats(replace(scene, frames=(first, same, *rest)))
    far = tuple(replace(f, camera=replace(f.camera, near=50, far=60)) for f in scene.frames)
    assert "100% of the points in sight lie outside near" in whats(replace(scene, frames=far, points=POINTS))
    held = tuple(replace(f, split="test") for f in scene.frames)
    assert "no view is for training" in whats(replace(scene, frames=held))
    assert "but one view" in whats(replace(scene, frames=(second,)))
    aside = replace(second, camera=replace(second.camera, cx=-3))
    assert "principal point -3.0" in whats(replace(scene, frames=(first, aside, *rest)))
    folding = replace(second, camera=replace(second.camera, distortion=(-3.0, 0, 0, 0)))
    assert "distortion cannot be undone" in whats(replace(scene, frames=(first, folding, *rest)))


def tree(root: Path) -> Path:
    """Two objects of DVR's layout, one a split."""
    root.mkdir()
    path = root / "white.png"
    Image.fromarray(np.full((16, 16, 3), 255, np.uint8)).save(path)
    pose = np.eye(4)
    cameras = []
    for i in range(4):
        pose = np.array([[0, 0, 1.0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]) if i % 2 else np.eye(4)
        pose[:3, 3] = pose[:3, 2] * (2 + i)
        cameras.append(Camera(pose, 16, 16, 8, 8, 16, 16))
    scene = Scene("x", tuple(Frame(path, camera) for camera in cameras))
    for name, split in (("a", "train"), ("b", "test")):
        write_scene(scene, root / "02" / name, "dvr")
        (root / f"02/softras_{split}.lst").write_text(name)
    return root


def test_folders_of_many_objects(tmp_path: Path) -> None:
    root = tree(tmp_path / "nmr")
    scenes, problems = check_folder(root)
    assert [scene.name for scene in scenes] == ["a", "b"]
    assert problems == []
    (root / "02/b/cameras.npz").write_bytes(b"")
    scenes, problems = check_folder(root, "dvr")
    assert [scene.name for scene in scenes] == ["a"]
    assert "cameras cannot be read" in problems[0].what
    with pytest.raises(ConfigError, match="unknown scene format"):
        check_folder(root, "nmr")


def test_fox_is_well(shared_data: Path) -> None:
    scene = open_scene(shared_data / "fox_135x240")
    assert whats(scene) == ""
    turned = check_scene(moved(scene, lambda pose: pose @ TURNED))
    assert len(turned) == 1
    assert "camera to world in OpenCV's axes" in turned[0].what


@pytest.mark.parametrize("format", ["transforms", "colmap", "nsvf", "srn"])
def test_every_bad_pose_is_listed(ball: Callable[..., Scene], tmp_path: Path, format: str) -> None:
    scene = ball(6, 16)
    for frame in scene.frames:
        Image.fromarray((np.load(frame.path)[..., :3] * 255).astype(np.uint8)).save(frame.path.with_suffix(".png"))
    frames = tuple(replace(f, path=f.path.with_suffix(".png")) for f in scene.frames)
    root = write_scene(replace(scene, frames=frames), tmp_path / "t", format)
    bad = [1, 4]
    if format == "transforms":
        head = json.loads((root / "transforms.json").read_text())
        for i in bad:
            head["frames"][i]["transform_matrix"][0][0] = float("nan")
        (root / "transforms.json").write_text(json.dumps(head))
    elif format == "colmap":
        lines = (root / "sparse/0/images.txt").read_text().splitlines()
        for i in bad:
            lines[1 + 2 * i] = lines[1 + 2 * i].replace(f" {i + 1} 000", f" {i + 90} 000")
        (root / "sparse/0/images.txt").write_text("\n".join(lines))
    else:
        poses = sorted((root / "pose").iterdir())
        for i in bad:
            poses[i].write_text("nan " * 16)
    scenes, problems = check_folder(root)
    assert scenes == []
    assert len(problems) == 2
    with pytest.raises(DataError, match=r"and 1 more frame\(s\) are at fault"):
        open_scene(root)
