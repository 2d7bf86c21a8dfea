"""The objects world: what the tracer draws, the symmetry that Mir-180 rests on, and the layouts it is written in."""

from __future__ import annotations

import filecmp
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.data.synthetic import objects
from nearfar.data.synthetic.objects import Box, Ellipsoid, Primitive, RayGrid, nmr_cameras, render
from nearfar.data.synthetic.objects_trace import AMBIENT, DARK
from nearfar.errors import ConfigError
from nearfar.spatial.cameras import Camera, from_dvr, orbit

RED = (0.8, 0.2, 0.1)


def _front(size: int = 33, distance: float = 4.0) -> Camera:
    return orbit(1, distance, 0.0, width=size, height=size, fov=40.0)[0]


def _random(seed: int) -> list[Primitive]:
    return objects.random_symmetric_object(np.random.default_rng(seed))


def test_a_ball_has_the_size_and_the_brightness_that_theory_gives() -> None:
    picture = render([Ellipsoid((0, 0, 0), (0.5, 0.5, 0.5), RED)], _front(101), light=(0.0, -1.0, 0.0))
    assert picture.shape == (101, 101, 4)
    assert picture.dtype == np.float32
    # Seen from 4, a ball of radius 1/2 is a disc of radius f tan(asin(1/8)).
    radius = 50.5 / math.tan(math.radians(20)) * math.tan(math.asin(0.5 / 4))
    assert picture[..., 3].sum() == pytest.approx(math.pi * radius**2, rel=0.005)
    assert np.allclose(picture[50, 50], [*RED, 1.0], atol=1e-3)  # the light comes from the camera
    assert not picture[0, 0].any()


def test_surfaces_that_the_light_does_not_reach_have_the_ambient_brightness() -> None:
    box: list[Primitive] = [Box((0, 0, 0), (0.5, 0.5, 0.5), RED)]
    behind = render(box, _front(), light=(0.0, 1.0, 0.0))
    assert np.allclose(behind[16, 16, :3], np.multiply(RED, AMBIENT), atol=1e-4)
    slanted = render(box, _front(), light=(0.0, -1.0, 1.0))
    assert np.allclose(slanted[16, 16, :3], np.multiply(RED, AMBIENT + (1 - AMBIENT) / math.sqrt(2)), atol=1e-4)


def test_corners_of_a_box_appear_where_the_camera_projects_them() -> None:
    camera = _front(200)
    alpha = render([Box((0.2, 0, 0.1), (0.3, 0.01, 0.4), RED)], camera)[..., 3]
    corners, _ = camera.project([[-0.1, -0.01, 0.5], [0.5, -0.01, -0.3]])
    rows, columns = np.nonzero(alpha > 0.5)
    assert np.allclose([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], corners.ravel(), atol=0.51)


def test_the_nearest_body_hides_the_others_whatever_their_order() -> None:
    near, far = Ellipsoid((0, -1, 0), (0.3, 0.3, 0.3), (0, 1, 0)), Box((0, 1, 0), (0.5, 0.5, 0.5), RED)
    first, second = render([near, far], _front()), render([far, near], _front())
    assert np.array_equal(first, second)
    assert first[16, 16, 0] == 0


def test_nothing_behind_the_camera_is_drawn() -> None:
    assert not render([Ellipsoid((0, -8, 0), (0.5, 0.5, 0.5), RED), Box((0, -9, 0), (1, 1, 1), RED)], _front()).any()


def test_checkers_darken_half_of_a_plane() -> None:
    wall: list[Primitive] = [Box((0, 0, 0), (4, 0.1, 4), (1, 1, 1), checks=2.0)]
    grey = render(wall, _front(64), light=(0.0, -1.0, 0.0), supersample=1)[..., 0]
    assert sorted(set(np.round(grey.ravel(), 3))) == [pytest.approx(DARK, abs=1e-3), 1.0]
    assert np.mean(grey > 0.9) == pytest.approx(0.5, abs=0.1)


def test_what_is_outside_a_primitives_window_would_not_have_been_hit() -> None:
    for seed in range(3):
        camera = nmr_cameras(24)[5 * seed]
        whole = replace(camera, distortion=(0.0, 0.0, 0.0, 0.0))  # a lens, if an empty one: no windows are used
        assert np.array_equal(render(_random(seed), camera), render(_random(seed), whole))


def test_more_samples_converge_to_the_same_picture() -> None:
    coarse, fine = (render(_random(1), nmr_cameras(16)[3], supersample=n)[..., 3] for n in (3, 9))
    assert np.abs(coarse - fine).max() < 0.2
    assert abs(coarse.mean() - fine.mean()) < 0.005
    assert render(_random(1), nmr_cameras(16)[3], 32).shape == (32, 32, 4)


@pytest.mark.parametrize("seed", range(4))
def test_mirrored_views_are_flipped_images_to_the_last_bit(seed: int) -> None:
    views = [render(_random(seed), camera) for camera in nmr_cameras(32)]
    for i in range(1, 12):
        assert np.array_equal(views[24 - i][:, ::-1], views[i])
        assert np.abs(views[i] - views[i + 12]).mean() > 0.01  # front and back differ


def test_cameras_of_nmr_are_where_they_are_published() -> None:
    cameras = nmr_cameras(64)
    places = np.stack([camera.origin for camera in cameras])
    assert np.allclose(np.linalg.norm(places, axis=1), 2.732)
    assert np.allclose(places[:, 2], 2.732 * 0.5)
    azimuth = np.degrees(np.arctan2(places[:, 0], -places[:, 1]))
    assert np.allclose((azimuth + 15 * np.arange(24) + 180) % 360, 180)
    assert all(np.allclose(camera.project([[0, 0, 0]])[0], 32) for camera in cameras)
    assert cameras[0].fx == pytest.approx(32 / math.tan(math.radians(15)))
    bodies = [primitive for seed in range(50) for primitive in _random(seed)]
    assert max(np.abs(body.centre).max() + max(body.half) for body in bodies) < 1


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return objects.generate_objects(tmp_path_factory.mktemp("world") / "objects", n=5, size=16, shares=(0.6, 0.2, 0.2))


def test_the_layout_is_that_of_dvr(written: Path) -> None:
    home = written / "objects"
    lists = {s: (home / f"softras_{s}.lst").read_text().split() for s in ("train", "val", "test")}
    assert [len(names) for names in lists.values()] == [3, 1, 1]
    assert json.loads((written / "metadata.yaml").read_text()) == {"objects": {"id": "objects", "name": "objects"}}
    folder = home / lists["test"][0]
    assert len(list((folder / "image").iterdir())) == len(list((folder / "mask").iterdir())) == 24
    matrices = np.load(folder / "cameras.npz")
    for number, camera in enumerate(nmr_cameras(16)):
        read = from_dvr(matrices[f"world_mat_{number}"], matrices[f"camera_mat_{number}"], (16, 16))
        assert np.allclose(read.c2w, camera.c2w, atol=1e-12)
        assert (read.fx, read.fy) == pytest.approx((camera.fx, camera.fy))
    image, mask = (np.asarray(Image.open(folder / kind / "0003.png")) for kind in ("image", "mask"))
    assert image.shape == (16, 16, 3)
    assert (image[mask == 0] == 255).all()
    assert mask.max() == 255


def _same(a: Path, b: Path, names: Sequence[str]) -> bool:
    return filecmp.cmpfiles(a, b, names, shallow=False)[0] == list(names)


def test_a_seed_gives_the_same_bytes_and_more_objects_leave_the_first_ones(written: Path, tmp_path: Path) -> None:
    names = [f"objects/object{k:04d}/image/{i:04d}.png" for k in range(5) for i in (0, 7, 23)]
    assert _same(written, objects.generate_objects(tmp_path / "more", n=6, size=16), names)
    other = objects.generate_objects(tmp_path / "other", n=5, size=16, seed=1)
    assert not any(_same(written, other, [name]) for name in names)


def test_the_scene_is_as_nerfs_synthetic_ones_are(tmp_path: Path) -> None:
    root = objects.generate(tmp_path / "world", n=1, seed=3) / "scene"
    meta = {split: json.loads((root / f"transforms_{split}.json").read_text()) for split in ("train", "test")}
    assert [len(part["frames"]) for part in meta.values()] == [40, 10]
    assert meta["train"]["camera_angle_x"] == pytest.approx(0.6911112)
    frame = meta["train"]["frames"][7]
    image = Image.open(root / f"{frame['file_path']}.png")
    assert (image.mode, image.size) == ("RGBA", (64, 64))
    pose = np.array(frame["transform_matrix"])
    assert np.linalg.norm(pose[:3, 3]) == pytest.approx(4.0311)
    focal = 32 / math.tan(meta["train"]["camera_angle_x"] / 2)
    tower = np.linalg.inv(pose) @ [-0.05, 0.45, 0.75, 1.0]  # top of the yellow box
    column, row = 32 + focal * tower[0] / -tower[2], 32 - focal * tower[1] / -tower[2]
    red, green, blue, alpha = np.asarray(image)[int(row + 1), int(column)] / 255
    assert red > green > 2 * blue
    assert alpha > 0.9


def test_the_mean_of_the_training_images_is_a_poor_guess(tmp_path: Path) -> None:
    """The anchor that benchmarks print beside every PSNR."""
    root = objects.generate_scene(tmp_path / "scene")
    train, test = (np.stack([_white(p) for p in sorted((root / s).iterdir())]) for s in ("train", "test"))
    assert -10 * np.log10(np.mean((train.mean(0) - test) ** 2)) == pytest.approx(16.2, abs=0.5)
    assert -10 * np.log10(np.mean((1 - test) ** 2)) == pytest.approx(9.1, abs=0.5)


def _white(path: Path) -> np.ndarray:
    rgba = np.asarray(Image.open(path)) / 255.0
    return np.asarray(rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:])


@pytest.mark.parametrize("bad", [{"n": 0}, {"size": 0}, {"shares": (0, 0, 0)}, {"shares": (-1, 1, 1)}])
def test_impossible_sets_are_refused(tmp_path: Path, bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="impossible"):
        objects.generate_objects(tmp_path / "x", **bad)  # type: ignore[arg-type]


def test_nothing_is_written_over(written: Path) -> None:
    with pytest.raises(ConfigError, match="not empty"):
        objects.generate_objects(written)
    with pytest.raises(ConfigError, match="not empty"):
        objects.generate_scene(written)
    with pytest.raises(ConfigError, match="impossible"):
        objects.generate_scene(written, views=(0, 1))
    with pytest.raises(ConfigError, match="samples"):
        RayGrid.of(_front(), supersample=0)


@pytest.mark.slow
def test_sixty_objects_take_six_cpu_seconds_at_most(tmp_path: Path) -> None:
    start = time.process_time()
    objects.generate_objects(tmp_path / "objects", n=60, size=32)
    assert time.process_time() - start <= 6
