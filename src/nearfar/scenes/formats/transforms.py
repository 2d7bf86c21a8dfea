"""transforms.json of NeRF-synthetic, instant-ngp and nerfstudio."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from nearfar.errors import DataError
from nearfar.scenes.formats.base import (
    Bounds,
    Faults,
    SceneFormat,
    copy_image,
    fit,
    image_size,
    is_transparent,
    read_json,
    split_of,
    with_distances,
)
from nearfar.scenes.ply import read_points, write_ply
from nearfar.scenes.scene import WHITE, Colour, Frame, Scene, Split
from nearfar.spatial.cameras import Camera

LENS = ("k1", "k2", "p1", "p2")
MODELS = ("", "PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL")
HEAD = 1 << 22
SYNTHETIC = (2.0, 6.0)
"""near and far of the NeRF-synthetic scenes, which their files do not say"""


class Transforms(SceneFormat):
    """transforms.json, or transforms_train.json, transforms_val.json, transforms_test.json (NeRF, nerfstudio)

    Intrinsics and OpenCV distortion of the file or of each frame; splits by file, by the lists train_filenames,
    val_filenames and test_filenames, or every n-th view; mask_path; ply_file_path; aabb; and of nearfar background
    (r, g, b), near and far.
    """

    name = "transforms"
    priority = 10

    def recognises(self, root: Path) -> bool:
        if not root.is_file():
            return bool(_files(root))
        if root.suffix != ".json" or root.stem.startswith("transforms"):
            return root.suffix == ".json"
        with root.open("rb") as file:  # other formats are JSON too
            return b'"transform_matrix"' in file.read(HEAD)

    def read(self, root: Path, hold_out: int) -> Scene:
        files = {"": root} if root.is_file() else _files(root)
        if not files:
            raise DataError("there is no transforms.json", where=root, fix="Give the folder that holds it.")
        heads = {split: read_json(path) for split, path in files.items()}
        frames = [frame for split, head in heads.items() for frame in _frames(head, files[split], split, hold_out)]
        if not frames:
            raise DataError("the file lists no frames", where=next(iter(files.values())))
        head, first = next(iter(heads.values())), next(iter(files.values()))
        points, colours = _points(head, first)
        bounds, background = _bounds(head, first), _background(head, first)
        if background is None and any(is_transparent(frame.path) for frame in frames[:1] + frames[-1:]):
            background = WHITE
        scene = Scene(first.parent.name, tuple(frames), points, colours, bounds, background)
        if "near" in head and "far" in head:
            return scene
        return _synthetic(scene) if "" not in files else with_distances(scene)

    def write(self, scene: Scene, root: Path) -> Path:
        frames = []
        for i, frame in enumerate(scene.frames):
            path = copy_image(frame.path, root / "images" / f"{i:04d}{frame.path.suffix}")
            mask = copy_image(frame.mask, root / "masks" / f"{i:04d}{frame.mask.suffix}") if frame.mask else None
            frames.append(replace(frame, path=path, mask=mask))
        write_json(replace(scene, frames=tuple(frames)), root / "transforms.json")
        return root


def write_json(scene: Scene, path: Path) -> Path:
    """See `formats.write_transforms`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head: dict[str, Any] = {"camera_model": "OPENCV"}
    if scene.background is not None:
        head["background"] = list(scene.background)
    if scene.bounds is not None:
        head["aabb"] = [corner.tolist() for corner in scene.bounds]
    if scene.points is not None:
        points = path.with_name(f"{path.stem}_points.ply")
        write_ply(points, scene.points, scene.colours)
        head["ply_file_path"] = points.name
    for split in get_args(Split):
        head[f"{split}_filenames"] = [_relative(f.path, path) for f in scene.frames if f.split == split]
    if ranges := {(camera.near, camera.far) for camera in scene.cameras()}:
        head["near"], head["far"] = min(near for near, _ in ranges), max(far for _, far in ranges)
    head["frames"] = [_entry(frame, path) for frame in scene.frames]
    path.write_text(json.dumps(head, indent=1), encoding="utf-8")
    return path


def _entry(frame: Frame, path: Path) -> dict[str, Any]:
    camera = frame.camera
    entry: dict[str, Any] = {
        "file_path": _relative(frame.path, path),
        "fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy, "w": camera.width, "h": camera.height,
    }  # fmt: skip
    entry |= dict(zip(LENS, camera.distortion, strict=False))
    if frame.mask is not None:
        entry["mask_path"] = _relative(frame.mask, path)
    return entry | {"near": camera.near, "far": camera.far, "transform_matrix": camera.matrix.tolist()}


def _relative(path: Path, file: Path) -> str:
    return Path(os.path.relpath(path.resolve(), file.parent.resolve())).as_posix()


def _files(root: Path) -> dict[str, Path]:
    """Split -> file; the split "" is of the one transforms.json."""
    if (one := root / "transforms.json").is_file():
        return {"": one}
    found = {split: root / f"transforms_{split}.json" for split in get_args(Split)}
    return {split: path for split, path in found.items() if path.is_file()}


def _frames(head: Mapping[str, Any], file: Path, split: str, hold_out: int) -> list[Frame]:
    listed = {name: key for key in get_args(Split) for name in head.get(f"{key}_filenames", ())}
    entries = head.get("frames")
    if not isinstance(entries, list):
        raise DataError("the file has no list of frames", where=file, fix="It needs the key frames.")
    if listed:  # nerfstudio leaves out the frames that no list names
        entries = [entry for entry in entries if entry.get("file_path") in listed]
    frames, faults = list[Frame](), Faults()
    for i, entry in enumerate(entries):
        with faults.at(f"{file}, frame {i}"):
            if not isinstance(entry, dict) or "file_path" not in entry or "transform_matrix" not in entry:
                raise DataError("a frame needs file_path and transform_matrix", found=entry)
            own: Split = listed.get(entry["file_path"]) or split or split_of(i, hold_out)  # type: ignore[assignment]
            frames.append(_frame({**head, **entry}, file, own))
    faults.refuse()
    return frames


def _frame(values: Mapping[str, Any], file: Path, split: Split) -> Frame:
    path = _image(file.parent, str(values["file_path"]))
    size = image_size(path)
    width, height = int(_number(values, "w", size[0])), int(_number(values, "h", size[1]))
    if not width or not height:
        raise DataError("the image does not exist, and the file has no w and h", found=path, fix="Copy the image.")
    fx, fy = _focals(values, width, height)
    camera = Camera(
        _matrix(values["transform_matrix"]),
        fx, fy, _number(values, "cx", width / 2), _number(values, "cy", height / 2), width, height,
        near=_number(values, "near", 0.1), far=_number(values, "far", 10.0), distortion=_lens(values),
    )  # fmt: skip
    mask = file.parent / values["mask_path"] if values.get("mask_path") else None
    return Frame(path, fit(camera, size), split, mask)


def _image(folder: Path, name: str) -> Path:
    """The image of a name that may lack its suffix (NeRF-synthetic) or the end _obj (scenes of several objects)."""
    path = folder / name
    if path.suffix and path.is_file():
        return path
    options = [path.with_name(path.name + end) for end in (".png", ".jpg", ".jpeg", ".webp", "_obj.png")]
    options.append(path.with_name(f"{path.stem}_obj.png"))
    return next((option for option in options if option.is_file()), path if path.suffix else options[0])


def _focals(values: Mapping[str, Any], width: int, height: int) -> tuple[float, float]:
    def of(axis: str, side: int) -> float | None:
        if f"fl_{axis}" in values:
            return _number(values, f"fl_{axis}", 0)
        angle = _number(values, f"camera_angle_{axis}", 0)
        return 0.5 * side / math.tan(0.5 * angle) if 0 < angle < math.pi else None

    fx, fy = of("x", width), of("y", height)
    if fx is None and fy is None:
        raise DataError(
            "there is no focal length",
            expected="fl_x in pixels, or camera_angle_x in radians, of the file or the frame",
        )
    return float(fx or fy or 0), float(fy or fx or 0)


def _lens(values: Mapping[str, Any]) -> tuple[float, ...]:
    model = str(values.get("camera_model", "")).upper()
    higher = [name for name in ("k3", "k4") if _number(values, name, 0)]
    if model not in MODELS or values.get("is_fisheye") or higher:
        raise DataError(
            "this camera model is not read",
            found=", ".join(higher) or model or "is_fisheye",
            expected="a pinhole, or OpenCV's k1, k2, p1, p2",
            fix="Undistort the images first.",
        )
    lens = tuple(_number(values, name, 0.0) for name in LENS)
    return lens if any(lens) else ()


def _matrix(rows: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("transform_matrix is no matrix of numbers", found=rows) from None


def _number(values: Mapping[str, Any], key: str, default: float) -> float:
    value = values.get(key, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise DataError(f"{key} is not a number", found=value)
    return float(value)


def _synthetic(scene: Scene) -> Scene:
    """Near and far of NeRF-synthetic, where the cameras stand where its cameras do (4 from the origin)."""
    distance = np.median([np.linalg.norm(camera.origin) for camera in scene.cameras()])
    if not 3.5 < distance < 4.5:
        return with_distances(scene)
    near, far = SYNTHETIC
    frames = [replace(f, camera=replace(f.camera, near=near, far=far)) for f in scene.frames]
    return replace(scene, frames=tuple(frames))


def _points(head: Mapping[str, Any], file: Path) -> tuple[Any, Any]:
    return read_points(file.parent / head["ply_file_path"]) if head.get("ply_file_path") else (None, None)


def _bounds(head: Mapping[str, Any], file: Path) -> Bounds | None:
    if "aabb" not in head:
        return None
    low, high = values if (values := _matrix(head["aabb"])).shape == (2, 3) else (np.ones(3), np.zeros(3))
    if not (low < high).all():
        raise DataError("aabb is no box", where=file, found=head["aabb"], expected="[[x, y, z], [x, y, z]], growing")
    return low, high


def _background(head: Mapping[str, Any], file: Path) -> Colour | None:
    if "background" not in head:
        return None
    value = _matrix(head["background"])
    if value.shape != (3,) or not ((value >= 0) & (value <= 1)).all():
        raise DataError("background is no colour", where=file, found=head["background"], expected="[r, g, b] in 0..1")
    return float(value[0]), float(value[1]), float(value[2])
