"""Paths of cameras and what is written of a trained scene."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.errors import ConfigError, DataError
from nearfar.scenes.formats import open_scene, write_transforms
from nearfar.scenes.outputs import export_depth, export_ply, point_cloud, save_pictures
from nearfar.scenes.paths import find_scene, one_sided, path_cameras, read_poses, scaled_to
from nearfar.scenes.ply import read_ply
from nearfar.scenes.run import SceneRun
from nearfar.scenes.scene import Scene
from nearfar.spatial.cameras import orbit

CENTRE = np.array([0.3, -0.2, 0.5])


@pytest.mark.parametrize("kind", ["orbit", "spiral", "auto"])
def test_a_path_goes_around_what_the_cameras_see(ball: Callable[..., Scene], kind: str) -> None:
    scene = ball(24, 16)
    made = path_cameras(scene, kind, 8)
    assert len(made) == 8
    for camera in made:
        towards = -camera.origin
        assert towards @ camera.axis / np.linalg.norm(towards) > 0.999
        assert np.linalg.norm(camera.origin) == pytest.approx(3.5, rel=1e-6)
        assert camera.c2w[2, 1] > 0
    heights = [camera.origin[2] for camera in made]
    assert (np.ptp(heights) > 1) == (kind == "spiral")


def test_where_there_is_no_back_the_path_stays_in_front(ball: Callable[..., Scene]) -> None:
    scene = ball(24, 16)
    frames = [frame for frame in scene.frames if frame.camera.origin[1] < -2]
    made = path_cameras(Scene("front", tuple(frames)), "auto", 8)
    assert all(camera.origin[1] < 0 for camera in made)
    assert one_sided(Scene("front", tuple(frames)))
    assert not one_sided(scene)


def test_an_unknown_path_is_named(ball: Callable[..., Scene]) -> None:
    with pytest.raises(ConfigError, match=r"auto \| orbit"):
        path_cameras(ball(24, 16), "circle", 3)


def test_poses_are_read_back(ball: Callable[..., Scene], tmp_path: Path) -> None:
    scene = ball(24, 16)
    write_transforms(scene, tmp_path / "poses.json")
    made = read_poses(tmp_path / "poses.json", scene.frames[0].camera)
    assert all(np.allclose(a.c2w, f.camera.c2w) for a, f in zip(made, scene.frames, strict=True))
    smooth = read_poses(tmp_path / "poses.json", scene.frames[0].camera, frames=47)
    assert np.allclose(smooth[0].c2w, made[0].c2w)
    assert np.allclose(smooth[2].c2w, made[1].c2w, atol=1e-6)
    assert len(smooth) == 47


def test_nerfstudio_s_camera_paths_are_read(tmp_path: Path) -> None:
    like = orbit(2, 3.0)[0]
    entry = {"camera_to_world": orbit(2, 3.0)[1].matrix.ravel().tolist(), "fov": 90.0}
    content = {"render_width": 40, "render_height": 20, "camera_path": [entry]}
    (tmp_path / "path.json").write_text(json.dumps(content))
    (camera,) = read_poses(tmp_path / "path.json", like)
    assert (camera.width, camera.height) == (40, 20)
    assert camera.fx == pytest.approx(10)
    assert np.allclose(camera.c2w, orbit(2, 3.0)[1].c2w)


@pytest.mark.parametrize("content", [{"frames": []}, {}, {"frames": [{"transform_matrix": [1, 2]}]}, {"frames": ["x"]}])
def test_poses_that_are_none_are_refused(content: object, tmp_path: Path) -> None:
    (tmp_path / "poses.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"poses\.json"):
        read_poses(tmp_path / "poses.json", orbit(1, 3.0)[0])


def test_a_file_of_poses_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.json: there is no such file of poses. Check --path"):
        read_poses(tmp_path / "gone.json", orbit(1, radius=3.0)[0])


def test_pictures_get_the_size_that_is_asked_for() -> None:
    wide = orbit(1, 3.0, width=40, height=20)
    assert (scaled_to(wide, 10)[0].width, scaled_to(wide, 10)[0].height) == (20, 10)
    assert scaled_to(wide, 0) == wide


@pytest.mark.parametrize("name", ["turn.gif", "turn.webp", "turn"])
def test_animations_hold_every_frame(name: str, tmp_path: Path) -> None:
    frames = [np.full((8, 8, 3), value, np.uint8) for value in (0, 100, 200)]
    path = save_pictures(tmp_path / name, frames, fps=10)
    if path.is_dir():
        assert [np.asarray(Image.open(p))[0, 0, 0] for p in sorted(path.iterdir())] == [0, 100, 200]
        return
    with Image.open(path) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
        assert image.info["loop"] == 0
        for k, value in enumerate((0, 100, 200)):
            image.seek(k)
            assert abs(int(np.asarray(image.convert("RGB"))[0, 0, 0]) - value) <= 2


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"turn\.mp4"):
        save_pictures(tmp_path / "turn.mp4", [np.zeros((4, 4, 3), np.uint8)])
    with pytest.raises(ConfigError, match="no picture"):
        save_pictures(tmp_path / "turn.gif", [])


def test_points_are_exported_with_their_colours(scene_run: SceneRun, tmp_path: Path) -> None:
    learner = scene_run.learner()
    export_ply(learner, find_scene(learner, None), tmp_path / "points.ply")
    table = read_ply(tmp_path / "points.ply")
    assert {"x", "y", "z", "red", "green", "blue", "influence"} <= set(table)
    assert np.allclose(table["x"], learner.field.points.detach().numpy()[:, 0])  # type: ignore[union-attr, operator]
    with np.load(tmp_path / "points_features.npz") as file:
        assert file["features"].shape == (60, 8)


def test_of_an_object_the_points_are_the_ends_of_rays(objects_run: SceneRun) -> None:
    learner = objects_run.learner()
    cloud = point_cloud(learner, find_scene(learner, None), most=50)
    assert cloud is not None
    assert len(cloud["points"]) <= 50
    assert (np.abs(cloud["points"]) < 4).all()
    assert point_cloud(learner) is None


def test_depth_is_exported_in_units_that_are_said(scene_run: SceneRun, tmp_path: Path) -> None:
    learner = scene_run.learner()
    scene = find_scene(learner, "scene")
    export_depth(learner, scene, tmp_path / "depth")
    unit = json.loads((tmp_path / "depth" / "depth.json").read_text())["unit"]
    name = f"0000_{scene.frames[0].path.stem}"
    with np.load(tmp_path / "depth" / f"{name}.npz") as file:
        depth, solid = file["depth"], file["alpha"] > 0.5
    steps = np.asarray(Image.open(tmp_path / "depth" / f"{name}.png"))
    assert np.allclose(steps[solid] * unit, depth[solid], atol=unit)
    assert (steps[~solid] == 0).all()
    assert len(list((tmp_path / "depth").glob("*.png"))) == len(scene.frames)


def test_cameras_are_exported_as_they_were_read(scene_run: SceneRun, tmp_path: Path) -> None:
    scene = find_scene(scene_run.learner(), None)
    again = open_scene(write_transforms(scene, tmp_path / "transforms.json").parent)
    assert np.allclose([f.camera.c2w for f in again.frames], [f.camera.c2w for f in scene.frames])


def test_an_unknown_object_is_named(objects_run: SceneRun) -> None:
    with pytest.raises(ConfigError, match="object0000"):
        find_scene(objects_run.learner(), "chair")
