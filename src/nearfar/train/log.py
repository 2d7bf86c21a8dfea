"""The metrics of a run: one JSON object a line, always; TensorBoard and MLflow beside it where asked for."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from nearfar.config import RunConfig
from nearfar.errors import missing_extra
from nearfar.train.files import disk_errors, write_atomically


class Logger(Protocol):
    """Where lines of metrics go. `values` has flat keys, among them `kind`, `step` and `epoch`."""

    def write(self, values: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """metrics.jsonl, consistent after a resume: lines of step `start` and later are dropped when it opens."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self.path = path
        kept = [line for line in read_lines(path) if line["step"] < start]
        write_atomically(path, "".join(map(_line, kept)).encode())
        with disk_errors(path):
            self._file = path.open("a", encoding="utf-8")

    def write(self, values: Mapping[str, Any]) -> None:
        with disk_errors(self.path):
            self._file.write(_line(values))
            self._file.flush()

    def sync(self) -> None:
        """To the disk itself: a checkpoint must never be newer than the lines before it."""
        with disk_errors(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files under RUN/tensorboard."""

    def __init__(self, run: Path, start: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise missing_extra("Logging to TensorBoard", "tensorboard", "track") from None
        self._writer: Any = SummaryWriter(str(run / "tensorboard"), purge_step=start)

    def write(self, values: Mapping[str, Any]) -> None:
        for name, value in _numbers(values).items():
            self._writer.add_scalar(f"{values['kind']}/{name}", value, values["step"])

    def close(self) -> None:
        self._writer.close()


class MLflow:
    """A run in the store of MLFLOW_TRACKING_URI, or in RUN/mlflow.db; epochs only, as a step costs milliseconds."""

    def __init__(self, run: Path, config: RunConfig[Any]) -> None:
        try:
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise missing_extra("Logging to MLflow", "mlflow", "track") from None
        self._client = MlflowClient(
            os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(run / 'mlflow.db').resolve()}"
        )
        found = self._client.get_experiment_by_name("nearfar")
        experiment = found.experiment_id if found else self._client.create_experiment("nearfar")
        self._run = self._client.create_run(experiment, run_name=f"{config.preset} {run.name}").info.run_id

    def write(self, values: Mapping[str, Any]) -> None:
        if values["kind"] == "epoch":
            for name, value in _numbers(values).items():
                self._client.log_metric(self._run, name, value, step=values["step"])

    def close(self) -> None:
        self._client.set_terminated(self._run)


def extra_loggers(config: RunConfig[Any], run: Path, start: int) -> list[Logger]:
    """The loggers of `train.log`. Raises ConfigError where one is not installed."""
    made: list[Logger] = []
    for name in config.train.log:
        made.append(TensorBoard(run, start) if name == "tensorboard" else MLflow(run, config))
    return made


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last line cut short by a kill is left out."""
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def _line(values: Mapping[str, Any]) -> str:
    # NaN and infinity are not JSON; null is what a reader of any language understands.
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    return json.dumps(finite) + "\n"


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {k: v for k, v in values.items() if isinstance(v, int | float) and k not in ("step", "epoch", "time")}
