"""The optimisation and its stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Stage:
    """A part of a run that trains some of the method's parameters, with an optimiser of its own."""

    name: str
    """in metrics.jsonl, progress and report"""
    epochs: int
    train: tuple[str, ...] = ("*",)
    """parameters that learn, by patterns (`encoder.*`, `*.bias`) over their names in the method; the rest is frozen"""
    rates: dict[str, float] = field(default_factory=dict)
    """pattern: learning rate as a multiple of `train.lr`; the last pattern that matches a parameter counts"""
    losses: dict[str, float] = field(default_factory=dict)
    """part of the method's loss: its weight in this stage"""
    warmup: float = 0.1
    """share of the stage that warms up; the schedule of the run follows, from the beginning in every stage"""


@dataclass(frozen=True)
class TrainConfig:
    """The optimisation."""

    epochs: int = 100
    """with stages: their sum, and need not be given; given after them (a flag over a preset) it stretches them in
    proportion"""
    stages: tuple[Stage, ...] = ()
    """parts of the run one after the other, in a preset or a YAML file; empty: everything learns all the time"""
    batch_size: int = 256
    """over all devices"""
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    schedule: Literal["cosine", "published"] = "cosine"
    """cosine: linear warm-up, then a cosine, step by step; published: DiSCO's quadratic warm-up, epoch by epoch"""
    warmup: float = 0.1
    """share of the run that warms up; a cosine to `lr_floor` follows"""
    lr_floor: float = 0.01
    """final learning rate as a share of `lr`"""
    head_lr: float = 1.0
    """learning rate of the projection head as a multiple of `lr`"""
    freeze_encoder: float = 0.0
    """share of the run during which the encoder is frozen and only the head learns"""
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    accumulate: int = 1
    """micro-batches whose gradients are averaged into one step"""
    grad_cache: int = 0
    """rows a chunk of the two-pass step that makes the batch independent of memory; 0: off"""
    clip: float = 0.0
    """largest gradient norm; 0: off"""
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: Literal["auto", "ddp"] = "auto"
    sync_batchnorm: bool = False
    workers: int = 0
    """loader processes"""
    threads: int = 0
    """CPU threads of torch; 0: leave them"""
    seed: int = 0
    checkpoint_every: int = 0
    """steps between checkpoints; 0: after every epoch"""
    keep: int = 2
    """checkpoints kept"""
    max_nonfinite: int = 10
    """steps in a row with a non-finite loss or gradient before the run stops"""
    health_every: int = 1
    """epochs between measurements of embedding health (alignment, uniformity, effective rank)"""
    log: tuple[Literal["tensorboard", "mlflow"], ...] = ()
    """loggers beside metrics.jsonl"""
