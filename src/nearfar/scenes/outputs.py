"""What leaves a trained scene: animations, point clouds, depth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nearfar.errors import ConfigError
from nearfar.scenes.learner import Learner, spread
from nearfar.scenes.metrics import eight_bit
from nearfar.scenes.ply import write_ply
from nearfar.scenes.scene import Scene, sample_image
from nearfar.scenes.scene_learner import SceneLearner
from nearfar.spatial.cameras import Camera
from nearfar.train.files import disk_errors

VIEWS = 12
"""training views that tell the colours of points"""
PIXELS = 96
"""longer side of what is rendered for points"""
OPAQUE = 0.5
CLOSE = 0.05
"""of the depth of a point, by which a surface may stand before it and not hide it"""


def save_pictures(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float = 12.0) -> Path:
    """Pictures [H, W, 3] as an endless .gif or .webp, or as 0000.png, 0001.png, ... where `path` has no suffix.

    Raises ConfigError for other suffixes, NearfarError where the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in ("", ".gif", ".webp"):
        raise ConfigError("pictures are written as .gif, .webp or into a folder", where="-o", found=path.name)
    images = [Image.fromarray(frame) for frame in frames]
    if not images:
        raise ConfigError("there is no picture to write", where="--frames", found=0)
    with disk_errors(path):
        if not suffix:
            path.mkdir(parents=True, exist_ok=True)
            for k, image in enumerate(images):
                image.save(path / f"{k:04d}.png")
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        first, *rest = [_with_one_palette(images), images][suffix == ".webp"]
        # Pillow takes the format from the name; a lossless WebP keeps small pictures sharp.
        options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {"disposal": 1}
        first.save(path, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, **options)
    return path


def _with_one_palette(images: Sequence[Image.Image]) -> list[Image.Image]:
    """For GIF: colours of all pictures together, so that they do not flicker."""
    sheet = Image.new("RGB", (images[0].width, images[0].height * len(images)))
    for k, image in enumerate(images):
        sheet.paste(image, (0, k * images[0].height))
    palette = sheet.quantize(256)
    return [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]


def point_cloud(learner: Learner, scene: Scene | None = None, most: int = 20_000) -> dict[str, NDArray[Any]] | None:
    """points float32 [n, 3], colours uint8 [n, 3], influence float32 [n] of a scene; None where no scene is named.

    A field of points has its own; their colours are those of the training views that see them. Of an object, the points
    are where the rays of its training cameras end, and influence is their alpha.
    """
    if isinstance(learner, SceneLearner):
        points = learner.field.points.detach().cpu().double().numpy()
        rows = np.arange(len(points)) if len(points) <= most else np.linspace(0, len(points) - 1, most).astype(int)
        colours = _seen_colours(learner, points[rows])
        influence = learner.field.influence.detach().cpu().numpy()[rows]
        return {"points": points[rows].astype(np.float32), "colours": colours, "influence": influence}
    return None if scene is None else _ends_of_rays(learner, scene, most)


def _small(camera: Camera) -> Camera:
    return camera.scaled(min(1.0, PIXELS / max(camera.width, camera.height)))


def _seen_colours(learner: SceneLearner, points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """uint8 [n, 3]: means over the views that nothing hides a point from; over all, where every view is blocked."""
    scene = learner.scene
    total, weight = np.zeros((len(points), 3)), np.full((len(points), 1), 1e-9)
    for i in spread(scene.indices("train"), VIEWS):
        camera = scene.frames[i].camera
        small = _small(camera)
        depth = learner.render(scene, small)["depth"].float().cpu().numpy()[..., None]
        uv, _ = camera.project(points)
        inside = camera.sees(points)
        uv = np.nan_to_num(uv)
        distance = np.linalg.norm(points - camera.origin, axis=1)
        front = sample_image(depth, uv * [small.width / camera.width, small.height / camera.height])[:, 0]
        share = inside * np.where(distance < front * (1 + CLOSE), 1.0, 1e-3)
        total += share[:, None] * sample_image(scene.image(i)[0], uv)
        weight += share[:, None]
    return eight_bit(total / weight)


def _ends_of_rays(learner: Learner, scene: Scene, most: int) -> dict[str, NDArray[Any]]:
    parts = []
    for i in spread(scene.indices("train"), VIEWS):
        camera = _small(scene.frames[i].camera)
        view: Mapping[str, Any] = learner.render(scene, camera)
        rgb, alpha, depth = (view[name].float().cpu().numpy().reshape(-1, k) for name, k in _COLUMNS)
        origins, directions = camera.rays()
        solid = alpha[:, 0] > OPAQUE
        ends = (origins + directions * depth)[solid].astype(np.float32)
        parts.append((ends, eight_bit(rgb[solid]), alpha[solid, 0]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    rows = (
        np.arange(len(columns[0])) if len(columns[0]) <= most else np.linspace(0, len(columns[0]) - 1, most).astype(int)
    )
    return {name: column[rows] for name, column in zip(("points", "colours", "influence"), columns, strict=True)}


_COLUMNS = (("rgb", 3), ("alpha", 1), ("depth", 1))


def export_ply(learner: Learner, scene: Scene, path: Path) -> Path:
    """x y z, colours and influence as PLY; of a field of points its features beside it, as NAME_features.npz.

    Raises NearfarError where a file cannot be written.
    """
    cloud = point_cloud(learner, scene, most=1 << 30)
    assert cloud is not None
    with disk_errors(path):
        write_ply(path, cloud["points"], cloud["colours"] / 255.0, extra={"influence": cloud["influence"]})
        if isinstance(learner, SceneLearner):
            features = learner.field.features.detach().cpu().numpy()
            np.savez_compressed(path.with_name(f"{path.stem}_features.npz"), features=features)
    return path


def export_depth(learner: Learner, scene: Scene, folder: Path) -> Path:
    """For every view NAME.npz (depth, alpha float32 [H, W]) and NAME.png (16 bit, its unit in depth.json).

    Depth is the distance along the ray, in world units. Raises NearfarError where a file cannot be written.
    """
    far = max(float(np.linalg.norm(camera.origin)) + camera.far for camera in scene.cameras())
    unit = far / 65535
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for i, frame in enumerate(scene.frames):
            view = learner.render(scene, frame.camera.scaled(learner.scale))
            depth, alpha = view["depth"].float().cpu().numpy(), view["alpha"].float().cpu().numpy()
            name = f"{i:04d}_{frame.path.stem}"
            np.savez_compressed(folder / f"{name}.npz", depth=depth, alpha=alpha)
            steps = np.rint(np.clip(np.where(alpha > OPAQUE, depth, 0) / unit, 0, 65535)).astype(np.uint16)
            Image.fromarray(steps).save(folder / f"{name}.png")
        note = {"unit": unit, "meaning": "world units a step of the 16-bit PNGs, along the ray; 0: background"}
        (folder / "depth.json").write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    return folder
