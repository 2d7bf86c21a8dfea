"""Rendered objects and scenes as DVR (the layout of NMR's renderings) and NeRF's synthetic scenes have them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nearfar.data.synthetic.objects_trace import Primitive, RayGrid, render
from nearfar.spatial.cameras import Camera, to_dvr

LISTS = {"train": "softras_train.lst", "val": "softras_val.lst", "test": "softras_test.lst"}


def write_objects(
    root: Path,
    category: str,
    objects: Mapping[str, Sequence[Primitive]],
    cameras: Sequence[Camera],
    splits: Mapping[str, Sequence[str]],
) -> Path:
    """`root`/CATEGORY/{softras_SPLIT.lst, NAME/{image,mask}/0000.png, NAME/cameras.npz}: white background, 8 bit.

    Niemeyer, Mescheder, Oechsle, Geiger, Differentiable Volumetric Rendering, CVPR 2020.
    """
    home = root / category
    home.mkdir(parents=True, exist_ok=True)
    (root / "metadata.yaml").write_text(json.dumps({category: {"id": category, "name": category}}), encoding="utf-8")
    for split, names in splits.items():
        (home / LISTS[split]).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    grids = [RayGrid.of(camera) for camera in cameras]
    matrices: dict[str, Any] = {}
    for number, camera in enumerate(cameras):
        matrices[f"world_mat_{number}"], matrices[f"camera_mat_{number}"] = to_dvr(camera)
    for name, primitives in objects.items():
        for kind in ("image", "mask"):
            (home / name / kind).mkdir(parents=True, exist_ok=True)
        for number, grid in enumerate(grids):
            rgba = render(primitives, grid)
            alpha = rgba[..., 3:]
            Image.fromarray(eight_bit(rgba[..., :3] * alpha + 1 - alpha)).save(home / name / f"image/{number:04d}.png")
            Image.fromarray(eight_bit(alpha[..., 0])).save(home / name / f"mask/{number:04d}.png")
        np.savez(home / name / "cameras.npz", **matrices)
    return root


def write_scene(root: Path, primitives: Sequence[Primitive], splits: Mapping[str, Sequence[Camera]]) -> Path:
    """`root`/transforms_SPLIT.json and `root`/SPLIT/r_0.png, RGBA 8 bit; the cameras of one split have one lens.

    Mildenhall et al., NeRF: Representing Scenes as Neural Radiance Fields, ECCV 2020.
    """
    for split, cameras in splits.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        frames: list[dict[str, Any]] = []
        for number, camera in enumerate(cameras):
            Image.fromarray(eight_bit(render(primitives, camera))).save(root / split / f"r_{number}.png")
            frames.append({"file_path": f"./{split}/r_{number}", "transform_matrix": camera.matrix.tolist()})
        angle = 2 * math.atan(0.5 * cameras[0].width / cameras[0].fx)
        table = json.dumps({"camera_angle_x": angle, "frames": frames}, indent=1)
        (root / f"transforms_{split}.json").write_text(table, encoding="utf-8")
    return root


def eight_bit(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values 0..1 as 0..255, rounded."""
    return np.rint(values * 255).clip(0, 255).astype(np.uint8)
