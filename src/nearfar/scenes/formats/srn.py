"""The layout of Scene Representation Networks: cars and chairs of ShapeNet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from nearfar.data.readers.base import image_files, subfolders
from nearfar.errors import DataError
from nearfar.scenes.formats.base import (
    Faults,
    SceneFormat,
    first_size,
    fit,
    folder_of,
    named,
    natural,
    numbers,
    shared_camera,
    split_of,
    text,
    without_lens,
)
from nearfar.scenes.scene import WHITE, Frame, Scene, Split
from nearfar.spatial.cameras import from_srn

REACH = (0.6, 1.4)
"""near and far as shares of the median distance from the origin: 0.8 and 1.8 for cars, 1.2 and 2.8 for chairs"""


class Srn(SceneFormat):
    """rgb/000000.png, pose/000000.txt, intrinsics.txt of each object; many in NAME_train, NAME_val, NAME_test (SRN)"""

    name = "srn"
    many = True

    def recognises(self, root: Path) -> bool:
        return (root / "rgb").is_dir() and (root / "pose").is_dir() and (root / "intrinsics.txt").is_file()

    def read(self, root: Path, hold_out: int) -> Scene:
        poses = sorted((root / "pose").glob("*.txt"), key=natural)
        if not poses:
            raise DataError("there are no poses", where=root / "pose", expected="000000.txt")
        pictures = {path.stem: path for path in image_files(root / "rgb", deep=False)}
        focal, cx, cy, width, height = _intrinsics(root / "intrinsics.txt")
        size = first_size(list(pictures.values()), root)
        frames, faults = list[Frame](), Faults()
        for i, path in enumerate(poses):
            image = pictures.get(path.stem, root / "rgb" / f"{path.stem}.png")
            with faults.at(path):
                camera = fit(from_srn(numbers(path, ((3, 4), (4, 4))), focal, cx, cy, width, height), size)
                frames.append(Frame(image, camera, split_of(i, hold_out)))
        faults.refuse()
        distance = float(np.median([np.linalg.norm(frame.camera.origin) for frame in frames]))
        near, far = (share * (distance or 1.0) for share in REACH)
        frames = [replace(frame, camera=replace(frame.camera, near=near, far=far)) for frame in frames]
        return Scene(root.name, tuple(frames), background=WHITE)

    def write(self, scene: Scene, root: Path) -> Path:
        without_lens(scene, self.name)
        camera = shared_camera(scene, self.name)
        if not np.isclose(camera.fx, camera.fy):
            raise DataError("the format srn has one focal length", where=scene.name, found=f"{camera.fx}, {camera.fy}")
        pictures, poses = folder_of(root, "rgb"), folder_of(root, "pose")
        for i, frame in enumerate(scene.frames):
            save_rgb(scene, i, pictures / f"{i:06d}.png")
            matrix = frame.camera.matrix @ np.diag([1, -1, -1, 1])
            np.savetxt(poses / f"{i:06d}.txt", matrix.reshape(1, 16), fmt="%.17g")
        lines = [f"{camera.fx!r} {camera.cx!r} {camera.cy!r} 0.", "0. 0. 0.", "1.", f"{camera.height} {camera.width}"]
        (root / "intrinsics.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return root

    def objects(self, root: Path, split: Split) -> list[Path]:
        root = named(root)
        beside = [root.with_name(f"{root.name}_{split}"), root / split, *sorted(root.glob(f"*_{split}"))]
        for folder in [root] * root.name.endswith(f"_{split}") + beside:
            inner = subfolders(folder)
            if len(inner) == 1 and not self.recognises(inner[0]):  # chairs_train/chairs_2.0_train
                inner = subfolders(inner[0])
            if found := [path for path in inner if self.recognises(path)]:
                return found
        return []


def save_rgb(scene: Scene, i: int, path: Path) -> None:
    """Saves view `i`, composited, as 8-bit PNG."""
    Image.fromarray(np.rint(scene.image(i)[0] * 255).astype(np.uint8)).save(path)


def _intrinsics(path: Path) -> tuple[float, float, float, int, int]:
    """f cx cy in the first line, `height width` in the last one of two numbers (a flag may follow it)."""
    rows = [line.split() for line in text(path).split("\n") if line.strip()]
    sizes = [row for row in rows[1:] if len(row) == 2]
    try:
        focal, cx, cy = (float(value) for value in rows[0][:3])
        height, width = (int(float(value)) for value in sizes[-1])
    except (ValueError, IndexError):
        raise DataError(
            "the intrinsics are not read",
            where=path,
            found=f"{len(rows)} lines",
            expected="f cx cy 0. in the first line, height and width in the last",
        ) from None
    return focal, cx, cy, width, height
