"""`nearfar data mir180`: objects in DVR's layout, single scenes, planes given as numbers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearfar.cli import main
from nearfar.config import DataConfig
from nearfar.data import open_dataset
from nearfar.data.synthetic.objects import demo_scene, generate_objects, nmr_cameras
from nearfar.data.synthetic.objects_layouts import write_scene
from nearfar.spatial.cameras import orbit


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate_objects(tmp_path_factory.mktemp("world") / "objects", n=4, size=12, shares=(2, 1, 1))


@pytest.mark.parametrize("below", ["", "objects"])
def test_objects_keep_the_splits_of_their_lists(
    world: Path, tmp_path: Path, below: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "mir180", str(world / below), "-o", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["objects"], said["triples"], said["negatives"], said["skipped"]) == (4, 40, 40, [])
    for split, count in (("train", 20), ("val", 10), ("test", 10)):
        assert len(open_dataset(DataConfig(root=tmp_path / "out", size=12), split)) == count  # type: ignore[arg-type]
    rows = [json.loads(line) for line in Path(said["manifest"]).read_text().splitlines()]
    assert {row["category"] for row in rows} == {"" if below else "objects"}
    assert [Path(rows[0][key]).stem for key in ("image", "mirror", "opposite")] == ["0001", "0023", "0013"]


def test_a_scene_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_scene(tmp_path / "scene", demo_scene(), {"train": nmr_cameras(12)})
    out = str(tmp_path / "out")
    assert main(["data", "mir180", str(root), "-o", out, "--flip", "--rule", "none", "--published"]) == 0
    assert "10 triples of 1 objects" in capsys.readouterr().out
    assert len(list((tmp_path / "out/train/mirror_views").iterdir())) == 10


def test_the_plane_may_be_given_as_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cameras = orbit(12, 4.0, 20.0, width=12, height=12, target=(1, 0, 0), start=30.0)
    root = write_scene(tmp_path / "scene", demo_scene(), {"train": cameras})
    given = ["data", "mir180", str(root), "-o", str(tmp_path / "out"), "--mirror-plane"]
    assert main([*given, "0.5,oops,0"]) == 2
    assert main([*given, "0,0,1"]) == 2
    assert main([*given, "0.8660254,0.5,0"]) == 3
    assert "centre" in capsys.readouterr().err
    assert main([*given, "0.8660254,0.5,0", "--centre", "1", "0", "0"]) == 0
    assert "4 triples" in capsys.readouterr().out


def test_what_is_no_scene_or_not_empty_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "mir180", str(tmp_path / "nope"), "-o", str(tmp_path / "out")]) == 3
    assert main(["data", "mir180", str(world), "-o", str(world)]) == 2
    assert main(["data", "mir180", str(world), "-o", str(tmp_path / "out"), "--format", "dvrr"]) == 2
    said = capsys.readouterr().err
    assert "not empty" in said
    assert "dvr?" in said
