"""Reconstructions of COLMAP, as text."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from nearfar.errors import DataError
from nearfar.scenes.formats.base import (
    Faults,
    SceneFormat,
    copy_image,
    first_size,
    fit,
    folder_of,
    image_size,
    natural,
    split_of,
    text,
    with_distances,
)
from nearfar.scenes.scene import Frame, Pixels, Points, Scene
from nearfar.spatial.cameras import Camera, from_colmap, quaternion

PLACES = ("", "sparse/0", "sparse", "colmap/sparse/0")
"""folders below the root where the model may lie"""


class _Model(NamedTuple):
    name: str
    width: int
    height: int
    params: tuple[float, ...]


class Colmap(SceneFormat):
    """cameras.txt, images.txt, points3D.txt in the folder or in sparse/0, beside images/ (COLMAP, as text)

    COLMAP does not say where up is, nor how large things are.
    """

    name = "colmap"
    priority = 3

    def recognises(self, root: Path) -> bool:
        return root.is_dir() and _find(root) is not None

    def read(self, root: Path, hold_out: int) -> Scene:
        folder = _find(root)
        if folder is None:
            raise DataError(
                "there are no cameras.txt and images.txt",
                where=root,
                expected=" | ".join(place or "." for place in PLACES),
                fix="Write a binary model as text: colmap model_converter --output_type TXT.",
            )
        models = _models(folder / "cameras.txt")
        pictures = root / "images" if (root / "images").is_dir() else root
        entries = sorted(_entries(folder / "images.txt"), key=lambda entry: natural(Path(entry[2])))
        if not entries:
            raise DataError("the file lists no images", where=folder / "images.txt")
        first_size([pictures / name for _, _, name in entries], pictures)
        frames, faults = list[Frame](), Faults()
        for i, (pose, camera_id, name) in enumerate(entries):
            path = pictures / name
            with faults.at(f"{folder / 'images.txt'}, {name}"):
                if camera_id not in models:
                    raise DataError(f"camera {camera_id} is not in cameras.txt", expected=", ".join(models))
                model = models[camera_id]
                camera = from_colmap(pose[:4], pose[4:], model.params, model.width, model.height, model=model.name)
                frames.append(Frame(path, fit(camera, image_size(path)), split_of(i, hold_out)))
        faults.refuse()
        points, colours = _points(folder / "points3D.txt")
        return with_distances(Scene(root.name, tuple(frames), points, colours))

    def write(self, scene: Scene, root: Path) -> Path:
        folder = folder_of(root, "sparse/0")
        cameras, lines = [], []
        for i, frame in enumerate(scene.frames):
            name = f"{i:04d}{frame.path.suffix}"
            copy_image(frame.path, root / "images" / name)
            cameras.append(f"{i + 1} {_parameters(frame.camera)}")
            w2c = np.diag([1, -1, -1, 1]) @ frame.camera.w2c
            lines += [f"{i + 1} {_row([*quaternion(w2c[:3, :3]), *w2c[:3, 3]])} {i + 1} {name}", ""]
        points = []
        if scene.points is not None:
            tints = scene.colours if scene.colours is not None else np.full(scene.points.shape, 0.5)
            for i, (place, tint) in enumerate(zip(scene.points, np.rint(tints * 255).astype(int), strict=True)):
                points.append(f"{i + 1} {_row(place)} {' '.join(map(str, tint))} 0")
        for name, rows in (("cameras", cameras), ("images", lines), ("points3D", points)):
            content = "# written by nearfar\n" + "".join(f"{row}\n" for row in rows)
            (folder / f"{name}.txt").write_text(content, encoding="utf-8")
        return root


def _find(root: Path) -> Path | None:
    folders = [root / place for place in PLACES]
    return next((f for f in folders if (f / "cameras.txt").is_file() and (f / "images.txt").is_file()), None)


def _rows(path: Path) -> list[str]:
    return [line for line in text(path).splitlines() if not line.startswith("#")]


def _models(path: Path) -> dict[str, _Model]:
    models = {}
    for line in _rows(path):
        words = line.split()
        if not words:
            continue
        try:
            models[words[0]] = _Model(words[1], int(words[2]), int(words[3]), tuple(map(float, words[4:])))
        except (ValueError, IndexError):
            raise DataError(
                "a camera is not read", where=path, found=line[:80], expected="ID MODEL WIDTH HEIGHT PARAMETERS"
            ) from None
    return models


def _entries(path: Path) -> list[tuple[tuple[float, ...], str, str]]:
    """(qw qx qy qz tx ty tz, camera id, name) of each image; its points, in every second line, may be none."""
    found = []
    for line in _rows(path)[::2]:
        words = line.split(maxsplit=9)
        if not words:
            continue
        try:
            found.append((tuple(map(float, words[1:8])), words[8], words[9].strip()))
        except (ValueError, IndexError):
            raise DataError(
                "an image is not read", where=path, found=line[:80], expected="ID QW QX QY QZ TX TY TZ CAMERA NAME"
            ) from None
    return found


def _points(path: Path) -> tuple[Points | None, Pixels | None]:
    if not path.is_file():
        return None, None
    try:
        rows = np.array([line.split()[1:7] for line in _rows(path) if line.strip()], dtype=np.float64)
    except ValueError:
        raise DataError("a point is not read", where=path, expected="ID X Y Z R G B ERROR TRACK") from None
    if not rows.size:
        return None, None
    if not np.isfinite(rows).all():
        raise DataError("points hold NaN or infinite values", where=path, fix="Run COLMAP again.")
    return rows[:, :3], (rows[:, 3:] / 255).astype(np.float32)


def _parameters(camera: Camera) -> str:
    values = [camera.fx, camera.fy, camera.cx, camera.cy, *camera.distortion]
    return f"{'OPENCV' if camera.distortion else 'PINHOLE'} {camera.width} {camera.height} {_row(values)}"


def _row(values: object) -> str:
    return " ".join(f"{value:.17g}" for value in np.asarray(values, dtype=np.float64))
