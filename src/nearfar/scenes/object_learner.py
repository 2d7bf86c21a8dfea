"""Many objects as one conditional field that learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from nearfar.errors import ConfigError
from nearfar.scenes.config import SceneConfig
from nearfar.scenes.field import ConditionalField, Sources
from nearfar.scenes.formats import FORMATS, find_format, open_objects
from nearfar.scenes.learner import Learner, Shot, rgb_encoder, spread
from nearfar.scenes.objects import ObjectPool, build_optimiser, describe, object_step, set_rates
from nearfar.scenes.rendering import View, render_view
from nearfar.scenes.scene import Colour, Scene, Split
from nearfar.spatial.cameras import Camera

OTHERS = 64
"""training objects that make the mean image"""
UNSEEN_VIEWS = 8
"""views of an unseen object that are measured where eval.views leaves it open"""


class ObjectLearner(Learner):
    """Source views are training views; those of unseen objects stand at the same places of the list."""

    field: ConditionalField

    def __init__(self, config: SceneConfig, run: Path, device: torch.device, *, fresh: bool) -> None:
        self.config, self.device = config, device
        self.known, self.unseen = open_objects_of(config)
        background = self.known[0].background
        self.options = config.objects if background is None else replace(config.objects, background=background)
        self.field = ConditionalField(self.options, rgb_encoder(config, run, fresh)).to(device)
        self.optimiser = build_optimiser(self.field)
        self._pool: ObjectPool | None = None
        self._described: dict[str, Sources] = {}

    def step(self, step: int, progress: float, draws: torch.Generator) -> dict[str, float]:
        if self._pool is None:
            self._pool = ObjectPool(self.known, self.options, device=self.device)
        self._described = {}
        set_rates(self.optimiser, self.options, step, progress)
        return object_step(self.field, self._pool.draw(draws, step), self.optimiser, draws)

    def shots(self, wanted: str) -> dict[str, list[Shot]]:
        end = self.config.eval
        if wanted == "way":
            few = self.config.train.evaluation_views
            groups = {"seen_objects": (self.known, few, 1), "unseen_objects": (self.unseen, few, 1)}
        else:
            groups = {
                "seen_objects": (self.known, end.objects, end.views),
                "unseen_objects": (self.unseen, end.objects, end.views or UNSEEN_VIEWS),
            }
        found = {
            name: [shot for k in spread(range(len(scenes)), objects) for shot in self._shots(scenes[k], views)]
            for name, (scenes, objects, views) in groups.items()
        }
        return {name: shots for name, shots in found.items() if shots}

    def render(self, scene: Scene, camera: Camera) -> View:
        if scene.name not in self._described:
            self._described[scene.name] = describe(self.field, scene, self.sources(scene))
        return render_view(self.field, self._described[scene.name], camera)

    def sources(self, scene: Scene) -> list[int]:
        """The views that tell the field what an object is. Raises ConfigError for views that it does not have."""
        wanted = self.config.eval.sources
        if wanted and max(wanted) >= len(scene.frames):
            raise ConfigError("there is no such view", where="eval.sources", found=wanted, expected=len(scene.frames))
        return list(wanted) or spread(scene.indices("train"), self.options.sources)

    def _shots(self, scene: Scene, most: int) -> list[Shot]:
        """Held-out views of an object that was trained on; of an unseen one all but the source views."""
        known, sources = scene in self.known, self.sources(scene)
        held = scene.indices("test") or scene.indices("val") if known else []
        targets = held or [i for i in range(len(scene.frames)) if i not in sources]
        others = [self.known[k] for k in spread(range(len(self.known)), OTHERS)]
        near = [i for i in scene.indices("train") if i not in targets] if known and held else sources
        return [Shot(scene, i, near, others) for i in spread(targets, most)]


def open_objects_of(config: SceneConfig) -> tuple[list[Scene], list[Scene]]:
    """Training objects with views held out, and test objects, or validation objects, or none. Raises ConfigError."""
    data = config.data
    if data.root is None:
        raise ConfigError("no data", where="data.root", fix="Name your folder: --data.root FOLDER.")
    kinds = [find_format(data.format, data.root)] if data.format != "auto" else list(FORMATS.values())
    splits: tuple[Split, ...] = ("test", "val")
    rest = [split for split in splits if any(kind.many and kind.objects(data.root, split) for kind in kinds)]
    known = open_objects(data.root, data.format, "train", hold_out=data.hold_out)[: data.limit or None]
    unseen = open_objects(data.root, data.format, rest[0]) if rest else []
    return _upon(data.background, known), _upon(data.background, unseen)


def _upon(background: Colour | None, scenes: list[Scene]) -> list[Scene]:
    return scenes if background is None else [replace(scene, background=background) for scene in scenes]
