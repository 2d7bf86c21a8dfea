"""Runs of scenes and objects: what they leave, how they end, and that a resumed one is the uninterrupted one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import nearfar
from nearfar.config import EncoderConfig
from nearfar.encoders.io import save_encoder
from nearfar.errors import ConfigError, DataError, NonFiniteError, ResumeError
from nearfar.scenes import scene_learner
from nearfar.scenes.config import SceneConfig, load, read_scene_config
from nearfar.scenes.fit import fit_objects, fit_scene
from nearfar.scenes.formats import open_scene
from nearfar.scenes.run import SceneRun, open_run
from nearfar.train import checkpoint

Make = Callable[..., SceneConfig]
FITS = {"scene": fit_scene, "objects": fit_objects}
CHANGING = {
    "points__prune_every": 3, "points__prune_until": 100, "points__prune_below": 1.0, "points__add_every": 4,
    "points__add_until": 100, "points__add_number": 7,
}  # fmt: skip


def tensors(state: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """All tensors of a nested state, by their place in it."""
    if isinstance(state, torch.Tensor):
        return {prefix: state}
    pairs = state.items() if isinstance(state, Mapping) else enumerate(state) if isinstance(state, list) else ()
    return {name: tensor for key, value in pairs for name, tensor in tensors(value, f"{prefix}/{key}").items()}


def stop_at(step: int, number: int) -> Callable[[Mapping[str, Any]], None]:
    """A progress that sends this process a signal during the step after `step` are done."""

    def tell(event: Mapping[str, Any]) -> None:
        if event["kind"] == "step" and event["step"] + 1 == step:
            os.kill(os.getpid(), number)

    return tell


RAY = {"points__attention": "ray"}
PIXELS = {**CHANGING, "points__pixel_dim": 240}
"""with the encoder `source`"""


@pytest.mark.parametrize(
    ("task", "settings"), [("scene", CHANGING), ("scene", {}), ("scene", RAY), ("scene", PIXELS), ("objects", {})]
)
def test_a_resumed_run_is_the_uninterrupted_one(
    tiny: Make, tmp_path: Path, task: str, settings: dict[str, Any]
) -> None:
    if settings is PIXELS:
        encoder = nearfar.create("smcl", encoder=EncoderConfig("cnn_ffc", {}, size=16)).encoder
        save_encoder(encoder, tmp_path / "source.safetensors")
        settings = {**settings, "data__encoder": tmp_path / "source.safetensors"}
    config, fit = tiny(task, **settings), FITS[task]
    whole = fit(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(config, tmp_path / "parts", progress=stop_at(5, signal.SIGINT))
    assert [path.name for path in checkpoint.paths(tmp_path / "parts/checkpoints")] == ["step-00000005.pt"]
    parts = fit(config, tmp_path / "parts", resume=True)
    first, second = (checkpoint.newest(run.checkpoints) for run in (whole, parts))
    assert first is not None and second is not None
    assert first["step"] == second["step"] == 8
    one, other = tensors(first), tensors(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    lines = [[{k: v for k, v in line.items() if k != "time"} for line in run.history()] for run in (whole, parts)]
    assert lines[0] == lines[1]
    if settings.keys() >= CHANGING.keys():
        events = [line for line in whole.history() if line["kind"] == "points"]
        assert {line["step"] + 1 for line in events} >= {3, 4, 6, 8}
        assert any(line["added"] for line in events)
        assert any(line["removed"] for line in events)


def test_sigterm_leaves_with_143_and_a_checkpoint(tiny: Make, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        fit_scene(tiny(), tmp_path / "run", progress=stop_at(2, signal.SIGTERM))
    assert stopped.value.code == 143
    state = checkpoint.newest(tmp_path / "run/checkpoints")
    assert state is not None
    assert state["step"] == 2


def test_seconds_end_a_run(tiny: Make, tmp_path: Path) -> None:
    config = tiny(train__steps=100_000, train__clock="cpu", train__evaluations=0)
    run = fit_scene(config, tmp_path / "run", max_seconds=0.3)
    train = run.metrics["train"]
    assert 0.3 <= train["seconds"] < 1
    assert train["steps"] < 100_000
    assert run.config.train.max_seconds == 0.3
    rates = [line["lr"] for line in run.history() if line["kind"] == "step"]
    assert rates[-1] < 0.2 * max(rates)


def test_what_a_run_leaves(scene_run: SceneRun) -> None:
    assert open_run(scene_run.path).config == scene_run.config == read_scene_config(scene_run.path)
    history = scene_run.history()
    assert [line["step"] for line in history if line["kind"] == "step"] == list(range(8))
    ways = [line for line in history if line["kind"] == "evaluation"]
    assert len(ways) == 3
    assert all({"held_out_views/psnr", "anchor/held_out_views/white/ssim"} <= set(line) for line in ways)
    assert scene_run.metrics["train"]["points"] == 60
    assert not any(path.suffix == ".tmp" for path in scene_run.path.rglob("*"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_broken_image_is_said_before_anything_is_written(tiny: Make, world: Path, tmp_path: Path, split: str) -> None:
    root = tmp_path / "scene"
    shutil.copytree(world / "scene", root)
    image = next(frame.path for frame in open_scene(root).frames if frame.split == split)
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(DataError, match=image.name):
        fit_scene(tiny(data__root=root), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_learns(tiny: Make, tmp_path: Path) -> None:
    run = fit_scene(tiny(train__steps=100, points__rays=128), tmp_path / "run")
    curve = [line["held_out_views/psnr"] for line in run.history() if line["kind"] == "evaluation"]
    assert curve[-1] > curve[0] + 1.5


def test_bad_steps_are_left_out_until_they_are_too_many(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, bad = scene_learner.point_step, {2, 3}
    calls = iter(range(100))

    def faulty(field: Any, rays: Any, optimiser: Any, **options: Any) -> dict[str, float]:
        if next(calls) in bad:
            rays = rays._replace(colours=rays.colours * float("nan"))
        return real(field, rays, optimiser, **options)

    monkeypatch.setattr(scene_learner, "point_step", faulty)
    run = fit_scene(tiny(train__max_nonfinite=3), tmp_path / "run")
    assert run.metrics["train"]["skipped"] == 2
    assert [line["step"] for line in run.history() if line["kind"] == "step" and line["loss"] is None] == [2, 3]
    assert torch.isfinite(run.learner().field.points).all()  # type: ignore[arg-type]
    bad.update(range(100))
    with pytest.raises(NonFiniteError, match="3 steps in a row"):
        fit_scene(tiny(train__max_nonfinite=3), tmp_path / "other")


def test_a_gradient_that_is_not_finite_changes_nothing(tiny: Make, tmp_path: Path) -> None:
    learner = scene_learner.SceneLearner(tiny(), tmp_path, torch.device("cpu"), fresh=True)
    from nearfar.scenes.gradients import Gradients

    Gradients(learner.optimiser)
    before = learner.field.points.detach().clone()
    for parameter in learner.field.parameters():
        parameter.grad = torch.full_like(parameter, float("inf"))
    with pytest.raises(NonFiniteError, match="gradient"):
        learner.optimiser.step()
    assert torch.equal(learner.field.points, before)


def test_a_limit_shortens_the_gradient(tiny: Make, tmp_path: Path) -> None:
    run = fit_scene(tiny(train__clip=1e-6), tmp_path / "run")
    assert all(line["grad_norm"] > 1e-6 for line in run.history() if line["kind"] == "step")


def test_what_cannot_be_is_refused_before_anything_is_written(tiny: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another task"):
        fit_objects(tiny("scene"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"data\.root"):
        fit_scene(load("demo", "scene"), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"'train\.max_seconds' is out of range"):
        fit_scene(tiny(), tmp_path / "run", max_seconds=-1)
    assert not (tmp_path / "run").exists()


def test_only_the_same_run_is_resumed(tiny: Make, scene_run: SceneRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not empty"):
        fit_scene(tiny(), scene_run.path)
    config = scene_run.config
    changed = replace(config, train=replace(config.train, steps=9))
    with pytest.raises(ResumeError, match=r"train.steps: 8 -> 9"):
        fit_scene(changed, scene_run.path, resume=True)
    with pytest.raises(ResumeError, match="no run to resume"):
        fit_scene(config, tmp_path / "empty", resume=True)


def test_points_begin_with_features_of_graph_contrast(tiny: Make, tmp_path: Path) -> None:
    config = tiny(points__points=160, points__feature_dim=64, train__graph_seconds=0.1, train__steps=1)
    run = fit_scene(config, tmp_path / "run")
    learner = run.learner()
    assert isinstance(learner, scene_learner.SceneLearner)
    assert learner.history[-1]["step"] >= 1
    with pytest.raises(ConfigError, match=r"points.feature_dim.*found 8, expected 64"):
        fit_scene(tiny(points__points=160, train__graph_seconds=0.1), tmp_path / "other")
