"""Logs: consistent lines after a resume, extras through one protocol."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from toy import configuration

from nearfar.errors import ConfigError
from nearfar.train.log import JsonLines, extra_loggers, read_lines


def test_lines_beyond_the_resumed_step_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = JsonLines(path)
    for step in range(5):
        log.write({"kind": "step", "step": step, "loss": 1.0 * step})
    log.write({"kind": "epoch", "step": 4, "loss": float("nan")})
    log.close()
    with path.open("a") as file:
        file.write('{"kind": "step", "st')
    assert [line["step"] for line in read_lines(path)] == [0, 1, 2, 3, 4, 4]
    assert read_lines(path)[-1]["loss"] is None
    log = JsonLines(path, start=3)
    log.write({"kind": "step", "step": 3, "loss": 9.0})
    log.sync()
    assert [(line["step"], line["loss"]) for line in read_lines(path)] == [(0, 0), (1, 1), (2, 2), (3, 9)]
    assert all(json.loads(line) for line in path.read_text().splitlines())
    log.close()


def test_tensorboard_writes_inside_the_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (logger,) = extra_loggers(configuration(log=("tensorboard",)), tmp_path, 0)
    logger.write({"kind": "step", "step": 7, "epoch": 0, "loss": 0.5, "time": 1.0})
    logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["step/loss"]
    assert [(e.step, e.value) for e in events.Scalars("step/loss")] == [(7, 0.5)]


def test_mlflow_gets_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class MlflowClient:
        def __init__(self, uri: str) -> None:
            calls.append(uri)

        def get_experiment_by_name(self, name: str) -> None:
            return None

        def create_experiment(self, name: str) -> str:
            return name

        def create_run(self, experiment: str, run_name: str) -> Any:
            calls.append((experiment, run_name))
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r"))

        def log_metric(self, run: str, name: str, value: float, step: int) -> None:
            calls.append((run, name, value, step))

        def set_terminated(self, run: str) -> None:
            calls.append("end")

    module = types.ModuleType("mlflow.tracking")
    module.MlflowClient = MlflowClient  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", types.ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", module)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (logger,) = extra_loggers(configuration(log=("mlflow",)), tmp_path, 0)
    logger.write({"kind": "step", "step": 1, "epoch": 0, "loss": 0.5})
    logger.write({"kind": "epoch", "step": 2, "epoch": 0, "loss": 0.25, "time": 3.0})
    logger.close()
    run = ("nearfar", f"toy {tmp_path.name}")
    assert calls == [f"sqlite:///{(tmp_path / 'mlflow.db').resolve()}", run, ("r", "loss", 0.25, 2), "end"]


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow.tracking")]
)
def test_a_missing_extra_is_one_line(name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"needs {name}: pip install 'nearfar\[track\]'"):
        extra_loggers(configuration(log=(name,)), tmp_path, 0)
