"""The configuration of a run: one frozen dataclass a section. Plain data: nothing here imports torch.

`RunConfig.method` is the dataclass that the method's own file declares (`Method.Config`); everything else is common to
all methods. Reading YAML and flags into it is `nearfar.configio`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nearfar.config.evaluation import EvalConfig
from nearfar.config.networks import EncoderConfig, MethodConfig, TextConfig
from nearfar.config.samples import DataConfig, ViewsConfig
from nearfar.config.training import Stage, TrainConfig

__all__ = [
    "DataConfig",
    "EncoderConfig",
    "EvalConfig",
    "MethodConfig",
    "RunConfig",
    "Stage",
    "TextConfig",
    "TrainConfig",
    "ViewsConfig",
]

M = TypeVar("M", bound=MethodConfig)


@dataclass(frozen=True)
class RunConfig(Generic[M]):
    """Everything that defines a run; written as config.yaml into the run folder."""

    preset: str
    method: M
    data: DataConfig = field(default_factory=DataConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
