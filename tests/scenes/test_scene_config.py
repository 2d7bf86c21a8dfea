"""Configurations of scenes: strict, readable back, and free of torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nearfar import configio
from nearfar.errors import ConfigError
from nearfar.scenes.config import check, dump, is_scene_run, load, read_scene_config
from nearfar.scenes.object_options import PAPER as PAPER_OBJECTS
from nearfar.scenes.point_options import PAPER as PAPER_POINTS
from nearfar.scenes.presets import SCENE_PRESETS

CASES = [(name, task) for name, preset in SCENE_PRESETS.items() for task in preset.tasks]


@pytest.mark.parametrize(("preset", "task"), CASES)
def test_what_is_written_is_read_back_equal(preset: str, task: Any, tmp_path: Path) -> None:
    config = load(preset, task, None, {"data.root": str(tmp_path), "data.background": "[0, 0.5, 1]"})
    (tmp_path / "config.yaml").write_text(dump(config))
    assert read_scene_config(tmp_path) == config
    assert is_scene_run(tmp_path)
    check(config)


def test_presets_hold_the_published_sizes() -> None:
    assert load("smcl_reference", "scene").points == PAPER_POINTS
    assert load("smcl_reference", "objects").objects == PAPER_OBJECTS
    paper = load("paper_scene").points
    assert (paper.width, paper.head, paper.neighbours) == (256, "unet", 20)
    assert load("paper_objects").task == "objects"


def test_a_file_is_changed_by_overrides(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("task: objects\ntrain:\n  steps: 7\nobjects:\n  width: 16\n")
    config = load("demo", None, path, {"train.steps": "9"})
    assert (config.task, config.train.steps, config.objects.width) == ("objects", 9, 16)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train.step": 3}, r"unknown key 'train.step'.*Did you mean 'train.steps'"),
        ({"train.steps": 0}, r"'train.steps' is out of range"),
        ({"train.steps": "many"}, r"expected a whole number"),
        ({"points.rate_head": float("nan")}, "not finite"),
        ({"points": 3}, "is a section"),
        ({"points.neighbours": 0}, r"points\.neighbours"),
        ({"data.scale": 2.0}, "at most 1"),
        ({"points.pixel_dim": 8}, "through an encoder"),
        ({"train.perceptual": 0.1}, "patches"),
        ({"data.initial_path": "points.ply"}, "only ply and colmap"),
    ],
)
def test_what_is_wrong_is_named(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load("demo", "scene", None, overrides)


def test_a_wrong_line_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  steps: 5\n  sede: 1\n")
    with pytest.raises(ConfigError, match=r"mine.yaml:3: unknown key 'train.sede'"):
        load("demo", None, path)


def test_presets_and_tasks_must_fit() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'paper_scene'"):
        load("paper_scen")
    with pytest.raises(ConfigError, match="not for task 'objects'"):
        load("paper_scene", "objects")
    with pytest.raises(ConfigError, match=r"train.graph_seconds: this has no meaning for task objects"):
        load("demo", "objects", None, {"train.graph_seconds": 1.0})


def test_a_run_of_a_method_is_no_scene(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(configio.dump(configio.load("simclr")))
    assert not is_scene_run(tmp_path)
    assert not is_scene_run(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="does not say its preset"):
        (tmp_path / "config.yaml").write_text("task: scene\n")
        read_scene_config(tmp_path)


def test_torch_is_not_imported() -> None:
    code = "import sys, nearfar.scenes.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
