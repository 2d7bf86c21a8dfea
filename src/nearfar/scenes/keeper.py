"""What a run of a scene remembers: lines, checkpoints, the time it has spent; written by the first rank for all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from nearfar.scenes import config as settings
from nearfar.scenes.config import SceneConfig
from nearfar.scenes.learner import Learner, MeanImages, Shot
from nearfar.scenes.measure import anchors_of, likeness_of, mean_of
from nearfar.scenes.metrics import Lpips
from nearfar.scenes.run import SceneRun
from nearfar.train import checkpoint
from nearfar.train.engine import Engine
from nearfar.train.guard import Guard
from nearfar.train.log import JsonLines

MEASURED = ("psnr", "ssim")


class Keeper:
    """Counts `step` and `seconds` (of steps alone) over resumes, and knows how far a run is."""

    def __init__(
        self,
        engine: Engine,
        learner: Learner,
        config: SceneConfig,
        run: SceneRun,
        report: Callable[[Mapping[str, Any]], None] | None,
        state: Mapping[str, Any] | None,
    ) -> None:
        self.engine, self.learner, self.config, self.run, self.report = engine, learner, config, run, report
        self.guard = Guard(learner.field, config.train.max_nonfinite)
        self.step, self.seconds = 0, 0.0
        if state is not None:
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.guard.load_state_dict(state["guard"])
        self.lines = JsonLines(run.path / "metrics.jsonl", self.step) if engine.rank == 0 else None
        self._anchors: dict[str, float | None] | None = None
        self._shots: dict[str, list[Shot]] = {}

    @property
    def progress(self) -> float:
        """Share of the steps or of the seconds that is over, 1 or more at the end."""
        train = self.config.train
        spent = self.seconds / train.max_seconds if train.max_seconds else 0.0
        return max(self.step / train.steps, spent)

    def spend(self, seconds: float) -> None:
        """Count the time of a step: that of the slowest rank, so that all end together."""
        micro = self.engine.largest(int(1e6 * seconds)) if self.config.train.max_seconds else int(1e6 * seconds)
        self.seconds += 1e-6 * micro

    def write(self, kind: str, values: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl; `step` is the last one done, from 0."""
        if self.lines is None:
            return
        line = {"kind": kind, "step": max(0, self.step - 1), "time": round(self.seconds, 3), **values}
        self.lines.write(line)
        if self.report is not None:
            total = round(self.step / self.progress) if self.step else self.config.train.steps
            self.report({**line, "total_steps": total})

    def evaluate(self) -> None:
        """Measure the views of the way, beside their anchors."""
        if self.engine.rank != 0:
            return
        if self._anchors is None:
            self._shots, self._anchors = self.learner.shots("way"), {}
            means = MeanImages(self.learner.scale)
            for group, shots in self._shots.items():
                found = [anchors_of(shot, means, self.learner.scale)[0] for shot in shots]
                for name, measure in itertools.product(found[0], MEASURED):
                    values = [one[name][measure] for one in found]
                    self._anchors[f"anchor/{group}/{name}/{measure}"] = mean_of(values)
        line: dict[str, Any] = {}
        for group, shots in self._shots.items():
            alike = [likeness_of(self.learner, shot, Lpips(None))[0] for shot in shots]
            line |= {f"{group}/{measure}": mean_of([one[measure] for one in alike]) for measure in MEASURED}
        self.write("evaluation", {**line, **self._anchors})

    def save(self) -> None:
        """A checkpoint after `step` steps. Raises NearfarError on all ranks where the disk is full."""
        self.engine.first(self._save)

    def _save(self) -> None:
        assert self.lines is not None
        self.lines.sync()
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "guard": self.guard.state_dict(),
            "config": settings.dump(self.config),
            **self.learner.state(),
        }
        checkpoint.save(self.run.checkpoints, self.step, state, self.config.train.keep)

    def finish(self) -> None:
        """The summary of the training in metrics.json."""
        if self.engine.rank != 0:
            return
        last: dict[str, Any] = next((line for line in reversed(self.run.history()) if line["kind"] == "step"), {})
        summary = {
            "steps": self.step,
            "seconds": round(self.seconds, 2),
            "clock": self.config.train.clock,
            "loss": last.get("loss"),
            "skipped": self.guard.skipped,
            "parameters": sum(p.numel() for p in self.learner.field.parameters()),
            **self.learner.sizes(),
        }
        self.run.update_metrics("train", summary)

    def close(self) -> None:
        if self.lines is not None:
            self.lines.close()
