"""The layout of NSVF: Tanks and Temples, Synthetic-NSVF, BlendedMVS."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfar.data.readers.base import image_files
from nearfar.errors import DataError
from nearfar.scenes.formats.base import (
    Bounds,
    Faults,
    SceneFormat,
    copy_image,
    first_size,
    folder_of,
    natural,
    numbers,
    shared_camera,
    text,
    with_distances,
    without_lens,
)
from nearfar.scenes.scene import WHITE, Frame, Scene, Split
from nearfar.spatial.cameras import from_nsvf

PREFIX = re.compile(r"^([012])_")


class Nsvf(SceneFormat):
    """rgb/{0,1,2}_NAME.png, pose/{0,1,2}_NAME.txt, intrinsics.txt, bbox.txt (NSVF: Tanks and Temples, Synthetic-NSVF)

    0 is training; 1 is testing, or validation where there is a 2, which then is testing.
    """

    name = "nsvf"
    priority = 5

    def recognises(self, root: Path) -> bool:
        poses = sorted((root / "pose").glob("*.txt"))
        named = bool(poses) and all(PREFIX.match(path.name) for path in poses)
        return named and (root / "rgb").is_dir() and (root / "intrinsics.txt").is_file()

    def read(self, root: Path, hold_out: int) -> Scene:
        poses = sorted((root / "pose").glob("*.txt"), key=_order)
        if not poses:
            raise DataError("there are no poses", where=root / "pose", expected="0_NAME.txt")
        pictures = {path.stem: path for path in image_files(root / "rgb", deep=False)}
        if bare := sorted(set(pictures) - {path.stem for path in poses}):
            raise DataError(
                f"{len(bare)} images have no pose", where=root, found=bare[0], fix="Remove them, or add their poses."
            )
        intrinsics = _intrinsics(root / "intrinsics.txt")
        width, height = first_size(list(pictures.values()), root)
        three = any(path.name.startswith("2_") for path in poses)
        frames, faults = list[Frame](), Faults()
        for path in poses:
            image = pictures.get(path.stem, root / "rgb" / f"{path.stem}.png")
            with faults.at(path):
                camera = from_nsvf(numbers(path, ((3, 4), (4, 4))), intrinsics, width, height)
                frames.append(Frame(image, camera, _split(path, three)))
        faults.refuse()
        bounds = _bounds(root / "bbox.txt") if (root / "bbox.txt").is_file() else None
        return with_distances(Scene(root.name, tuple(frames), bounds=bounds, background=WHITE))

    def write(self, scene: Scene, root: Path) -> Path:
        without_lens(scene, self.name)
        intrinsics = np.eye(4)
        intrinsics[:3, :3] = shared_camera(scene, self.name).intrinsics
        number = {"train": 0, "val": 1, "test": 2 if scene.indices("val") else 1}
        folder = folder_of(root, "pose")
        for i, frame in enumerate(scene.frames):
            stem = f"{number[frame.split]}_{i:04d}"
            copy_image(frame.path, root / "rgb" / f"{stem}{frame.path.suffix}")
            np.savetxt(folder / f"{stem}.txt", frame.camera.matrix @ np.diag([1, -1, -1, 1]), fmt="%.17g")
        np.savetxt(root / "intrinsics.txt", intrinsics, fmt="%.17g")
        if scene.bounds is not None:
            low, high = scene.bounds
            voxel = float((high - low).max()) / 20
            np.savetxt(root / "bbox.txt", [[*low, *high, voxel]], fmt="%.17g")
        return root


def _order(path: Path) -> tuple[object, ...]:
    return natural(Path(path.stem.rsplit("_", 1)[-1])), path.name


def _split(path: Path, three: bool) -> Split:
    match = PREFIX.match(path.name)
    if match is None:
        raise DataError("a pose's name has no split", where=path, expected="0_, 1_ or 2_ before the name")
    splits: tuple[Split, ...] = ("train", "val", "test") if three else ("train", "test")
    return splits[int(match.group(1))]


def _intrinsics(path: Path) -> NDArray[np.float64]:
    """A 4 x 4 or 3 x 3 matrix, or `f cx cy ...` in the first line."""
    first = text(path).strip().split("\n")[0].split()
    rows = [line for line in text(path).split("\n") if line.strip()]
    if len(rows) in (3, 4) and all(len(row.split()) == len(rows) for row in rows):
        return numbers(path)
    try:
        focal, cx, cy = (float(value) for value in first[:3])
    except ValueError:
        raise DataError(
            "the intrinsics are not read", where=path, found=" ".join(first), expected="a 4 x 4 matrix, or f cx cy"
        ) from None
    return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])


def _bounds(path: Path) -> Bounds:
    values = numbers(path).ravel()
    if len(values) < 6 or not (values[:3] < values[3:6]).all():
        raise DataError(
            "this is no bounding box", where=path, found=values.tolist(), expected="xmin ymin zmin xmax ymax zmax voxel"
        )
    return values[:3], values[3:6]
