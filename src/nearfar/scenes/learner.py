"""What learns a scene or objects: one step, the pictures it makes, the state it is resumed from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.io import load_encoder, save_encoder
from nearfar.errors import ConfigError
from nearfar.scenes.config import SceneConfig
from nearfar.scenes.metrics import mean_image, nearest_view
from nearfar.scenes.rendering import View
from nearfar.scenes.scene import Pixels, Scene
from nearfar.spatial.cameras import Camera
from nearfar.train import optim

ENCODER = "source_encoder.safetensors"
"""the encoder that a run began with, in its folder"""


@dataclass(frozen=True)
class Shot:
    """A view that is measured: what may be known of its scene, and of other objects."""

    scene: Scene
    view: int
    known: Sequence[int]
    """views of the scene that the nearest one is looked for among"""
    others: Sequence[Scene] = ()
    """training objects; their views from about the same side make the mean image. Empty: the mean of `known`"""


class Learner(ABC):
    """Owns `field` and `optimiser`. `draws` of a step are a function of seed and step, so no generator is saved."""

    field: nn.Module
    optimiser: Optimizer
    scale: float = 1.0
    """factor on the size of images"""

    def read(self) -> None:
        """Reads what training and measuring will need, so that a broken file is said before anything is learnt.

        Raises DataError.
        """
        for shots in self.shots("end").values():
            for shot in shots:
                shot.scene.image(shot.view, self.scale)

    @abstractmethod
    def step(self, step: int, progress: float, draws: torch.Generator) -> dict[str, float]:
        """Step `step` (from 0) at `progress` (0 to 1) of the run: at least loss and psnr. Raises NonFiniteError."""

    def settle(self, step: int, draws: torch.Generator) -> dict[str, float]:
        """What follows after `step` steps (from 1), on all ranks alike; what changed, for the log."""
        return {}

    @abstractmethod
    def shots(self, wanted: str) -> dict[str, list[Shot]]:
        """The views that are measured, by name of their group. `wanted`: "way" (during training) or "end"."""

    @abstractmethod
    def render(self, scene: Scene, camera: Camera) -> View:
        """The picture of a camera, of the size of the camera."""

    def sizes(self) -> dict[str, int]:
        """Numbers that the log carries along."""
        return {}

    def state(self) -> dict[str, Any]:
        """All that learning has changed."""
        return {"field": self.field.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.field.load_state_dict(state["field"])
        optim.load_state(self.optimiser, state["optimiser"])


def spread(indices: Sequence[int], most: int) -> list[int]:
    """At most `most` of some indices (0: all), evenly spread."""
    if not most or len(indices) <= most:
        return list(indices)
    return [indices[int((k + 0.5) * len(indices) / most)] for k in range(most)]


class MeanImages:
    """The mean image of shots, each made once."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._made: dict[tuple[Any, ...], Pixels] = {}

    def of(self, shot: Shot) -> Pixels:
        """Of the scene's known views, or of the training view nearest to the camera of each other object."""
        if not shot.others:
            key: tuple[Any, ...] = (shot.scene.name, *shot.known)
            if key not in self._made:
                self._made[key] = mean_image(shot.scene, shot.known, self.scale)
            return self._made[key]
        camera = shot.scene.frames[shot.view].camera
        near = [_nearest(scene, camera) for scene in shot.others]
        key = tuple((scene.name, i) for scene, i in zip(shot.others, near, strict=True))
        if key not in self._made:
            pictures = [scene.image(i, self.scale)[0] for scene, i in zip(shot.others, near, strict=True)]
            self._made[key] = np.asarray(np.mean(pictures, axis=0, dtype=np.float64), np.float32)
        return self._made[key]


def _nearest(scene: Scene, camera: Camera) -> int:
    views = scene.indices("train")
    return views[nearest_view(camera, [scene.frames[i].camera for i in views])]


def rgb_encoder(config: SceneConfig, run: Path, fresh: bool) -> ImageEncoder | None:
    """The encoder that the configuration names, or the run's copy of it. Raises ConfigError for other channels."""
    given = config.data.encoder
    if given is None:
        return None
    source = given / "encoder.safetensors" if given.is_dir() else given
    encoder = load_encoder(source if fresh else run / ENCODER)
    if len(encoder.channels) != 3:
        raise ConfigError(
            "the encoder must take RGB images", where="data.encoder", found=", ".join(encoder.channels.names)
        )
    return encoder


def keep_encoder(config: SceneConfig, run: Path) -> None:
    """Copies the encoder that a run begins with into its folder, so that the folder is complete."""
    encoder = rgb_encoder(config, run, fresh=True)
    if encoder is not None:
        save_encoder(encoder, run / ENCODER)


def as_input(rgb: Pixels) -> Tensor:
    """[H, W, 3] -> [3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))
