"""What changes from stage to stage of a run: which parameters learn, the mode of modules, the optimiser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import accumulate

from torch import nn

from nearfar.config import Stage, TrainConfig
from nearfar.errors import ConfigError, ResumeError, did_you_mean
from nearfar.methods.base import Method
from nearfar.train import optim
from nearfar.train.engine import Engine


@dataclass(frozen=True)
class Span:
    """One stage in optimiser steps, `first` until before `last`. A run without stages is one span without a stage.

    `settings` are the run's, with the epochs and the warm-up of the stage.
    """

    stage: Stage | None
    settings: TrainConfig
    first: int
    last: int

    @property
    def label(self) -> dict[str, str]:
        """What lines of metrics say of it."""
        return {"stage": self.stage.name} if self.stage else {}


def spans(config: TrainConfig, steps_per_epoch: int) -> tuple[Span, ...]:
    """The stages of a run, one after the other."""
    if not config.stages:
        return (Span(None, config, 0, config.epochs * steps_per_epoch),)
    lasts = list(accumulate(stage.epochs * steps_per_epoch for stage in config.stages))
    return tuple(
        Span(stage, replace(config, epochs=stage.epochs, warmup=stage.warmup), first, last)
        for stage, first, last in zip(config.stages, [0, *lasts[:-1]], lasts, strict=True)
    )


class Stages:
    """Takes a method from stage to stage; of a run without stages there is one, which leaves the method as it is.

    Made of a method that no stage has touched: what needs gradients then is what stages choose from. Momentum
    teachers and other parameters that the method holds frozen therefore stay frozen.

    Raises:
        ConfigError: a pattern, rate or loss weight of any stage that concerns nothing in the method.
    """

    def __init__(self, method: Method, config: TrainConfig) -> None:
        self.config = config
        self.learnable = {names[0] for _, names in _learnable(method)}
        self.stage: Stage | None = None
        for number, stage in enumerate(config.stages):
            self._check(method, stage, f"train.stages[{number}]")

    def begin(self, engine: Engine, stage: Stage | None) -> None:
        """Freeze and free parameters, tell the method, wrap it anew and give it a new optimiser."""
        self.stage = stage
        method = engine.method
        method.train()
        if stage is not None:
            self._set_gradients(method, stage)
            _evaluate_frozen(method)
            method.set_stage(stage)
        engine.wrap(partial(optim.build_optimizer, config=self.config, stage=stage))
        if stage is not None:
            optimised = {p for group in engine.optimizer.param_groups for p in group["params"]}
            learning = {p for p in method.parameters() if p.requires_grad}
            assert optimised == learning == self._trained(method, stage), f"stage {stage.name}: the optimiser differs"

    def enter(self, engine: Engine, stage: Stage | None) -> None:
        """`begin` where it is not the current one."""
        if stage != self.stage:
            self.begin(engine, stage)

    def resume(self, engine: Engine, name: str) -> None:
        """Enter the stage that a checkpoint was made in ("": without stages). Raises ResumeError where it is gone."""
        known: dict[str, Stage | None] = {stage.name: stage for stage in self.config.stages} or {"": None}
        if name not in known:
            raise ResumeError(
                "the checkpoint was made in another stage",
                where="train.stages",
                found=name or "a run without stages",
                expected=", ".join(known) or "a run without stages",
                fix="Start a new run; the old one's encoder can be its encoder.weights.",
            )
        self.enter(engine, known[name])

    @property
    def name(self) -> str:
        """That of the current stage; empty in a run without stages."""
        return self.stage.name if self.stage else ""

    def _trained(self, method: Method, stage: Stage) -> set[nn.Parameter]:
        return {
            parameter
            for parameter, names in optim.parameter_names(method).items()
            if names[0] in self.learnable and any(_matches(pattern, names) for pattern in stage.train)
        }

    def _set_gradients(self, method: Method, stage: Stage) -> None:
        trained = self._trained(method, stage)
        for parameter in method.parameters():
            parameter.requires_grad_(parameter in trained)
            parameter.grad = None

    def _check(self, method: Method, stage: Stage, where: str) -> None:
        learnable = _learnable(method)
        names = [name for _, group in learnable for name in group]
        for pattern in stage.train:
            if not any(_matches(pattern, group) for _, group in learnable):
                raise _unmatched(pattern, "parameter that can learn", names, f"{where}.train")
        trained = self._trained(method, stage)
        names = [name for parameter, group in learnable if parameter in trained for name in group]
        for pattern in stage.rates:
            if not _matches(pattern, names):
                raise _unmatched(pattern, "parameter that the stage trains", names, f"{where}.rates")
        for part in stage.losses:
            if part not in method.loss_parts:
                there_are = f"There are: {', '.join(method.loss_parts) or 'none'}."
                fix = did_you_mean(part, method.loss_parts, there_are, quote="'")
                what = f"{type(method).__name__} has no loss part {part!r} whose weight a stage sets"
                raise ConfigError(what, where=f"{where}.losses", fix=fix)


def _learnable(method: Method) -> list[tuple[nn.Parameter, list[str]]]:
    return [(p, names) for p, names in optim.parameter_names(method).items() if p.requires_grad]


def _matches(pattern: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _unmatched(pattern: str, what: str, names: list[str], where: str) -> ConfigError:
    parts = {".".join(name.split(".")[:depth]) + ".*" for name in names for depth in range(1, name.count(".") + 1)}
    tops = sorted({name.split(".")[0] + ".*" if "." in name else name for name in names})
    fix = did_you_mean(pattern, sorted(parts) + names, f"There are: {', '.join(tops)}.", quote="'")
    return ConfigError(f"the pattern {pattern!r} matches no {what}", where=where, fix=fix)


def _evaluate_frozen(module: nn.Module) -> None:
    """Put every part that has parameters, and none that learns, into evaluation mode: its batch statistics stay."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    for child in module.children():
        _evaluate_frozen(child)
