"""Mir-180: the published pairs from poses alone, any rig and plane, what the manifest says, the published folders."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nearfar.data.mir180 import MANIFEST, Rig, Triple, build, direction, pairs
from nearfar.data.synthetic.objects import (
    Ellipsoid,
    Primitive,
    lamp,
    nmr_cameras,
    random_symmetric_object,
    render,
    table,
)
from nearfar.data.synthetic.objects_layouts import eight_bit
from nearfar.errors import ConfigError, DataError
from nearfar.spatial.cameras import Camera, look_at, orbit

ABOVE = (0.0, 0.0, 1.0)


def test_the_published_triples_come_from_the_poses(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "smcl" / "golden.json").read_text())["mir180"]
    found = pairs(nmr_cameras(64))
    assert [t[:3] for t in found] == [(g["image"], g["mirror"], g["opposite"]) for g in golden]
    assert [abs(t.azimuth) for t in found] == pytest.approx([g["azimuth_deg"] for g in golden])
    assert all(t.azimuth < 0 for t in found)


def test_files_in_another_order_give_the_same_pairs() -> None:
    order = list(range(24))
    random.Random(1).shuffle(order)
    cameras = nmr_cameras()
    found = pairs([cameras[i] for i in order])
    as_sets = {frozenset((order[t.image], order[t.mirror])) for t in found}
    assert as_sets == {frozenset(t[:2]) for t in pairs(cameras)}
    assert all((order[t.image] - order[t.opposite]) % 24 == 12 for t in found)
    assert all(t.image < t.mirror for t in found)


def test_the_mirrored_camera_sees_the_flipped_place() -> None:
    """A known point: where a camera sees it, the mirrored camera sees its mirror image, flipped."""
    cameras, point = nmr_cameras(64), np.array([[0.3, -0.2, 0.1]])
    for triple in pairs(cameras):
        (seen,), _ = cameras[triple.image].project(point)
        (other,), _ = cameras[triple.mirror].project(point * [-1, 1, 1])
        assert np.allclose([64 - seen[0], seen[1]], other)
        (turned,), _ = cameras[triple.opposite].project(point * [-1, -1, 1])
        assert np.allclose(seen, turned)


@pytest.mark.parametrize("plane", ["y", (0.6, 0.8, 0.0)])
def test_the_mirror_plane_is_a_parameter(plane: Any) -> None:
    normal = direction(plane, "plane")
    turn = math.degrees(math.atan2(normal[1], normal[0]))
    cameras = orbit(24, 2.0, 20.0, start=turn)
    found = pairs(cameras, plane)
    assert [(t.image, t.mirror, t.opposite) for t in found] == [
        (i, 24 - i, (i + 12) % 24) for i in range(1, 12) if i % 6
    ]
    assert [t.azimuth for t in found] == pytest.approx([15 * t.image for t in found])
    assert len(pairs(cameras, plane)) > len(pairs(orbit(24, 2.0, 20.0, start=turn + 4), plane)) == 0


def test_rigs_with_y_up_and_away_from_the_origin() -> None:
    cameras = orbit(8, 2.0, 10.0, target=(5, 1, -2), up=(0, 1, 0), start=22.5)
    assert pairs(cameras, up="y") == []
    found = pairs(cameras, up="y", centre=(5, 1, -2))
    assert len(found) == 4
    for triple in found:
        near, far = cameras[triple.image].origin - (5, 1, -2), cameras[triple.opposite].origin - (5, 1, -2)
        assert np.allclose(near * [-1, 1, -1], far)


def _shaken(camera: Camera, degrees: float) -> Camera:
    turn = math.radians(degrees)
    matrix = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    return replace(camera, c2w=np.concatenate([matrix @ camera.c2w[:, :3], matrix @ camera.c2w[:, 3:]], axis=1))


def test_tolerance_decides_about_inexact_rigs() -> None:
    cameras = [_shaken(camera, 0.4 * (-1) ** i) for i, camera in enumerate(nmr_cameras())]
    assert len(pairs(cameras, tolerance=1.0)) == 10
    assert len(pairs(cameras, tolerance=0.5)) < 10


def test_cameras_that_look_elsewhere_roll_or_stand_nearer_are_no_mirrors() -> None:
    one = look_at((1, -2, 1))
    nearer, aside = look_at((-0.5, -1, 0.5)), look_at((-1, -2, 1), (-0.5, 0, 0))
    rolled = one[:, [1, 0, 2, 3]] * [[-1], [1], [1]]
    for other in (nearer, aside, rolled):
        cameras = [replace(nmr_cameras()[0], c2w=pose) for pose in (one, other, look_at((-1, 2, 1)))]
        assert pairs(cameras) == []
    cameras = [replace(nmr_cameras()[0], c2w=pose) for pose in (one, look_at((-1, -2, 1)), look_at((-1, 2, 1)))]
    assert [t[:3] for t in pairs(cameras)] == [(0, 1, 2)]


def test_two_cameras_or_none_have_no_triple() -> None:
    assert pairs(nmr_cameras()[:2]) == pairs([]) == []


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mirror_plane": "X"}, "Did you mean|three numbers"),
        ({"mirror_plane": (0, 0, 0)}, "not a direction"),
        ({"mirror_plane": (1, float("nan"), 0)}, "not a direction"),
        ({"mirror_plane": "z"}, "must contain the axis"),
        ({"up": (1.0, 0.0)}, "not a direction"),
    ],
)
def test_planes_that_are_none(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        pairs(nmr_cameras(), **settings)


def _rig(root: Path, name: str, primitives: list[Primitive], split: str | None = None, light: Any = ABOVE) -> Rig:
    cameras = nmr_cameras(16)
    (root / name).mkdir(parents=True)
    paths = tuple(root / name / f"{i:04d}.png" for i in range(24))
    for path, camera in zip(paths, cameras, strict=True):
        Image.fromarray(eight_bit(render(primitives, camera, light=light))).save(path)
    return Rig(name, paths, tuple(cameras), "things", split)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def rigs(tmp_path_factory: pytest.TempPathFactory) -> list[Rig]:
    root = tmp_path_factory.mktemp("rigs")
    made = [_rig(root, f"o{k}", random_symmetric_object(np.random.default_rng(k)), "train") for k in range(2)]
    return [*made, _rig(root, "table", table(), "val"), _rig(root, "lamp", lamp(), "test")]


def test_negatives_that_contradict_their_positives_do_not_count(rigs: list[Rig], tmp_path: Path) -> None:
    built = build(rigs, tmp_path)
    assert (built.objects, built.triples, built.negatives, built.skipped) == (4, 40, 20, ())
    for row in _lines(built.manifest):
        assert row["negative"] == row["object"].startswith("o")
        if row["object"] == "table":
            assert row["to_opposite"] < 1e-6 < row["to_mirror"]  # the published pairs call the nearer one a negative
        if row["object"] == "lamp":
            assert row["to_opposite"] < 1e-6 > row["to_mirror"]
        if row["negative"]:
            assert row["to_opposite"] > 1e-3


def test_the_rule_is_a_parameter(rigs: list[Rig], tmp_path: Path) -> None:
    assert build(rigs, tmp_path / "a", rule="none").negatives == 40
    # The plain rule compares with a view from elsewhere: it spares next to nothing.
    assert build(rigs, tmp_path / "b", rule="plain").negatives < 10
    with pytest.raises(ConfigError, match="unknown rule"):
        build(rigs, tmp_path / "c", rule="all")  # type: ignore[arg-type]


def test_a_manifest_points_to_the_images(rigs: list[Rig], tmp_path: Path) -> None:
    built = build(rigs, tmp_path / "deep" / "out")
    assert [path.name for path in built.manifest.parent.iterdir()] == [MANIFEST]
    row = _lines(built.manifest)[12]
    assert (row["object"], row["category"], row["split"], row["flip"]) == ("o1", "things", "train", False)
    assert (built.manifest.parent / row["mirror"]).resolve() == rigs[1].paths[21].resolve()
    assert row["azimuth"] == pytest.approx(-45)
    again = build(rigs, tmp_path / "deep" / "two")
    assert again.manifest.read_bytes() == built.manifest.read_bytes()


def test_flipped_mirrors_of_symmetric_objects_are_the_images(rigs: list[Rig], tmp_path: Path) -> None:
    plain, flipped = (_lines(build(rigs[:1], tmp_path / str(flip), flip=flip).manifest) for flip in (False, True))
    assert all(row["flip"] and row["to_mirror"] == 0 for row in flipped)
    assert all(row["to_mirror"] > 0 for row in plain)
    assert [row["negative"] for row in flipped] == [row["negative"] for row in plain]


@pytest.mark.parametrize("flip", [False, True])
def test_the_published_folders(rigs: list[Rig], tmp_path: Path, flip: bool) -> None:
    built = build(rigs, tmp_path, published=True, flip=flip)
    home = tmp_path / "things" / "train"
    for folder in ("images", "mirror_views", "180_views"):
        assert sorted(path.name for path in (home / folder).iterdir()) == [f"{i:04d}.png" for i in range(20)]
    third = [np.asarray(Image.open(home / folder / "0012.png")) for folder in ("images", "mirror_views", "180_views")]
    source = [np.asarray(Image.open(rigs[1].paths[i])) for i in (3, 21, 15)]
    source[1] = source[1][:, ::-1] if flip else source[1]
    assert all(np.array_equal(a, b) for a, b in zip(third, source, strict=True))
    rows = _lines(built.manifest)
    assert rows[12]["opposite"] == "things/train/180_views/0012.png"
    assert not any(row["flip"] for row in rows)


def test_objects_without_splits_are_divided_for_the_published_folders(rigs: list[Rig], tmp_path: Path) -> None:
    loose = [replace(rigs[i % 2], name=f"n{i}", split=None) for i in range(10)]
    rows = _lines(build(loose, tmp_path, published=True).manifest)
    counts = {s: sum(row["split"] == s for row in rows) for s in ("train", "val", "test")}
    assert counts == {"train": 70, "val": 10, "test": 20}


def test_rigs_without_pairs_are_named_or_refused(rigs: list[Rig], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wild = [replace(camera, c2w=look_at(rng.normal(size=3))) for camera in nmr_cameras(16)]
    lost = replace(rigs[0], name="wild", cameras=tuple(wild))
    assert build([lost, rigs[1]], tmp_path / "a").skipped == ("wild",)
    with pytest.raises(DataError, match=r"no view has both.*1 objects of 24 views"):
        build([lost], tmp_path / "b")
    with pytest.raises(DataError, match="0 objects"):
        build([], tmp_path / "b")


def test_bad_images_are_named(tmp_path: Path) -> None:
    rig = _rig(tmp_path, "ball", [Ellipsoid((0, 0, 0), (0.5, 0.6, 0.7), (1, 0, 0))])
    Image.new("RGB", (8, 8)).save(rig.paths[23])
    with pytest.raises(DataError, match=r"0001\.png: the views of an object differ in size"):
        build([rig], tmp_path / "out")
    rig.paths[23].write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0023\.png: the image cannot be decoded"):
        build([rig], tmp_path / "out")


def test_a_triple_unpacks() -> None:
    image, mirror, opposite, azimuth = Triple(1, 23, 13, -15.0)
    assert (image, mirror, opposite, azimuth) == (1, 23, 13, -15.0)
