"""The run folder of a scene or of objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from nearfar.errors import ConfigError, ResumeError
from nearfar.scenes.config import SceneConfig, is_scene_run, read_scene_config
from nearfar.scenes.learner import Learner
from nearfar.train import Run, checkpoint
from nearfar.train.run import RunFolder


class SceneRun(RunFolder):
    """Access to such a folder; nothing is read before it is asked for."""

    @property
    def config(self) -> SceneConfig:
        """config.yaml. Raises ConfigError where there is none: this is not a run folder."""
        return read_scene_config(self.path)

    def learner(self, device: str | torch.device | None = None) -> Learner:
        """What learned, as of the newest whole checkpoint; it renders. Raises ResumeError where there is none.

        `device`: default a GPU where there is one and the configuration does not forbid it.
        """
        if device is None:
            gpu = torch.cuda.is_available() and self.config.train.accelerator != "cpu"
            device = "cuda" if gpu else "cpu"
        state = checkpoint.newest(self.checkpoints)
        if state is None:
            raise ResumeError("there is no checkpoint", where=self.checkpoints, fix="Train the run first.")
        learner = build_learner(self.config, self.path, torch.device(device), fresh=False)
        learner.load(state)
        return learner

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Inside, torch uses as many CPU threads as the run was trained with."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.config.train.threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def build_learner(config: SceneConfig, run: Path, device: torch.device, *, fresh: bool) -> Learner:
    """The learner of a task; `fresh`: as training begins, else as a state is loaded into."""
    if config.task == "scene":
        from nearfar.scenes.scene_learner import SceneLearner

        return SceneLearner(config, run, device, fresh=fresh)
    from nearfar.scenes.object_learner import ObjectLearner

    return ObjectLearner(config, run, device, fresh=fresh)


def open_run(path: Path | str) -> Run | SceneRun:
    """The run in a folder, of whichever kind it is. Raises ConfigError where there is none."""
    if not (Path(path) / "config.yaml").is_file():
        raise ConfigError("this is no run", where=path, expected="a folder with config.yaml")
    return SceneRun(path) if is_scene_run(path) else Run(path)
