"""Tables of the documentation, each made from one file of benchmarks/results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from result_tables import losses, methods, parts, views

TABLES: dict[str, Callable[[Any], list[str]]] = {
    "scenes": views.scenes,
    "scenes_arms": views.scenes_arms,
    "objects": views.objects,
    "points": views.points,
    "mir180": views.mir180,
    "mir180_choice": views.mir180_choice,
    "csip": methods.csip,
    "spatialclip": methods.spatialclip,
    "saco": methods.saco,
    "mvtec": methods.mvtec,
    "demo": methods.demo,
    "core": losses.core,
    "core_growth": losses.core_growth,
    "threads": losses.threads,
    "large_batch": losses.large_batch,
    "label_noise": losses.label_noise,
    "evidential": losses.evidential,
    "texture": parts.texture,
    "boxes": parts.boxes,
    "windowed": parts.windowed,
    "graph_contrast": parts.graph_contrast,
}

FILES = {"core_growth": "core"}
"""tables made from another one's results"""
