"""train smcl --task, render, export, eval and report on a tiny scene and tiny objects."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nearfar.cli import main
from nearfar.data.synthetic.objects import generate_objects, generate_scene
from nearfar.scenes.formats import open_scene, write_transforms
from nearfar.scenes.run import SceneRun

SMALL = [
    "--train.steps", "4", "--train.evaluations", "1", "--train.evaluation-views", "1", "--eval.frames", "2",
    "--eval.views", "2", "--eval.objects", "1",
]  # fmt: skip
POINTS = ["--points.points", "60", "--points.neighbours", "4", "--points.width", "16", "--points.rays", "32"]
OBJECTS = [
    "--objects.width", "16", "--objects.coarse", "8", "--objects.objects", "2", "--objects.rays", "16",
    "--objects.encoder-size", "16",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    generate_scene(root / "scene", views=(8, 2), size=16)
    generate_objects(root / "objects", n=3, size=16, shares=(2, 0, 1))
    return root


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the scene; read only."""
    out = tmp_path_factory.mktemp("runs") / "run"
    root = ["--data.root", str(world / "scene")]
    assert main(["train", "smcl", "--task", "scene", *root, "--out", str(out), *SMALL, *POINTS]) == 0
    return out


@pytest.fixture(scope="module")
def objects(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of objects; read only."""
    out = tmp_path_factory.mktemp("runs") / "run"
    root = ["--data.root", str(world / "objects")]
    assert main(["train", "smcl", "--task", "objects", *root, "--out", str(out), *SMALL, *OBJECTS]) == 0
    return out


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def test_training_leaves_numbers_and_a_report(trained: Path, objects: Path) -> None:
    page = (trained / "report.html").read_text()
    assert all(f"<h2>{title}</h2>" in page for title in ("Turntable", "Rendered views", "The points", "Summary"))
    assert "data:image/webp;base64," in page
    assert 'id="points-0"' in page
    assert "unseen objects" in (objects / "report.html").read_text()
    assert SceneRun(trained).metrics["views"]["groups"]["held_out_views"]["views"] == 2


def test_the_result_is_json_where_a_program_reads_it(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(trained), "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)["metrics"]["views"]["groups"]["held_out_views"]
    assert 0 < found["psnr"]["value"] < found["anchors"]["mean_image"]["psnr"]["value"]
    assert "warning: held-out views" in said.err
    assert "nearfar data check" in said.err
    assert main(["eval", str(trained), "--tasks", "classify"]) == 2
    assert "--tasks" in capsys.readouterr().err


def test_a_resumed_command_takes_all_from_the_run(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--data.root", str(world / "scene")]
    short = ["train", "smcl", "--task", "scene", *root, *SMALL, *POINTS, "--no-eval"]
    assert main([*short, "--max-seconds", "1000"]) == 0
    assert "runs/smcl-scene-1" in capsys.readouterr().out
    longer = ["train", "--resume", "runs/smcl-scene-1", "--no-eval", "--train.steps", "6"]
    assert main(longer) == 2
    assert "train.steps: 4 -> 6" in capsys.readouterr().err
    assert main([*longer, "--allow-changes"]) == 0
    run = SceneRun("runs/smcl-scene-1")
    assert run.metrics["train"]["steps"] == 6
    assert run.config.train.max_seconds == 1000
    assert main(["train", "--resume", "runs/smcl-scene-1", "--preset", "photos"]) == 2


def test_who_stops_a_run_is_told_how_to_go_on(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "smcl", "--task", "scene", "--data.root", str(world / "scene"), *SMALL, *POINTS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nearfar.cli.train_scene.Bars.__call__", interrupt)
        assert main([*command, "--train.log-every", "1", "--out", "run"]) == 130
    assert "go on with: nearfar train --resume run" in capsys.readouterr().err
    assert main(["train", "--resume", "run", "--no-eval"]) == 0


def interrupt(bars: object, event: Mapping[str, Any]) -> None:
    """A progress bar at which Ctrl-C is pressed after the first step."""
    if event["kind"] == "step":
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["smcl", "--task", "scen"], "Did you mean 'scene'?"),
        (["simclr", "--task", "scene"], "only smcl has tasks"),
        (["smcl", "--max-seconds", "3"], "--max-seconds: this is for scenes and objects"),
        (["smcl", "--task", "scene"], "data.root: no data"),
        (["smcl", "--task", "scene", "--preset", "paper_object"], "Did you mean 'paper_objects'?"),
        (["smcl", "--task", "objects", "--preset", "photos"], "not for task 'objects'"),
        (["smcl", "--task", "scene", "--points.neighbours", "0"], "points.neighbours"),
        (["smcl", "--task", "scene", "--data.root", "nowhere"], "the scene does not exist"),
        (["smcl", "--task", "scene", "--data.root", "."], "--task objects"),
        (["smcl", "--task", "objects", "--data.root", "."], "--task scene"),
    ],
)
def test_wrong_use_is_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *arguments]) in (2, 3)
    assert said in capsys.readouterr().err


def test_help_names_presets_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "smcl", "--task", "scene", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("photos", "paper_scene", "--points.neighbours", "--train.max-seconds"))
    assert "paper_objects " not in text


def test_paths_are_rendered(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(trained), "--path", "spiral", "--frames", "3", "-o", "turn.gif"]) == 0
    with Image.open("turn.gif") as image:
        assert (image.n_frames, image.size) == (3, (16, 16))  # type: ignore[attr-defined]
    assert main(["render", str(trained), "--frames", "2", "--size", "8", "--show", "both", "-o", "turn.webp"]) == 0
    with Image.open("turn.webp") as image:
        assert (image.n_frames, image.size) == (2, (16, 8))  # type: ignore[attr-defined]
    write_transforms(SceneRun(trained).learner().scene, Path("poses.json"))  # type: ignore[attr-defined]
    assert main(["render", str(trained), "--path", "poses.json", "-o", "frames", "--show", "depth"]) == 0
    assert len(list(Path("frames").glob("*.png"))) == 10
    capsys.readouterr()
    assert main(["render", str(trained), "-o", "turn.gif"]) == 2
    assert main(["render", str(trained), "-o", "turn.mp4"]) == 2
    assert "turn.mp4" in capsys.readouterr().err


@pytest.mark.parametrize(("flag", "value"), [("--frames", "0"), ("--size", "-5"), ("--fps", "0")])
def test_pictures_that_cannot_be_are_refused(
    trained: Path, flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", str(trained), flag, value, "-o", "turn.gif"]) == 2
    assert flag in capsys.readouterr().err


def test_a_path_where_no_camera_stood_is_said(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = open_scene(world / "scene")
    front = tuple(frame for frame in scene.frames if frame.camera.origin[1] < 0)
    write_transforms(replace(scene, frames=front), Path("front.json"))
    assert main(["train", "smcl", "--task", "scene", "--data.root", "front.json", *SMALL, *POINTS, "--no-eval"]) == 0
    assert main(["render", "runs/smcl-scene-1", "--path", "orbit", "--frames", "1", "-o", "turn.gif"]) == 0
    assert "--path sway" in capsys.readouterr().err
    assert main(["render", "runs/smcl-scene-1", "--path", "auto", "--frames", "1", "-o", "sway.gif"]) == 0
    assert "--path sway" not in capsys.readouterr().err


def test_one_of_many_objects_is_rendered(objects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "object0002"
    assert main(["render", str(objects), "--object", name, "--frames", "2", "-o", "turn.webp"]) == 0
    assert main(["render", str(objects), "--object", "chair", "-o", "other.webp"]) == 2
    assert name in capsys.readouterr().err


def test_a_scene_is_exported(trained: Path, objects: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(trained), "--to", "ply"]) == 0
    assert Path("run.ply").is_file()
    assert Path("run_features.npz").is_file()
    assert main(["export", str(trained), "--to", "transforms"]) == 0
    assert len(json.loads(Path("run.json").read_text())["frames"]) == 10
    assert main(["export", str(objects), "--to", "depth", "--object", "object0001", "-o", "depth"]) == 0
    assert Path("depth/depth.json").is_file()
    capsys.readouterr()
    assert main(["export", str(trained), "--to", "ply"]) == 2
    assert main(["export", str(trained)]) == 2
    assert "ply, transforms, depth" in capsys.readouterr().err


def test_what_is_no_scene_is_not_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(tmp_path)]) == 2
    (tmp_path / "config.yaml").write_text("preset: simclr\n")
    assert main(["render", str(tmp_path)]) == 2
    assert "has no scene" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "--to", "ply"]) == 2


def test_runs_of_scenes_stand_beside_each_other(trained: Path, objects: Path) -> None:
    assert main(["report", str(trained), str(objects), "-o", "both.html"]) == 0
    numbers = json.loads(Path("both.json").read_text())
    assert len(numbers) == 3
    assert numbers["comparison"] == {}
