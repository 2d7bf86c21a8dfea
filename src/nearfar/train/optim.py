"""Optimisers, their parameter groups, and what changes in them from step to step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from nearfar.config import Stage, TrainConfig
from nearfar.errors import ResumeError
from nearfar.methods.base import Method
from nearfar.train import schedule


class LARS(Optimizer):
    """SGD with momentum whose step in each tensor is scaled to that tensor's norm (You et al. 2017, algorithm 1).

    Tensors of one dimension (biases, norms) take the plain step, as SimCLR and BYOL do.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        change = parameter.grad + group["weight_decay"] * parameter
        if parameter.ndim > 1:
            weight, size = parameter.norm(), change.norm()
            usable = (weight > 0) & (size > 0)
            change = change * torch.where(usable, group["trust"] * weight / size, torch.ones_like(size))
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].mul_(group["momentum"]).add_(change, alpha=group["lr"])
        parameter.sub_(state["momentum"])


def build_optimizer(method: Method, config: TrainConfig, stage: Stage | None = None) -> Optimizer:
    """The configured optimiser over the groups of `parameter_groups`, in a stage over those of `stage_groups`."""
    groups = parameter_groups(method, config) if stage is None else stage_groups(method, config, stage)
    if config.optimizer == "adamw":
        return AdamW(groups, lr=config.lr)
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.lr, momentum=0.9)
    return LARS(groups, lr=config.lr)


def parameter_groups(method: Method, config: TrainConfig) -> list[dict[str, Any]]:
    """Encoder and head apart, and within each the tensors of one dimension (biases, norms) without weight decay.

    Every group has `part` ("encoder" or "head") and `peak`, its highest learning rate.
    """
    encoder = {id(parameter) for parameter in method.encoder.parameters()}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for parameter in method.parameters():
        if parameter.requires_grad:
            part = "encoder" if id(parameter) in encoder else "head"
            groups.setdefault((part, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "part": part,
            "peak": config.lr * (config.head_lr if part == "head" else 1.0),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (part, decays), parameters in groups.items()
    ]


def parameter_names(method: nn.Module) -> dict[nn.Parameter, list[str]]:
    """Every parameter with its names; a shared one has several."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in method.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    return names


def stage_groups(method: Method, config: TrainConfig, stage: Stage) -> list[dict[str, Any]]:
    """What needs gradients, by learning rate and, within one, tensors of one dimension without weight decay.

    Every group has `peak`, its highest learning rate, and `floor`, its last one.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter, names in parameter_names(method).items():
        if parameter.requires_grad:
            rate = config.lr * _multiple(names, stage.rates)
            groups.setdefault((rate, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": rate,
            "floor": rate * config.lr_floor,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (rate, decays), parameters in groups.items()
    ]


def _multiple(names: list[str], rates: Mapping[str, float]) -> float:
    """Of the last pattern that matches one of the names; 1 where none does."""
    matching = [rate for pattern, rate in rates.items() if any(fnmatchcase(name, pattern) for name in names)]
    return matching[-1] if matching else 1.0


def load_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """The moments of a checkpoint; what groups are (peak, weight decay) stays as configured now.

    Raises:
        ResumeError: the checkpoint's optimiser has other parameters.
    """
    configured = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(state)
    except ValueError as error:
        fix = "Resume with the stages, encoder and method of the run."
        raise ResumeError(f"the optimiser has other parameters than its checkpoint: {error}", fix=fix) from None
    for group, options in zip(optimizer.param_groups, configured, strict=True):
        group.update(options)


def set_rates(optimizer: Optimizer, config: TrainConfig, step: int, total: int) -> float:
    """Set every group's learning rate for this step; returns the encoder's rate, or the first group's."""
    for group in optimizer.param_groups:
        peak, floor = group["peak"], group.get("floor", config.lr * config.lr_floor)
        if config.schedule == "cosine":
            rate = schedule.cosine(step, total, round(config.warmup * total), peak, floor)
        else:
            epoch, warmup = step * config.epochs // total, round(config.warmup * config.epochs)
            rate = schedule.published(epoch, config.epochs, warmup, peak, floor)
        group["lr"] = rate
    return float(optimizer.param_groups[0]["lr"])


def drop_frozen(optimizer: Optimizer, config: TrainConfig, step: int, total: int) -> None:
    """Take the encoder's gradients away during its frozen stage, so that the optimiser passes it by.

    Turning `requires_grad` off instead would change the set of parameters that DDP waits for.
    """
    if step < config.freeze_encoder * total:
        for group in optimizer.param_groups:
            if group["part"] == "encoder":
                for parameter in group["params"]:
                    parameter.grad = None
