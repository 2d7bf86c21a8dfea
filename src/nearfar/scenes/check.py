"""Everything wrong with a scene, in one pass over its images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from nearfar.data import images
from nearfar.data.readers import Problem
from nearfar.errors import DataError
from nearfar.scenes.axes import axis_problems
from nearfar.scenes.formats import FORMATS, find_format, open_scene
from nearfar.scenes.formats.base import FramesError
from nearfar.scenes.scene import Frame, Pixels, Scene, Split

AGREE = 0.8
"""smallest overlap (intersection over union) of alpha and mask"""
OFF = 0.1
"""largest share of pixels outside a mask, away from its rim, that may differ from the background by as much"""
SAME_PLACE = 1e-9


def check_scene(scene: Scene) -> list[Problem]:
    """Every problem of a scene: missing and broken images, alpha against masks, mix-ups of axes, points, splits.

    Decodes every image once, and those with alpha twice. Whatever is wrong comes back in the list.
    """
    problems = [problem for i in range(len(scene.frames)) for problem in _frame_problems(scene, i)]
    problems += axis_problems(scene)
    problems += _range_problems(scene)
    problems += _twins(scene.frames)
    return [*problems, *_split_problems(scene)]


def check_folder(root: Path, format: str = "auto") -> tuple[list[Scene], list[Problem]]:
    """The scenes below `root` (one, or the objects of all splits), and their problems, named by object.

    Raises ConfigError for an unknown format.
    """
    objects = find_objects(root, format)
    paths, name = objects if objects else ([root], format)
    scenes, problems = [], []
    for path in paths:
        try:
            scene = open_scene(path, name, missing=True)
        except FramesError as errors:
            problems += [Problem.of(error, path) for error in errors.every]
            continue
        except DataError as error:
            problems.append(Problem.of(error, path))
            continue
        scenes.append(scene)
        problems += check_scene(scene)
    return scenes, problems


def find_objects(root: Path, format: str = "auto") -> tuple[list[Path], str] | None:
    """The objects of all splits below `root` and their format; None where it is no folder of many objects."""
    if format != "auto" and not find_format(format, root).many:
        return None
    for kind in [FORMATS[format]] if format != "auto" else FORMATS.values():
        if root.is_dir() and kind.many and not kind.recognises(root):
            splits: tuple[Split, ...] = get_args(Split)
            if found := [path for split in splits for path in kind.objects(root, split)]:
                return list(dict.fromkeys(found)), kind.name
    return None


def _frame_problems(scene: Scene, i: int) -> Iterator[Problem]:
    frame = scene.frames[i]
    try:
        rgb, alpha = scene.image(i)
        own = scene.alpha_of(i) if alpha is not None else None
    except DataError as error:
        yield Problem.of(error, frame.path)
        return
    if own is not None and not (own > 0.5).any():
        yield Problem(frame.path, "the image is wholly transparent", "Remove the view, or write its alpha.")
    if frame.mask is not None:
        try:
            yield from _mask_problems(scene, frame, rgb, own)
        except DataError as error:
            yield Problem.of(error, frame.mask)
    camera = frame.camera
    if not (0 <= camera.cx <= camera.width and 0 <= camera.cy <= camera.height):
        what = f"the principal point {camera.cx:.1f}, {camera.cy:.1f} is outside the image"
        yield Problem(frame.path, what, "Give cx and cy in pixels of the image.", fatal=False)
    if any(camera.distortion):
        try:
            camera.rays([[0, 0], [camera.width - 1, 0], [0, camera.height - 1], [camera.width - 1, camera.height - 1]])
        except DataError as error:
            yield Problem.of(error, frame.path)


def _mask_problems(scene: Scene, frame: Frame, rgb: Pixels, alpha: Pixels | None) -> Iterator[Problem]:
    """The mask against the alpha channel of the file, or against the background that the scene declares."""
    assert frame.mask is not None
    mask = images.read_mask(frame.mask)
    if not mask.any():
        yield Problem(frame.mask, "the mask is empty", "Remove the view, or draw its mask.")
        return
    if mask.shape != rgb.shape[:2]:
        what = f"the mask is {mask.shape[1]} x {mask.shape[0]}, its image {rgb.shape[1]} x {rgb.shape[0]}"
        yield Problem(frame.mask, what, "Save it at the size of the image.")
    elif alpha is not None:
        agreement, inverted = _overlap(mask, alpha > 0.5), _overlap(~mask, alpha > 0.5)
        if agreement < AGREE:
            turned = "; inverted it would fit" if inverted >= AGREE else ""
            what = f"the mask and the alpha of {frame.path.name} overlap by {agreement:.0%}{turned}"
            yield Problem(frame.mask, what, "Keep the one that is right.")
    elif scene.background is not None and (off := _off_background(rgb, mask, scene.background)) > OFF:
        turned = "; inverted it would fit" if _off_background(rgb, ~mask, scene.background) <= OFF else ""
        what = f"{off:.0%} of the pixels outside the mask are not background{turned}"
        yield Problem(frame.mask, what, "Check the mask, and the background that the scene declares.")


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0


def _off_background(rgb: Pixels, mask: np.ndarray, background: Sequence[float]) -> float:
    from scipy import ndimage

    outside = ~ndimage.binary_dilation(mask, iterations=2)
    differs = np.abs(rgb - np.array(background, np.float32)).max(axis=-1) > OFF
    return float(differs[outside].mean()) if outside.any() else 0.0


def _range_problems(scene: Scene) -> Iterator[Problem]:
    if scene.points is None or not len(scene.points):
        return
    inside, total = 0, 0
    for camera in scene.cameras():
        depth = camera.project(scene.points)[1][camera.sees(scene.points)]
        inside, total = inside + int(((depth >= camera.near) & (depth <= camera.far)).sum()), total + len(depth)
    if total and inside < total / 2:
        what = f"{1 - inside / total:.0%} of the points in sight lie outside near and far"
        yield Problem(scene.name, what, "Set near and far in the units of the poses.", fatal=False)


def _twins(frames: Sequence[Frame]) -> Iterator[Problem]:
    """Frames of one image, and views of one pose."""
    paths: dict[Path, Frame] = {}
    poses: dict[bytes, Frame] = {}
    for frame in frames:
        if (first := paths.setdefault(frame.path.resolve(), frame)) is not frame:
            splits = f"in {first.split} and in {frame.split}" if first.split != frame.split else "twice"
            yield Problem(frame.path, f"the image is listed {splits}", "Keep it once.", first.split != frame.split)
        pose = (np.round(frame.camera.c2w / SAME_PLACE) + 0.0).tobytes()
        if (other := poses.setdefault(pose, frame)).path != frame.path:
            what = f"the view has the same pose as {other.path.name}"
            yield Problem(frame.path, what, "Check whether a pose was copied.", fatal=False)


def _split_problems(scene: Scene) -> Iterator[Problem]:
    if not scene.indices("train"):
        yield Problem(scene.name, "no view is for training", "Check the splits, or hold out fewer views.")
    if len(scene.frames) == 1:
        yield Problem(scene.name, "there is but one view", "A scene needs views from several places.")
