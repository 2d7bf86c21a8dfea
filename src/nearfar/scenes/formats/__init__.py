"""Formats of scenes, one file a format: a new file with a `SceneFormat` in this folder is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

from nearfar.errors import ConfigError, DataError, did_you_mean
from nearfar.scenes.formats.base import SceneFormat, named
from nearfar.scenes.scene import Colour, Frame, Scene, Split

__all__ = ["FORMATS", "Frame", "Scene", "SceneFormat", "find_format", "open_objects", "open_scene", "recognise",
           "write_scene", "write_transforms"]  # fmt: skip


def _discover() -> dict[str, SceneFormat]:
    found: list[SceneFormat] = []
    for module in pkgutil.iter_modules(__path__):
        full = f"{__name__}.{module.name}"
        kinds = [kind for kind in vars(importlib.import_module(full)).values() if isinstance(kind, type)]
        found += [
            kind()
            for kind in kinds
            if issubclass(kind, SceneFormat) and kind.__module__ == full and kind is not SceneFormat
        ]
    return {kind.name: kind for kind in sorted(found, key=lambda k: (-k.priority, k.name))}


FORMATS = _discover()
"""formats by name, the ones that are asked first first"""


def recognise(root: Path) -> SceneFormat | None:
    """The first format that recognises `root` as a scene, or None."""
    return next((kind for kind in FORMATS.values() if root.exists() and kind.recognises(root)), None)


def find_format(name: str, root: Path) -> SceneFormat:
    """The format of that name, or for "auto" the first that recognises `root`.

    Raises ConfigError for an unknown name, DataError where `root` does not exist or is no scene.
    """
    if name != "auto":
        return _named(name)
    _exists(root)
    if found := recognise(root):
        return found
    raise DataError(
        "no format recognises this as a scene",
        where=root,
        expected=" | ".join(FORMATS),
        fix="Give the folder that holds the cameras (transforms.json, cameras.npz, pose/, images.txt). "
        "A folder of many objects is for --task objects.",
    )


def open_scene(
    root: Path | str,
    format: str = "auto",
    hold_out: int = 8,
    *,
    background: Colour | None = None,
    missing: bool = False,
) -> Scene:
    """The scene in a folder (or of a transforms.json), with cameras as nearfar has them.

    Every `hold_out`-th view, from the first on, is for testing where the format has no splits (0: none). `background`
    replaces what the format declares. `missing`: whether views without an image may stand in it.

    Raises ConfigError for an unknown format, DataError for what is missing or broken.
    """
    folder = named(root)
    scene = find_format(format, folder).read(folder, hold_out)
    if not scene.frames:
        raise DataError("the scene has no views", where=folder)
    if background is not None:
        scene = replace(scene, background=background)
    absent = [frame.path for frame in scene.frames if not frame.path.is_file()]
    if absent and not missing:
        raise DataError(
            f"{len(absent)} of {len(scene.frames)} images do not exist",
            where=folder,
            found=f"no {absent[0]}",
            fix="Copy the images, or check the names; `nearfar data check` lists them.",
        )
    return scene


def open_objects(root: Path | str, format: str = "auto", split: Split = "train", *, hold_out: int = 0) -> list[Scene]:
    """The objects of a split below a folder of many (NMR and DVR with their lists, SRN), each a scene of its own.

    Raises ConfigError for an unknown format or split, DataError where there is no object.
    """
    folder = Path(root)
    if split not in get_args(Split):
        raise ConfigError(
            f"unknown split {split!r}", expected=" | ".join(get_args(Split)), fix=did_you_mean(split, get_args(Split))
        )
    kinds = [_named(format)] if format != "auto" else [kind for kind in FORMATS.values() if kind.many]
    for kind in kinds:
        if found := kind.objects(folder, split):
            return [open_scene(path, kind.name, hold_out) for path in found]
    _exists(folder)
    raise DataError(
        f"no {split} objects found",
        where=folder,
        expected=" | ".join(kind.name for kind in FORMATS.values() if kind.many),
        fix="Give the folder that holds the lists or the objects' folders. One scene alone is for --task scene.",
    )


def write_scene(scene: Scene, root: Path | str, format: str = "transforms") -> Path:
    """Writes a scene with copies of its images in a format; returns what to open.

    Raises ConfigError for an unknown format, DataError for what the format cannot hold (lens distortion, mixed sizes).
    """
    return _named(format).write(scene, Path(root))


def write_transforms(scene: Scene, path: Path | str) -> Path:
    """Writes one transforms.json that points to the images where they are, relative to it; points go beside it."""
    from nearfar.scenes.formats.transforms import write_json

    return write_json(scene, Path(path))


def _named(name: str) -> SceneFormat:
    if name not in FORMATS:
        hint = did_you_mean(name, FORMATS)
        raise ConfigError(f"unknown scene format {name!r}", expected=" | ".join(("auto", *FORMATS)), fix=hint)
    return FORMATS[name]


def _exists(root: Path) -> None:
    if not root.exists():
        raise DataError("the scene does not exist", where=root, fix="Check the path.")
