"""A scene: photographs or renders with their cameras, and what else its folder says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from nearfar.data import images
from nearfar.errors import DataError
from nearfar.spatial.cameras import Camera

Split = Literal["train", "val", "test"]
Points = NDArray[np.float64]
Pixels = NDArray[np.float32]
Colour = tuple[float, float, float]
WHITE: Colour = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Frame:
    """One view: its image (which may be missing until it is decoded), its camera, its split, and perhaps a mask."""

    path: Path
    camera: Camera
    split: Split = "train"
    mask: Path | None = None
    """image that is bright where the object is"""


@dataclass(frozen=True, eq=False)
class Scene:
    """Views of one place or object in one world, whose z is up where the format says where up is."""

    name: str
    frames: tuple[Frame, ...]
    points: Points | None = None
    """[n, 3], where the folder has them"""
    colours: Pixels | None = None
    """[n, 3] of the points, 0..1"""
    bounds: tuple[Points, Points] | None = None
    """smallest and largest corner, [3] each, of a box that holds the scene"""
    background: Colour | None = None
    """what lies behind transparent pixels; None: photographs, which are opaque"""

    def indices(self, split: Split) -> list[int]:
        """The positions of the frames of a split."""
        return [i for i, frame in enumerate(self.frames) if frame.split == split]

    def cameras(self, split: Split | None = None) -> list[Camera]:
        """The cameras of a split, or all, in the order of the frames."""
        return [frame.camera for frame in self.frames if split in (None, frame.split)]

    def image(self, i: int, scale: float = 1.0) -> tuple[Pixels, Pixels | None]:
        """View `i`: (rgb float32 [H, W, 3] in 0..1, alpha float32 [H, W] or None), of the size of camera.scaled(scale).

        Straight alpha of the file is composited on the background. A mask file is given as alpha, and the colours are
        left as they are: such images come with their background drawn. Smaller sizes are means of areas, of colours
        already composited.

        Raises DataError for an image that is missing, broken, of another size than its camera's, or transparent where
        no background is declared.
        """
        frame = self.frames[i]
        rgb, alpha = _decode(frame.path)
        _same_size(frame, rgb.shape[:2], frame.path)
        if alpha is not None:
            if self.background is None:
                raise DataError(
                    "the image is transparent, and the scene declares no background",
                    where=frame.path,
                    fix="Open the scene with background=(r, g, b), or with the key background in transforms.json.",
                )
            rgb = rgb * alpha[..., None] + np.array(self.background, np.float32) * (1 - alpha[..., None])
        elif frame.mask is not None:
            alpha = images.read_mask(frame.mask).astype(np.float32)
            _same_size(frame, alpha.shape, frame.mask)
        if scale == 1.0:
            return rgb, alpha
        size = frame.camera.scaled(scale)
        rgb = resampled(rgb, size.width, size.height)
        return rgb, None if alpha is None else resampled(alpha[..., None], size.width, size.height)[..., 0]

    def alpha_of(self, i: int) -> Pixels | None:
        """The alpha channel in the file of view `i`, [H, W], whatever its mask says; None where it has none."""
        return _decode(self.frames[i].path)[1]


def resampled(image: Pixels, width: int, height: int) -> Pixels:
    """float32 [H, W, C] at another size: means of areas where it shrinks, bilinear where it grows."""
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    if height <= image.shape[0] and width <= image.shape[1]:
        made = functional.interpolate(tensor, size=(height, width), mode="area")
    else:
        made = functional.interpolate(tensor, size=(height, width), mode="bilinear", align_corners=False)
    return np.ascontiguousarray(made[0].numpy().transpose(1, 2, 0))


def sample_image(image: Pixels, places: Points) -> Pixels:
    """Bilinear values of [H, W, C] at image coordinates [n, 2] (pixel centres at halves), the border continued."""
    height, width = image.shape[:2]
    x = np.clip(places[:, 0] - 0.5, 0, width - 1)
    y = np.clip(places[:, 1] - 0.5, 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    u, v = (x - left)[:, None], (y - top)[:, None]
    upper = image[top, left] * (1 - u) + image[top, right] * u
    lower = image[below, left] * (1 - u) + image[below, right] * u
    return np.asarray(upper * (1 - v) + lower * v, dtype=np.float32)


def _decode(path: Path) -> tuple[Pixels, Pixels | None]:
    pixels = images.scaled(images.read(path), None, path).numpy().transpose(1, 2, 0)
    channels = pixels.shape[-1]
    if channels not in (1, 2, 3, 4):
        raise DataError("an image has one to four channels", where=path, found=channels)
    alpha = np.ascontiguousarray(pixels[..., -1]) if channels in (2, 4) else None
    colours = pixels[..., : channels - 1] if alpha is not None else pixels
    return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3))), alpha


def _same_size(frame: Frame, found: Sequence[int], path: Path) -> None:
    expected = (frame.camera.height, frame.camera.width)
    if tuple(found) != expected:
        raise DataError(
            "the image has another size than its camera",
            where=path,
            found=f"{found[1]} x {found[0]}",
            expected=f"{expected[1]} x {expected[0]}",
            fix="Give the intrinsics of the images that are there: width, height and focal length of one size.",
        )
