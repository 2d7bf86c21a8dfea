"""One scene as a field of points that learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearfar.encoders.mode import evaluating
from nearfar.errors import ConfigError, DataError
from nearfar.scenes.config import SceneConfig
from nearfar.scenes.densify import adapt
from nearfar.scenes.formats import open_scene
from nearfar.scenes.fusion import pixel_features, stacked, standardised
from nearfar.scenes.graph_contrast import pretrain
from nearfar.scenes.hull import region
from nearfar.scenes.initial import initial_points
from nearfar.scenes.learner import Learner, Shot, as_input, rgb_encoder, spread
from nearfar.scenes.metrics import find_lpips
from nearfar.scenes.point_options import PointOptions
from nearfar.scenes.point_training import RayPool, build_optimiser, point_step, set_rates
from nearfar.scenes.points import PointField
from nearfar.scenes.rendering import View
from nearfar.scenes.scene import Scene
from nearfar.spatial.cameras import Camera

WIDE = 3.0
"""world units across what the views show of a scene for which lengths are as given"""
REFRESH = 100
"""steps between readings of the encoder's maps at the points' places, which move slowly"""


class SceneLearner(Learner):
    """`fresh`: with first points, and their features if graph contrast makes them; else a state will be loaded."""

    field: PointField

    def __init__(self, config: SceneConfig, run: Path, device: torch.device, *, fresh: bool) -> None:
        self.config, self.device, self.scale = config, device, config.data.scale
        self.scene = open_scene_of(config)
        self.options = fitted(config, self.scene)
        self.history: list[dict[str, float]] = []
        points, colours, features = np.zeros((self.options.points, 3)), None, None
        if fresh:
            data = config.data
            points, colours = initial_points(
                self.scene, data.initial, self.options.points, config.train.seed, path=data.initial_path
            )
            features = self._contrasted(points, colours)
        self.field = PointField(self.options, torch.from_numpy(points).float(), features).to(device)
        self.optimiser = build_optimiser(self.field, self.options)
        self._pool: RayPool | None = None
        self._maps = _maps(config, run, self.scene, device, fresh)
        self._pixels: Tensor | None = None
        self._perceptual = _perceptual(config.train.perceptual, device)

    def read(self) -> None:
        super().read()
        self._rays()

    def step(self, step: int, progress: float, draws: torch.Generator) -> dict[str, float]:
        set_rates(self.optimiser, self.options, step, progress)
        if step % REFRESH == 0:
            self._pixels = None
        rays = self._rays().batch(self.options, draws)
        pixels = self._read_pixels()
        return point_step(self.field, rays, self.optimiser, pixel_features=pixels, perceptual=self._perceptual)

    def settle(self, step: int, draws: torch.Generator) -> dict[str, float]:
        change = adapt(self.field, self.optimiser, self.options, step, draws)
        if change is None:
            return {}
        self._pixels = None
        return {"removed": change.removed, "added": change.added, "points": change.points}

    def shots(self, wanted: str) -> dict[str, list[Shot]]:
        scene, train = self.scene, self.scene.indices("train")
        order = ("test", "val") if wanted == "end" else ("val", "test")
        held = scene.indices(order[0]) or scene.indices(order[1])  # type: ignore[arg-type]
        name = "held_out_views" if held else "training_views"
        most = self.config.eval.views if wanted == "end" else self.config.train.evaluation_views
        return {name: [Shot(scene, i, [k for k in train if k != i]) for i in spread(held or train, most)]}

    def render(self, scene: Scene, camera: Camera) -> View:
        origins, directions = (torch.from_numpy(part).float().to(self.device) for part in camera.rays())
        shape = (camera.height, camera.width)
        seen = self.field.render(origins, directions, shape=shape, pixel_features=self._read_pixels())
        rgb = seen["rgb"].reshape(*shape, 3)
        return {"rgb": rgb, "alpha": seen["alpha"].reshape(shape), "depth": seen["depth"].reshape(shape)}

    def sizes(self) -> dict[str, int]:
        return {"points": len(self.field.points)}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "pixels": self._pixels, "graph": self.history}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self._pixels = None if state["pixels"] is None else state["pixels"].to(self.device)
        self.history = state["graph"]

    def _rays(self) -> RayPool:
        if self._pool is None:
            self._pool = RayPool(self._views(), self.device)
        return self._pool

    def _views(self) -> list[tuple[Camera, Any, Any]]:
        train = self.scene.indices("train")
        if not train:
            raise DataError("the scene has no training views", where=self.scene.name)
        return [(self.scene.frames[i].camera.scaled(self.scale), *self.scene.image(i, self.scale)) for i in train]

    def _contrasted(self, points: np.ndarray, colours: np.ndarray | None) -> Tensor | None:
        seconds, wanted = self.config.train.graph_seconds, self.options.feature_dim
        if not seconds:
            return None
        found = pretrain(points, colours, seconds=seconds, seed=self.config.train.seed)
        if found.features.shape[1] != wanted:
            raise ConfigError(
                "graph contrast makes features of another width",
                where="points.feature_dim",
                found=wanted,
                expected=found.features.shape[1],
            )
        self.history = found.history
        # Of the size that random features begin with, so that both start alike.
        return found.features / found.features.std() * 0.1

    @torch.no_grad()
    def _read_pixels(self) -> Tensor | None:
        if self._maps is not None and self._pixels is None:
            cameras, maps = self._maps
            self._pixels = pixel_features(self.field.points, cameras, maps)
        return self._pixels


def open_scene_of(config: SceneConfig) -> Scene:
    """The scene that a configuration names. Raises ConfigError where it names none, and what reading raises."""
    data = config.data
    if data.root is None:
        raise ConfigError("no data", where="data.root", fix="Name your folder: --data.root FOLDER.")
    return open_scene(data.root, data.format, data.hold_out, background=data.background)


def fitted(config: SceneConfig, scene: Scene) -> PointOptions:
    """The options of a scene: its own background, where it declares one, and lengths for its size."""
    options = config.points
    if scene.background is not None:
        options = replace(options, background_colour=scene.background)
    if not config.data.normalise:
        return options
    low, high = region(scene)
    unit = float((high - low).mean()) / WIDE
    return replace(options, scale=options.scale / unit, rate_points=options.rate_points * unit)


def _maps(
    config: SceneConfig, run: Path, scene: Scene, device: torch.device, fresh: bool
) -> tuple[list[Camera], Tensor] | None:
    """The training cameras and the maps of all stages that the encoder makes of their images, [V, C, h, w]."""
    encoder = rgb_encoder(config, run, fresh)
    if encoder is None:
        return None
    encoder = encoder.to(device)
    train = scene.indices("train")
    with evaluating(encoder), torch.no_grad():
        images = (as_input(scene.image(i)[0])[None].to(device) for i in train)
        maps = torch.cat([stacked(encoder.features(x, pyramid=True, resize=True).pyramid) for x in images])
    if maps.shape[1] != config.points.pixel_dim:
        raise ConfigError(
            "the encoder's maps have other channels",
            where="points.pixel_dim",
            found=config.points.pixel_dim,
            expected=maps.shape[1],
        )
    return [scene.frames[i].camera for i in train], standardised(maps)


def _perceptual(weight: float, device: torch.device) -> Callable[[Tensor, Tensor], Tensor] | None:
    if not weight:
        return None
    lpips = find_lpips("vgg", device)
    distance = lpips.distance
    if distance is None:
        raise ConfigError(
            f"LPIPS is not there: {lpips.why}",
            where="train.perceptual",
            fix="Install it, or give 0, which leaves it out.",
        )
    return lambda seen, wanted: weight * distance(seen, wanted)
