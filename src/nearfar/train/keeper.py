"""What a run remembers: its log lines and checkpoints, written by the first rank for all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from nearfar import configio
from nearfar.config import RunConfig
from nearfar.encoders.io import save_encoder
from nearfar.train import checkpoint, optim, rng
from nearfar.train.engine import Engine
from nearfar.train.files import disk_errors
from nearfar.train.guard import Guard
from nearfar.train.log import JsonLines, Logger, extra_loggers
from nearfar.train.run import Run
from nearfar.train.stages import Stages


class Keeper:
    """Writes metrics and checkpoints of a run and restores them; `seconds` counts over resumes."""

    def __init__(
        self,
        engine: Engine,
        stages: Stages,
        run: Run,
        config: RunConfig[Any],
        guard: Guard,
        progress: Callable[[Mapping[str, Any]], None] | None,
        total: int,
    ) -> None:
        self.engine, self.stages, self.run, self.config, self.guard = engine, stages, run, config, guard
        self.progress, self.total = progress, total
        self.started = time.monotonic()
        self.epoch_losses: list[float] = []
        self.lines: JsonLines | None = None
        self.loggers: list[Logger] = []

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def open(self, start: int) -> None:
        """Open the logs to go on at step `start`; later lines are dropped."""
        if self.engine.rank == 0:
            self.lines = JsonLines(self.run.path / "metrics.jsonl", start)
            self.loggers = [self.lines, *extra_loggers(self.config, self.run.path, start)]

    def write(self, kind: str, values: Mapping[str, Any]) -> None:
        """One line, to every logger and the progress; an epoch's loss is the mean of its steps."""
        line = {"kind": kind, **values, "time": round(self.seconds, 3)}
        if kind == "step":
            self.epoch_losses.append(values["loss"])
        else:
            finite = [loss for loss in self.epoch_losses if math.isfinite(loss)]
            line["loss"] = sum(finite) / len(finite) if finite else math.nan
            self.epoch_losses = []
        for logger in self.loggers:
            logger.write(line)
        if self.progress is not None and self.engine.rank == 0:
            self.progress({**line, "total_steps": self.total})

    def save(self, step: int) -> None:
        """Checkpoint and encoder after `step` steps. Raises NearfarError on all ranks where the disk is full."""
        states = self.engine.collect(rng.capture())
        self.engine.first(lambda: self._save(step, states))

    def _save(self, step: int, random_states: list[dict[str, Any]]) -> None:
        assert self.lines is not None
        self.lines.sync()
        state = {
            "step": step,
            "stage": self.stages.name,
            "method": self.engine.method.state_dict(),
            "optimizer": self.engine.optimizer.state_dict(),
            "scaler": self.engine.scaler_state(),
            "sampler": {"seed": self.config.train.seed, "step": step * self.config.train.accumulate},
            "rng": random_states,
            "guard": self.guard.state_dict(),
            "epoch_losses": self.epoch_losses,
            "seconds": self.seconds,
            "config": configio.dump(self.config),
        }
        checkpoint.save(self.run.checkpoints, step, state, self.config.train.keep)
        self.save_encoder()

    def save_encoder(self) -> None:
        path = self.run.path / "encoder.safetensors"
        with disk_errors(path):
            save_encoder(self.engine.method.encoder, path, preset=self.config.preset)

    def restore(self) -> int:
        """Everything as it was at the newest whole checkpoint; the number of steps done (0: there is none yet).

        With another number of ranks than before only the first ones' random states can be used.
        """
        state = checkpoint.newest(self.run.checkpoints)
        if state is None:
            return 0
        self.stages.resume(self.engine, state.get("stage", ""))
        self.engine.method.load_state_dict(state["method"])
        optim.load_state(self.engine.optimizer, state["optimizer"])
        self.engine.load_scaler(state["scaler"])
        self.guard.load_state_dict(state["guard"])
        self.epoch_losses = state["epoch_losses"]
        self.started = time.monotonic() - state["seconds"]
        if self.engine.rank < len(state["rng"]):
            rng.restore(state["rng"][self.engine.rank])
        return int(state["step"])

    def finish(self, steps: int) -> None:
        """The summary of the training in metrics.json."""
        if self.engine.rank == 0:
            loss = next((line["loss"] for line in reversed(self.run.history()) if line["kind"] == "epoch"), None)
            summary = {"steps": steps, "seconds": round(self.seconds, 1), "loss": loss, "skipped": self.guard.skipped}
            self.run.update_metrics("train", summary)

    def close(self) -> None:
        for logger in self.loggers:
            logger.close()
