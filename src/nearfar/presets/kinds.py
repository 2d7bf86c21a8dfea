"""What a method, a preset and a demonstration are: plain values."""

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


@dataclass(frozen=True)
class Demo:
    """An embedded demonstration: a generated world, and what is trained side by side on it."""

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
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    """overrides of one preset alone"""
    scenes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """tasks of `nearfar.scenes` that are trained beside the presets: "scene" or "objects", each with its overrides;
    data.root is a folder of the world"""
