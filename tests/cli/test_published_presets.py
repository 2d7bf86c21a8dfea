"""The presets with published sizes take a step of training from the command line, on few rays of tiny views."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from nearfar.cli import main
from nearfar.data.synthetic.objects import generate_objects, generate_scene
from nearfar.scenes.run import SceneRun
from nearfar.train import checkpoint

ONE = ["--train.steps", "1", "--train.log-every", "1", "--train.evaluations", "0", "--train.accelerator", "cpu"]
SCENE = ["--points.patch", "16", "--eval.views", "1", "--eval.frames", "0"]
OBJECTS = ["--objects.rays", "8", "--objects.objects", "2", "--no-eval"]
CASES = {
    ("scene", "paper_scene"): SCENE,
    ("scene", "smcl_reference"): [*SCENE, "--train.perceptual", "0"],
    ("objects", "paper_objects"): OBJECTS,
    ("objects", "smcl_reference"): OBJECTS,
}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "preset"), CASES)
def test_a_step(task: str, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if task == "scene":
        generate_scene(Path("scene"), views=(4, 1), size=16)
    else:
        generate_objects(Path("objects"), n=2, size=16, shares=(1, 0, 0))
    command = ["train", "smcl", "--task", task, "--preset", preset, "--data.root", task, "--out", "run"]
    assert main([*command, *ONE, *CASES[task, preset]]) == 0
    run = SceneRun(Path("run"))
    lines = [line for line in run.history() if line["kind"] == "step"]
    assert len(lines) == 1
    assert math.isfinite(lines[0]["loss"])
    assert lines[0]["grad_norm"] > 0
    assert lines[0]["lr"] > 0
    state = checkpoint.newest(run.checkpoints)
    assert state is not None
    moments = [slot["exp_avg"] for slot in state["optimiser"]["state"].values()]
    assert all(torch.isfinite(moment).all() for moment in moments)
    assert any((moment != 0).any() for moment in moments)
    if task == "scene":
        assert run.metrics["views"]["groups"]["held_out_views"]["psnr"]["value"] > 0
        assert run.metrics["train"]["parameters"] == 5_462_683  # as tests/scenes/test_points.py counts them


@pytest.mark.slow
def test_a_step_of_the_published_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    generate_objects(Path("objects"), n=12, size=64, shares=(10, 0, 2))
    assert main(["data", "mir180", "objects", "-o", "triples"]) == 0
    command = ["train", "smcl_reference", "--data.root", "triples", "--out", "run", "--train.epochs", "1"]
    assert main([*command, "--train.accelerator", "cpu", "--no-eval"]) == 0
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    assert len(steps) == 1  # one batch of all triples
    assert math.isfinite(steps[0]["loss"])
    assert steps[0]["grad_norm"] > 0
