"""Training of scenes and objects: read `_train` from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from nearfar.config import TrainConfig
from nearfar.errors import ConfigError, NonFiniteError
from nearfar.scenes import config as settings
from nearfar.scenes.config import SceneConfig, SceneTrain
from nearfar.scenes.gradients import Gradients
from nearfar.scenes.keeper import Keeper
from nearfar.scenes.learner import Learner, keep_encoder
from nearfar.scenes.run import SceneRun, build_learner
from nearfar.train import checkpoint, rng, signals
from nearfar.train.engine import Engine, launch
from nearfar.train.run import prepare

Progress = Callable[[Mapping[str, Any]], None]
"""called on the first rank with every line of metrics.jsonl and `total_steps`"""
CLOCKS = {"wall": time.monotonic, "cpu": time.process_time}
SHARED = 1 << 20
"""stands for the rank in what all ranks draw alike"""


def fit_scene(
    config: SceneConfig,
    run: Path,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> SceneRun:
    """Train one scene as points into the folder `run`.

    `max_seconds` takes the place of train.max_seconds. Checkpoints are written atomically; SIGINT and SIGTERM finish
    the step and write one before KeyboardInterrupt or SystemExit(143). k steps, a resume and k steps are bit-equal on
    the CPU to 2k steps, whatever happened to the number of points.

    Raises ConfigError (bad values, a folder with files in it), ResumeError (nothing to resume, a changed
    configuration), DataError (from the views), NonFiniteError (train.max_nonfinite bad steps in a row), NearfarError.
    """
    return _fit("scene", config, run, resume, allow_changes, max_seconds, progress)


def fit_objects(
    config: SceneConfig,
    run: Path,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> SceneRun:
    """Train a conditional field on many objects; otherwise as `fit_scene`."""
    return _fit("objects", config, run, resume, allow_changes, max_seconds, progress)


def _fit(
    task: str,
    config: SceneConfig,
    path: Path,
    resume: bool,
    allow_changes: bool,
    max_seconds: float | None,
    progress: Progress | None,
) -> SceneRun:
    if config.task != task:
        raise ConfigError("the configuration is for another task", found=config.task, expected=task)
    if max_seconds is not None:
        config = replace(config, train=replace(config.train, max_seconds=max_seconds))
    settings.check(config)
    run, train = SceneRun(path), config.train
    machine = TrainConfig(
        batch_size=train.devices * train.nodes, precision=train.precision, accelerator=train.accelerator,
        devices=train.devices, nodes=train.nodes, threads=train.threads,
    )  # fmt: skip
    launch(machine, _on_device, config, run, resume, allow_changes, progress)
    return run


def _on_device(
    engine: Engine, config: SceneConfig, run: SceneRun, resume: bool, allow_changes: bool, progress: Progress | None
) -> None:
    with engine.numbers():
        rng.seed_all(config.train.seed)
        state = checkpoint.newest(run.checkpoints) if resume else None
        learner = build_learner(config, run.path, engine.device, fresh=state is None)
        learner.read()
        # After all that configuration and files can get wrong: nothing is left behind then.
        engine.first(partial(prepare, run, cast(Any, config), resume, allow_changes))
        if state is None:
            engine.first(partial(keep_encoder, config, run.path))
        else:
            learner.load(state)
        keeper = Keeper(engine, learner, config, run, progress, state)
        try:
            with signals.Stop() as stop:
                _train(engine, learner, config.train, keeper, stop)
            keeper.finish()
        finally:
            keeper.close()


def _train(engine: Engine, learner: Learner, train: SceneTrain, keeper: Keeper, stop: signals.Stop) -> None:
    clock = CLOCKS[train.clock]
    gradients = Gradients(learner.optimiser, train.clip)
    if keeper.step == 0 and train.evaluations:
        keeper.evaluate()
    while (progress := keeper.progress) < 1:
        before, step = clock(), keeper.step
        learned: dict[str, float] = {"loss": math.nan}
        gradients.begin()
        with torch.autocast(engine.device.type, torch.bfloat16, enabled=train.precision == "bf16-mixed"):
            try:
                learned = learner.step(step, progress, _draws(train.seed, step, engine.rank))
            except NonFiniteError:
                gradients.absent()
        keeper.guard.admit(learned["loss"], learned["loss"], step)
        change = learner.settle(step + 1, _draws(train.seed, step, SHARED))
        keeper.step += 1
        keeper.spend(clock() - before)
        if change:
            keeper.write("points", change)
        if keeper.step % train.log_every == 0:
            rate = learner.optimiser.param_groups[0]["lr"]
            keeper.write("step", {**learned, "lr": rate, "grad_norm": gradients.norm, **learner.sizes()})
        done = keeper.progress
        if math.floor(min(done, 1) * train.evaluations) > math.floor(progress * train.evaluations):
            keeper.evaluate()
        number = engine.largest(stop.number)
        if number or done >= 1 or (train.checkpoint_every and keeper.step % train.checkpoint_every == 0):
            keeper.save()
        if number:
            signals.leave(number)


def _draws(seed: int, step: int, who: int) -> torch.Generator:
    """What a step draws, on one rank: a function of these numbers alone, so that a resume need not know any state."""
    mixed = np.random.SeedSequence((seed, step, who)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
