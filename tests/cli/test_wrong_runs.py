"""Commands given a run of another kind, and tasks that a run's data do not allow: what is said, and the exit status."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nearfar.cli import main
from nearfar.data.synthetic import relations, spills
from nearfar.scenes.config import dump, load

SMALL = [
    "--data.size", "16", "--encoder.name", "nano_cnn", "--encoder.size", "16", "--encoder.options", "width", "8",
    "--train.epochs", "1", "--train.batch-size", "16", "--no-eval",
]  # fmt: skip


@pytest.fixture
def scene_run(tmp_path: Path) -> Path:
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene/config.yaml").write_text(dump(load("demo", "scene")))
    return tmp_path / "scene"


@pytest.mark.parametrize(
    "command", [["search", "RUN", "x.png"], ["predict", "RUN", "x.png"], ["explore", "RUN"]], ids=lambda c: c[0]
)
def test_a_scene_has_no_embeddings(command: list[str], scene_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(scene_run) if word == "RUN" else word for word in command]) == 2
    said = capsys.readouterr().err
    assert "a run of a scene or of objects has no embeddings" in said and "nearfar render" in said


def test_a_task_asked_for_by_name_and_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = spills.generate(tmp_path / "world", n=60, size=16)
    run = str(tmp_path / "run")
    assert main(["train", "supcon", "--data.root", str(world), "--out", run, *SMALL]) == 0
    assert main(["eval", run, "--task", "clinical"]) == 3
    assert "clinical is left out: " in capsys.readouterr().err
    assert main(["eval", run, "--tasks", "clinical", "health"]) == 0
    said = capsys.readouterr().err
    assert "clinical is left out: " in said and "health is left out" not in said


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_stops_a_training_is_told_how_to_go_on(
    number: signal.Signals,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world, run = spills.generate(tmp_path / "world", n=24, size=16), str(tmp_path / "run")
    steps = ["--train.epochs", "3"]

    def stop(bars: object, event: Mapping[str, Any]) -> None:
        if event["kind"] == "step":
            os.kill(os.getpid(), number)

    monkeypatch.setattr("nearfar.cli.train.Bars.__call__", stop)
    assert main(["train", "simclr", "--data.root", str(world), "--out", run, *SMALL, *steps]) == status
    assert f"go on with: nearfar train --resume {run}\n" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["train", "--resume", run, "--train.epochs", "2", "--no-eval"]) == 2
    assert "the configuration changed: train.epochs: 3 -> 2. Resume with" in capsys.readouterr().err
    assert main(["train", "--resume", run, "--no-eval"]) == 0


def test_who_has_no_pairs_is_told_of_their_layouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = spills.generate(tmp_path / "world", n=24, size=16) / "rgb"
    assert main(["train", "csip", "--data.root", str(world), "--out", str(tmp_path / "run"), *SMALL]) == 2
    said = capsys.readouterr().err
    assert "has no pairs of objects" in said and "nearfar data formats" in said


def test_data_that_are_read_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "check", str(relations.generate(tmp_path / "pairs", n=10))])
    assert "layout pairs, " in capsys.readouterr().err
    main(["data", "check", str(spills.generate(tmp_path / "world", n=24, size=16))])
    said = capsys.readouterr().err
    assert "layout modalities, 24 samples; 3 classes (" in said and "train " in said
