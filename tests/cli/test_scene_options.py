"""Options of a scene that demonstrations leave alone, from training to export: R-MSA, pixels of an encoder, graphs."""

from __future__ import annotations

from pathlib import Path

import pytest

import nearfar
from nearfar.cli import main
from nearfar.config import EncoderConfig
from nearfar.data.synthetic.objects import generate_scene
from nearfar.encoders.io import save_encoder
from nearfar.scenes.run import SceneRun
from nearfar.scenes.scene_learner import SceneLearner

SMALL = [
    "--train.steps", "3", "--train.evaluations", "1", "--train.evaluation-views", "1", "--eval.frames", "2",
    "--eval.views", "1", "--points.points", "130", "--points.neighbours", "4", "--points.width", "16",
    "--points.rays", "32",
]  # fmt: skip
OPTIONS = {
    "ray": ["--points.attention", "ray"],
    "pixels": ["--points.pixel-dim", "240", "--data.encoder", "encoder.safetensors"],
    "graphs": ["--train.graph-seconds", "0.05"],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_from_training_to_export(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    generate_scene(Path("scene"), views=(6, 2), size=16)
    encoder = nearfar.create("smcl", encoder=EncoderConfig("cnn_ffc", {}, size=16)).encoder
    save_encoder(encoder, Path("encoder.safetensors"))
    command = ["train", "smcl", "--task", "scene", "--data.root", "scene", "--out", "run", *SMALL, *OPTIONS[name]]
    assert main([*command, "--no-eval"]) == 0
    Path("encoder.safetensors").unlink()  # the run has its own copy
    assert main(["train", "--resume", "run", "--train.steps", "4", "--allow-changes"]) == 0
    assert main(["eval", "run"]) == 0
    assert SceneRun(Path("run")).metrics["views"]["groups"]["held_out_views"]["psnr"]["value"] > 0
    assert main(["render", "run", "--frames", "2", "-o", "turn.gif"]) == 0
    for form in ("ply", "depth", "transforms"):
        assert main(["export", "run", "--to", form, "-o", f"made.{form}"]) == 0
    learner = SceneRun(Path("run")).learner("cpu")
    assert isinstance(learner, SceneLearner)
    assert (learner.field.attention.among is not None) == (name == "ray")
    assert (learner.options.pixel_dim > 0) == (name == "pixels")
    assert bool(learner.history) == (name == "graphs")


def test_the_channels_of_the_encoder_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    generate_scene(Path("scene"), views=(4, 1), size=16)
    encoder = nearfar.create("smcl", encoder=EncoderConfig("cnn_ffc", {}, size=16)).encoder
    save_encoder(encoder, Path("encoder.safetensors"))
    command = ["train", "smcl", "--task", "scene", "--data.root", "scene", *SMALL, "--data.encoder"]
    assert main([*command, "encoder.safetensors", "--points.pixel-dim", "64"]) == 2
    assert "expected 240" in capsys.readouterr().err
    assert main([*command, "encoder.safetensors"]) == 2
    assert "points.pixel_dim" in capsys.readouterr().err
    assert main([*command, "nowhere", "--points.pixel-dim", "240"]) in (2, 3)
    assert "nowhere" in capsys.readouterr().err
    assert not list(Path("runs").glob("*"))
