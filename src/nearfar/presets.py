"""METHODS and ready-made configurations, as plain Python values: no torch here.

A new method needs one file in `methods/`, one `MethodSpec` and one preset here, and one page in `docs/methods/`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class MethodSpec:
    """Where a method lives and what it is, without importing it."""

    target: str
    """module:Class, a `nearfar.methods.base.Method`"""
    summary: str
    state: str = "ready"
    """ready, or the reason why it is not"""


@dataclass(frozen=True)
class Preset:
    """A named configuration: a method and dotted overrides of its defaults ("train.lr": 1e-3)."""

    method: str
    summary: str
    overrides: dict[str, Any] = field(default_factory=dict)


METHODS: dict[str, MethodSpec] = {
    "disco": MethodSpec("nearfar.methods.disco:Disco", "evidential contrast: labels weighted by opinions about pairs"),
    "supcon": MethodSpec("nearfar.methods.supcon:SupCon", "supervised contrast, the plain baseline with labels"),
    "simclr": MethodSpec("nearfar.methods.simclr:SimCLR", "two views of one image, the plain baseline without labels"),
    "moco": MethodSpec("nearfar.methods.moco:MoCo", "two views, a queue of keys and a momentum teacher"),
    "patches": MethodSpec(
        "nearfar.methods.patches:Patches", "places of normal images against other places and synthetic defects"
    ),
}

PRESETS: dict[str, Preset] = {
    "disco": Preset("disco", "DiSCO, principled form"),
    "disco_reference": Preset(
        "disco",
        "DiSCO as its published code computes it",
        {"method.mode": "reference", "views.recipe": "thermal_legacy"},
    ),
    "supcon": Preset("supcon", "SupCon, L_out"),
    "simclr": Preset("simclr", "SimCLR"),
    "moco": Preset("moco", "MoCo v2"),
    "patches": Preset(
        "patches",
        "one-class anomaly detection on roughly aligned images",
        {
            "views.recipe": "none",
            "data.size": 128,
            "encoder.name": "nano_cnn",
            "encoder.size": 128,
            "train.batch_size": 16,
            "train.epochs": 70,
            "train.weight_decay": 0.02,
        },
    ),
}


@dataclass(frozen=True)
class Demo:
    """An embedded demonstration: a generated world, and the presets trained side by side on it."""

    title: str
    lead: str
    world: str
    """module with `generate(root, *, n, seed) -> Path`"""
    samples: int
    presets: tuple[str, ...]
    overrides: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=lambda: {"data.root": "."})
    """settings that are folders of the world, such as eval.change: oscd"""
    unit: str = "scenes"
    """what `samples` counts"""


DEMOS: dict[str, Demo] = {
    "disco": Demo(
        title="Finding spills with doubtful labels",
        lead="Floors with and without liquid spills in colour, thermal and depth images; part of the training labels "
        "is wrong. DiSCO and SupCon learnt from the same images, labels and views; the true labels and masks were kept "
        "aside and are used here only to score.",
        world="nearfar.data.synthetic.spills",
        samples=1200,
        presets=("disco", "supcon"),
        overrides={
            "data.size": 64,
            "encoder.name": "nano_cnn",
            "encoder.size": 64,
            "encoder.normalize": "image",
            "method.head_norm": "batch",
            "train.epochs": 40,
            "train.batch_size": 128,
            "train.lr": 2e-3,
            "train.sampler": "balanced",
        },
    ),
}
