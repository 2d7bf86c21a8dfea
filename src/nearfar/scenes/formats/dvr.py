"""The layout of Differentiable Volumetric Rendering: NMR renders of ShapeNet, and DTU."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nearfar.data.readers.base import image_files, subfolders
from nearfar.errors import DataError
from nearfar.scenes.formats.base import (
    Faults,
    SceneFormat,
    first_size,
    folder_of,
    natural,
    split_of,
    without_lens,
)
from nearfar.scenes.formats.srn import save_rgb
from nearfar.scenes.scene import WHITE, Frame, Scene, Split
from nearfar.spatial.cameras import Camera, from_dvr, to_dvr

LISTS = ("softras_{}.lst", "{}.lst", "gen_{}.lst", "new_{}.lst")
"""names of the list of a split, in the order in which they are looked for"""
DISTANCES = {False: (1.2, 4.0), True: (0.1, 5.0)}
"""near and far of NMR, and of DTU"""


class Dvr(SceneFormat):
    """image/0000.png, mask/0000.png, cameras.npz of each object; many in CATEGORY/ID with lists (NMR, DVR, DTU)

    The i-th image by name has the cameras world_mat_i and camera_mat_i. Lists are softras_train.lst, or train.lst,
    gen_train.lst, new_train.lst, one id a line. The world is turned so that z is up.
    """

    name = "dvr"
    many = True

    def recognises(self, root: Path) -> bool:
        return (root / "cameras.npz").is_file() and (root / "image").is_dir()

    def read(self, root: Path, hold_out: int) -> Scene:
        pictures = sorted(image_files(root / "image", deep=False), key=natural)
        masks = sorted(image_files(root / "mask", deep=False), key=natural)
        file, arrays = root / "cameras.npz", _arrays(root / "cameras.npz")
        count = sum(name.startswith("world_mat_") and name[10:].isdigit() for name in arrays)
        if len(pictures) != count or len(masks) not in (0, count):
            raise DataError(
                "images, masks and cameras do not belong together",
                where=root,
                found=f"{len(pictures)} images, {len(masks)} masks, {count} cameras",
                fix="Copy the missing files: the i-th image by name has the i-th camera.",
            )
        size = first_size(pictures, root)
        scaled, frames, faults = "scale_mat_0" in arrays, list[Frame](), Faults()
        for i, path in enumerate(pictures):
            with faults.at(f"{file}, camera {i}"):
                camera = _camera(arrays, i, size, DISTANCES[scaled])
                frames.append(Frame(path, camera, split_of(i, hold_out), masks[i] if masks else None))
        faults.refuse()
        return Scene(root.name, tuple(frames), background=None if scaled else WHITE)

    def write(self, scene: Scene, root: Path) -> Path:
        without_lens(scene, self.name)
        pictures = folder_of(root, "image")
        arrays: dict[str, Any] = {}
        for i, frame in enumerate(scene.frames):
            save_rgb(scene, i, pictures / f"{i:04d}.png")
            alpha = scene.image(i)[1]
            if alpha is not None:
                made = Image.fromarray(((alpha > 0.5) * 255).astype(np.uint8))
                made.save(folder_of(root, "mask") / f"{i:04d}.png")
            arrays[f"world_mat_{i}"], arrays[f"camera_mat_{i}"] = to_dvr(frame.camera)
        np.savez(root / "cameras.npz", **arrays)
        return root

    def objects(self, root: Path, split: Split) -> list[Path]:
        for category in [root, *subfolders(root)]:
            if any((category / pattern.format(split)).is_file() for pattern in LISTS):
                break
        else:
            return []
        categories = [root] if category == root else subfolders(root)
        return [path for folder in categories for path in _listed(folder, split)]


def _camera(arrays: dict[str, Any], i: int, size: tuple[int, int], distances: tuple[float, float]) -> Camera:
    near, far = distances
    if f"world_mat_{i}" not in arrays:
        raise DataError(f"world_mat_{i} is missing", fix="Cameras are counted from 0 without gaps.")
    scale, ndc = arrays.get(f"scale_mat_{i}"), arrays.get(f"camera_mat_{i}")
    return from_dvr(arrays[f"world_mat_{i}"], ndc, size, scale_mat=scale, near=near, far=far)


def _arrays(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise DataError("the cameras are missing", where=path, fix="Copy cameras.npz beside image/.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            "the cameras cannot be read", where=path, found=str(error), fix="Copy the file again."
        ) from None


def _listed(folder: Path, split: Split) -> list[Path]:
    file = next((path for pattern in LISTS if (path := folder / pattern.format(split)).is_file()), None)
    if file is None:
        return []
    names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    absent = [name for name in names if not (folder / name).is_dir()]
    if absent:
        what = f"{len(absent)} of {len(names)} listed objects do not exist"
        raise DataError(what, where=file, found=f"no {folder / absent[0]}", fix="Copy them, or shorten the list.")
    return [folder / name for name in names]
