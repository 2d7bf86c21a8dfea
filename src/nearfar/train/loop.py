"""The training loop: read `train` from top to bottom."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nearfar import configio
from nearfar.config import RunConfig, TrainConfig
from nearfar.data import SampleDataset, channel_statistics, make_loader
from nearfar.data.open import open_dataset
from nearfar.errors import ConfigError
from nearfar.methods import build_method
from nearfar.methods.base import Batch, Method, Output
from nearfar.train import health, optim, rng, signals
from nearfar.train.engine import Engine, launch
from nearfar.train.gradcache import two_pass_step
from nearfar.train.guard import Guard
from nearfar.train.keeper import Keeper
from nearfar.train.run import Run, prepare
from nearfar.train.stages import Span, Stages, spans

Progress = Callable[[Mapping[str, Any]], None]
"""called on the first rank with every line of metrics.jsonl and `total_steps`; picklable where processes are spawned"""
Build = Callable[[], tuple[Method, SampleDataset]]


def fit(
    config: RunConfig[Any],
    run: Path,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train the configured method on the configured data into the folder `run`.

    SIGINT and SIGTERM finish the step and write a checkpoint before KeyboardInterrupt or SystemExit(143).

    Raises:
        ConfigError: bad values, a folder with files in it. ResumeError: nothing to resume, or a changed configuration.
        DataError: from the reader. NonFiniteError: `max_nonfinite` bad steps in a row. NearfarError: disk full.
    """
    configio.check(config)
    # Read before the run folder is touched: bad data leaves nothing behind.
    dataset = open_dataset(config.data, "train")
    config = _fitting(config, len(dataset))
    return _launch(partial(_with_method, config, dataset), config, run, resume, allow_changes, progress)


def _fitting(config: RunConfig[Any], samples: int) -> RunConfig[Any]:
    """With a batch that a small data set can fill: the default is made for thousands of images."""
    wanted, devices = config.train.batch_size, config.train.devices * config.train.nodes
    largest = samples // devices * devices
    if wanted <= largest or largest == 0:
        return config
    warnings.warn(f"train.batch_size {wanted} exceeds the {samples} training samples; {largest} is used", stacklevel=3)
    return replace(config, train=replace(config.train, batch_size=largest))


def fit_method(
    method: Method,
    dataset: SampleDataset,
    config: RunConfig[Any],
    run: Path,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    progress: Progress | None = None,
) -> Run:
    """`fit` with your own method and dataset; only `config.train` decides, the rest is written down."""
    return _launch(partial(_given, method, dataset), config, run, resume, allow_changes, progress)


def _launch(
    build: Build, config: RunConfig[Any], path: Path, resume: bool, allow: bool, progress: Progress | None
) -> Run:
    configio.check(config)
    run = Run(path)
    launch(config.train, _on_device, build, config, run, resume, allow, progress)
    return run


def _given(method: Method, dataset: SampleDataset) -> tuple[Method, SampleDataset]:
    method.prepare(dataset)
    return method, dataset


def _with_method(config: RunConfig[Any], dataset: SampleDataset) -> tuple[Method, SampleDataset]:
    mean, std = channel_statistics(dataset)
    return _given(build_method(config, dataset.channels, mean, std), dataset)


def _on_device(
    engine: Engine,
    build: Build,
    config: RunConfig[Any],
    run: Run,
    resume: bool,
    allow_changes: bool,
    progress: Progress | None,
) -> None:
    with engine.numbers():
        rng.seed_all(config.train.seed)
        method, dataset = build()
        stages = Stages(method, config.train)
        # After all that the configuration can get wrong: nothing is left behind then.
        engine.first(partial(prepare, run, config, resume, allow_changes))
        engine.setup(method)
        stages.begin(engine, next(iter(config.train.stages), None))
        train(engine, stages, dataset, config, run, resume, progress)


@dataclass(frozen=True)
class Plan:
    """How long the run is, in optimiser steps."""

    steps_per_epoch: int
    total: int
    checkpoint_every: int
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, config: TrainConfig, samples: int) -> Plan:
        """Raises ConfigError where not a single batch can be formed."""
        if samples < config.batch_size:
            raise ConfigError(
                "the batch is larger than the training data",
                where="train.batch_size",
                found=config.batch_size,
                expected=f"at most {samples}",
            )
        # Every sample is still seen equally often: the loader goes on across our epoch where this rounds down.
        steps = max(1, samples // config.batch_size // config.accumulate)
        return cls(steps, steps * config.epochs, config.checkpoint_every or steps, spans(config, steps))

    def span(self, step: int) -> Span:
        """Where a step lies; behind the last one, the last span."""
        return next((span for span in self.spans if step < span.last), self.spans[-1])


def train(
    engine: Engine,
    stages: Stages,
    dataset: SampleDataset,
    config: RunConfig[Any],
    run: Run,
    resume: bool = False,
    progress: Progress | None = None,
) -> None:
    """The loop itself, on one rank: batches, gradients, guard, optimiser, log, health, checkpoint, stage."""
    settings, method = config.train, engine.method
    plan = Plan.of(settings, len(dataset))
    guard = Guard(method, settings.max_nonfinite)
    rng.seed_all(settings.seed + engine.rank)
    keeper = Keeper(engine, stages, run, config, guard, progress, plan.total)
    start = keeper.restore() if resume else 0
    keeper.open(start)
    stages.enter(engine, plan.span(start).stage)
    try:
        with signals.Stop() as stop:
            batches = _batches(engine, dataset, settings, start, plan.total)
            for step, micro_batches in zip(range(start, plan.total), batches, strict=True):
                span = plan.span(step)
                rate = optim.set_rates(engine.optimizer, span.settings, step - span.first, span.last - span.first)
                method.set_progress(step / plan.total)
                outputs = [
                    _gradients(engine, batch, settings, last=number == settings.accumulate)
                    for number, batch in enumerate(micro_batches, 1)
                ]
                optim.drop_frozen(engine.optimizer, settings, step, plan.total)
                parts = {**_averages(engine, outputs), "loss_baseline": method.chance(settings.batch_size)}
                norm = engine.clip(settings.clip)
                admitted = guard.admit(parts["loss"], norm, step)
                engine.update(admitted)
                _settle(method, admitted)

                line = {
                    "step": step,
                    "epoch": step // plan.steps_per_epoch,
                    **span.label,
                    **parts,
                    "lr": rate,
                    "grad_norm": norm,
                }
                spike = guard.spike(parts["loss"]) if admitted else None
                keeper.write("step", {**line, **({"spike": spike} if spike else {})})
                done = step + 1
                if done % plan.steps_per_epoch == 0:
                    keeper.write("epoch", {**line, **_epoch_line(engine, dataset, settings, line, guard)})
                interrupted = engine.largest(stop.number)
                if interrupted or done % plan.checkpoint_every == 0 or done == plan.total:
                    keeper.save(done)
                if interrupted:
                    signals.leave(interrupted)
                # Before the next batch, whose views are the next stage's already.
                stages.enter(engine, plan.span(done).stage)
        keeper.finish(plan.total)
    finally:
        keeper.close()


def _batches(
    engine: Engine, dataset: SampleDataset, config: TrainConfig, start: int, total: int
) -> Iterator[list[Batch]]:
    """The micro-batches of each step from `start` on, on the device, with their views."""
    if start == total:
        return
    loader = make_loader(
        dataset,
        batch_size=config.batch_size,
        sampler=config.sampler,
        seed=config.seed,
        start_step=start * config.accumulate,
        steps=(total - start) * config.accumulate,
        rank=engine.rank,
        world=engine.world,
        workers=config.workers,
    )
    stream = iter(loader)
    for _ in range(start, total):
        yield [_with_views(engine, batch) for batch in itertools.islice(stream, config.accumulate)]


@torch.no_grad()
def _with_views(engine: Engine, batch: Batch) -> Batch:
    """Views are made here, outside autocast, whose low precision would be seen in the images."""
    return engine.method.views(engine.to_device(batch))


def _gradients(engine: Engine, batch: Batch, config: TrainConfig, last: bool) -> Output:
    """Add this micro-batch's share to the gradients; ranks exchange them with the last one."""
    share = 1.0 / config.accumulate
    with engine.unsynced(enabled=not last):
        if config.grad_cache:
            return two_pass_step(
                engine.method,
                batch,
                config.grad_cache,
                project=engine.project,
                backward=engine.backward,
                unsynced=engine.unsynced,
                scale=share,
            )
        out = engine.step(batch)
        engine.backward(out.loss * share)
        return out


def _settle(method: Method, admitted: bool) -> None:
    """Let the method move its teacher and queue; after a skipped step only let it forget what is pending."""
    if admitted:
        method.after_step()
    else:
        method.skip_step()


def _averages(engine: Engine, outputs: list[Output]) -> dict[str, float]:
    """Loss and scalar parts, averaged over micro-batches and ranks with one exchange."""
    named = [{"loss": out.loss, **out.parts} for out in outputs]
    names = [name for name, value in named[0].items() if value.numel() == 1]
    table = torch.stack(
        [torch.stack([row[name].detach().double().cpu().reshape(()) for name in names]) for row in named]
    )
    means = engine.mean(table.mean(0).to(engine.device)).tolist()
    return {name if name == "loss" else f"parts/{name}": value for name, value in zip(names, means, strict=True)}


def _epoch_line(
    engine: Engine, dataset: SampleDataset, config: TrainConfig, line: Mapping[str, Any], guard: Guard
) -> dict[str, Any]:
    """What an epoch's line adds: skipped steps so far, and the health of the embeddings where it is due."""
    values: dict[str, Any] = {"skipped": guard.skipped}
    due = config.health_every and (line["epoch"] + 1) % config.health_every == 0
    if due and engine.rank == 0:
        values |= health.measure(engine.method, dataset, engine.device)
    return values
