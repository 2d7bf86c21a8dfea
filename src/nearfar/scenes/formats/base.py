"""What a format of scenes is, and what all of them share: errors with their place, sizes, splits, distances."""

from __future__ import annotations

import json
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nearfar.data import images
from nearfar.errors import ConfigError, DataError
from nearfar.scenes.scene import Points, Scene, Split
from nearfar.spatial.cameras import Camera, focus_point

Bounds = tuple[Points, Points]
MISSING = (0, 0)
"""size of an image that is not there"""


class SceneFormat(ABC):
    """One format, one file in this package. The first line of its docstring describes the layout to the user."""

    name: ClassVar[str]
    priority: ClassVar[int] = 0
    """where several formats recognise a folder, the highest takes it"""
    many: ClassVar[bool] = False
    """whether there are folders of many objects of this format"""

    @abstractmethod
    def recognises(self, root: Path) -> bool:
        """Whether `root`, which exists, is a scene of this format; cheap."""

    @abstractmethod
    def read(self, root: Path, hold_out: int) -> Scene:
        """The scene. Every `hold_out`-th view is for testing where the format has no splits. Images may be missing.

        Raises DataError for files that are missing or broken.
        """

    @abstractmethod
    def write(self, scene: Scene, root: Path) -> Path:
        """Writes the scene with its images; returns what to open. Raises DataError for what the format cannot hold."""

    def objects(self, root: Path, split: Split) -> list[Path]:
        """The folders of the objects of a split below `root`, none where it is no folder of objects."""
        return []


class FramesError(DataError):
    """What is wrong with the first bad frame of a scene; `every` holds the errors of all of them."""

    every: tuple[DataError, ...] = ()


class Faults:
    """Collects the errors of single frames, so that one pass tells of all."""

    def __init__(self) -> None:
        self.errors: list[DataError] = []

    @contextmanager
    def at(self, where: object) -> Iterator[None]:
        """Keeps a DataError of the block, with its place if it names none."""
        try:
            yield
        except DataError as e:
            self.errors.append(DataError(e.what, where=e.where or where, found=e.found, expected=e.expected, fix=e.fix))

    def refuse(self) -> None:
        """Raises FramesError if there was any."""
        if not self.errors:
            return
        first, more = self.errors[0], len(self.errors) - 1
        what = first.what + (f", and {more} more frame(s) are at fault" if more else "")
        error = FramesError(what, where=first.where, found=first.found, expected=first.expected, fix=first.fix)
        error.every = tuple(self.errors)
        raise error


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) from the file's head; MISSING where it is not there. Raises DataError for a broken one."""
    if not path.is_file():
        return MISSING
    if path.suffix.lower() == ".npy":
        height, width = images.read(path).shape[:2]
        return width, height

    def head(file: Path) -> tuple[int, int]:
        with Image.open(file) as image:
            return image.size

    return images.guarded(path, head)


def is_transparent(path: Path) -> bool:
    """Whether an image that exists has an alpha channel."""
    if not path.is_file() or path.suffix.lower() == ".npy":
        return False
    with Image.open(path) as image:
        return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def first_size(paths: Sequence[Path], root: Path) -> tuple[int, int]:
    """The size of the first image that is there. Raises DataError where none is."""
    for path in paths:
        if (size := image_size(path)) != MISSING:
            return size
    raise DataError(
        "none of the images exists", where=root, found=f"{len(paths)} names", fix="Copy the images beside the cameras."
    )


def fit(camera: Camera, size: tuple[int, int]) -> Camera:
    """The camera at the size of its image, where that was only scaled (to a hundredth); else the camera itself."""
    width, height = size
    if size == MISSING or (width, height) == (camera.width, camera.height):
        return camera
    if abs(width / camera.width / (height / camera.height) - 1) > 0.01 + 1 / min(width, height):
        return camera
    return camera.resized(width, height)


def split_of(i: int, hold_out: int) -> Split:
    """Every `hold_out`-th view, the first among them, is for testing; 0: none."""
    return "test" if hold_out and i % hold_out == 0 else "train"


def natural(path: Path) -> tuple[Any, ...]:
    """Sorts 2.png before 10.png."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name))


def numbers(path: Path, shape: tuple[tuple[int, int], ...] = ()) -> NDArray[np.float64]:
    """A text file of rows of equally many numbers, [rows, columns], checked against allowed shapes.

    A file with 16 numbers in one row is a 4 x 4 matrix. Raises DataError.
    """
    lines = text(path).split("\n")
    try:
        rows = [[float(value) for value in line.split()] for line in lines if line.strip()]
        values = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise DataError(
            "this is no matrix of numbers", where=path, found=str(error), fix="Copy the file again."
        ) from None
    if values.ndim == 2 and values.size == 16:
        values = values.reshape(4, 4)
    if shape and values.shape not in shape:
        raise DataError(
            "the matrix has the wrong shape",
            where=path,
            found=" x ".join(map(str, values.shape)) if values.size else "an empty file",
            expected=" or ".join(" x ".join(map(str, s)) for s in shape),
        )
    return values


def text(path: Path) -> str:
    """A text file. Raises DataError where it is missing or no text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError("the file does not exist", where=path, fix="Copy the whole folder of the scene.") from None
    except UnicodeDecodeError:
        raise DataError(
            "this is no text file", where=path, fix="It may be COLMAP's binary form, or be broken."
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises DataError."""
    try:
        value = json.loads(text(path))
    except json.JSONDecodeError as error:
        raise DataError(
            "this is no JSON", where=f"{path}:{error.lineno}", found=error.msg, fix="Copy it again."
        ) from None
    if not isinstance(value, dict):
        raise DataError("the file holds no object", where=path, found=type(value).__name__, expected="{...}")
    return value


def copy_image(source: Path, target: Path) -> Path:
    """Copies an image, converted where the suffix differs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix.lower() == target.suffix.lower():
        shutil.copyfile(source, target)
        return target

    def convert(path: Path) -> None:
        with Image.open(path) as image:
            image.save(target)

    images.guarded(source, convert)
    return target


def with_distances(scene: Scene) -> Scene:
    """The scene with near and far of every camera, from its points, else its bounds, else where the cameras look.

    Points: a fifth nearer and farther than the 1st and 99th percentile of the depths of those in sight. Bounds: the
    depths of the corners. Else: a tenth to four times the median distance to the point nearest to all axes.
    """
    cameras = scene.cameras()
    near, far = _distances(scene, cameras)
    frames = [replace(f, camera=replace(f.camera, near=near, far=far)) for f in scene.frames]
    return replace(scene, frames=tuple(frames))


def _distances(scene: Scene, cameras: Sequence[Camera]) -> tuple[float, float]:
    if scene.points is not None and len(scene.points):
        depths = np.concatenate([camera.project(scene.points)[1][camera.sees(scene.points)] for camera in cameras])
        if len(depths):
            low, high = np.percentile(depths, [1, 99])
            return 0.8 * float(low), 1.2 * float(high)
    if scene.bounds is not None:
        depths = np.concatenate([camera.project(corners(scene.bounds))[1] for camera in cameras])
        if depths.max() > 0:
            far = float(depths.max())
            return float(np.clip(depths.min(), 0.01 * far, 0.9 * far)), far
    focus = focus_point(cameras)
    distance = float(np.median([np.linalg.norm(camera.origin - focus) for camera in cameras]))
    distance = distance if distance > 1e-6 else 1.0
    return 0.1 * distance, 4.0 * distance


def corners(bounds: Bounds) -> Points:
    """The eight corners of a box, [8, 3]."""
    return np.array([[bounds[(i >> k) & 1][k] for k in range(3)] for i in range(8)])


def without_lens(scene: Scene, name: str) -> None:
    """Raises DataError where the scene has distorted lenses, which format `name` cannot hold."""
    if any(any(camera.distortion) for camera in scene.cameras()):
        raise DataError(
            f"the format {name} holds no lens distortion", where=scene.name, fix="Write transforms, or colmap."
        )


def shared_camera(scene: Scene, name: str) -> Camera:
    """The first camera, whose intrinsics all others have; format `name` has but one set. Raises DataError."""
    first, *others = scene.cameras()
    intrinsics = (first.fx, first.fy, first.cx, first.cy, first.width, first.height)
    for camera in others:
        if not np.allclose(intrinsics, (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height)):
            raise DataError(
                f"the format {name} has one set of intrinsics a scene",
                where=scene.name,
                fix="Write transforms instead.",
            )
    return first


def named(root: Path | str) -> Path:
    """`root` with a last part that names it, which "." and ".." lack."""
    path = Path(root)
    return path if path.name not in ("", "..") else path.resolve()


def folder_of(root: Path, kind: str) -> Path:
    """The folder `kind` below root. Raises ConfigError where it is a file."""
    folder = root / kind
    if folder.is_file():
        raise ConfigError("a file lies where a folder should be", where=folder, fix="Choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
