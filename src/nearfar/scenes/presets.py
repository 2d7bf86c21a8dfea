"""Ready-made configurations of scenes and objects, as plain Python values: no torch here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nearfar.scenes import object_options, point_options

Task = Literal["scene", "objects"]


@dataclass(frozen=True)
class ScenePreset:
    """Named settings of the tasks that it knows."""

    summary: str
    tasks: Mapping[Task, Mapping[str, Any]]


def _all(prefix: str, options: Any) -> dict[str, Any]:
    return {f"{prefix}.{f.name}": getattr(options, f.name) for f in dataclasses.fields(options)}


_PUBLISHED = {"train.steps": 250_000, "train.checkpoint_every": 5000, "train.evaluations": 50}
_POINTS, _OBJECTS = _all("points", point_options.PAPER), _all("objects", object_options.PAPER)

SCENE_PRESETS: dict[str, ScenePreset] = {
    "demo": ScenePreset("small sizes that learn in minutes on a processor", {"scene": {}, "objects": {}}),
    "photos": ScenePreset(
        "photographs of a place, without masks: more points, and a background that depends on the direction",
        {
            "scene": {
                "points.points": 3000,
                "points.background": "direction",
                "points.mask_share": 0.0,
                "eval.turn": "sway",
            }
        },
    ),
    "paper_scene": ScenePreset(
        "the published sizes and schedules of the point renderer, for a GPU",
        {"scene": {**_POINTS, **_PUBLISHED, "points.influence": 1.0, "points.ahead": True}},
    ),
    "paper_objects": ScenePreset(
        "the published sizes of the conditional field, for a GPU",
        {
            "objects": {
                **_OBJECTS,
                **_PUBLISHED,
                "objects.squeeze": True,
                "objects.activation": "relu",
                "objects.density": "softplus",
                "objects.frame": "canonical",
            }
        },
    ),
    "smcl_reference": ScenePreset(
        "what the published code does, for comparison",
        {
            "scene": {
                **_POINTS,
                **_PUBLISHED,
                "data.initial": "cube",
                "data.normalise": False,
                "train.perceptual": 0.01,
            },
            "objects": {**_OBJECTS, **_PUBLISHED},
        },
    ),
}
