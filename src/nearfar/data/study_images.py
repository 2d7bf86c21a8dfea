"""A study's images: size and kind from the header alone, and pixels on the letterboxed canvas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nearfar.data import images
from nearfar.errors import DataError
from nearfar.spatial.letterbox import MIDDLE_GREY, letterbox_image

_GREY = ("1", "L", "LA", "I", "F")
_ORIENTATION = 274  # the EXIF tag
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_HEADERS: dict[tuple[Path, int, int], Header] = {}


@dataclass(frozen=True)
class Header:
    """What is known of an image before its pixels are decoded."""

    width: int
    height: int
    grey: bool = True
    left: int = 0
    """first column and row of the stored frame that are read: DICOM files are cut to their ultrasound region"""
    top: int = 0
    mm_per_pixel: float | None = None
    patient: str = ""
    """hash of the DICOM PatientID"""
    cautions: tuple[tuple[str, str], ...] = ()
    """(code, message) of what a DICOM header warns of"""


def header(path: Path) -> Header:
    """The header of an image, remembered until the file changes. Raises DataError for a file that is no image."""
    key = images.fingerprint(path)
    if key not in _HEADERS:
        _HEADERS[key] = _dicom_header(path) if images.is_dicom(path) else images.guarded(path, _read_header)
    return _HEADERS[key]


def _read_header(path: Path) -> Header:
    if path.suffix.lower() == ".npy":
        height, width, count = images.read(path).shape
        return Header(width, height, count < 3)
    with Image.open(path) as image:
        # Pillow decodes the whole of a PNG to look for a late EXIF block.
        known = image.format != "PNG" or "exif" in image.info
        turned = known and image.getexif().get(_ORIENTATION, 1) > 4
        width, height = image.size[::-1] if turned else image.size
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1  # they are read as channels
        return Header(width, height, pages < 3 and (image.mode in _GREY or image.mode.startswith("I;16")))


def _dicom_header(path: Path) -> Header:
    from nearfar.data.dicom import read_header

    known = read_header(path)
    left, top = known.region[:2]
    size = known.width, known.height, known.grey
    return Header(*size, left, top, known.mm_per_pixel, known.patient, known.cautions)


def letterboxed(
    path: Path, size: int, channels: int, scale: float | None = None, shape: tuple[int, int] | None = None
) -> Tensor:
    """float32 [channels, size, size]: the image on the letterbox's grey canvas, scaled.

    `shape` is the (height, width) that its boxes are in. Raises DataError for a bad image, also one of another shape.
    """
    pixels = _fast(path, size, shape) if scale in (None, 255) else None
    if pixels is None:
        whole = images.read(path)
        _agrees(whole.shape[:2], shape, path)
        values = images.scaled(_coloured(whole, path), scale, path).permute(1, 2, 0).numpy()
        pixels = letterbox_image(values, size)
    return _in_channels(images.scaled(pixels, None, path), channels)


def canvas(channels: int, size: int) -> Tensor:
    """What stands for an image that is missing: float32 [channels, size, size] of the letterbox's grey."""
    return torch.full((channels, size, size), MIDDLE_GREY)


def _fast(path: Path, size: int, shape: tuple[int, int] | None) -> NDArray[Any] | None:
    """Plain 8-bit files without turning them into arrays of full size; None for all others."""

    def decode(path: Path) -> NDArray[Any] | None:
        with Image.open(path) as image:
            if image.mode not in ("L", "RGB") or getattr(image, "n_frames", 1) > 1:
                return None
            if ";16" in str(image.tile) or (image.format != "PNG" and image.getexif().get(_ORIENTATION, 1) != 1):
                return None
            if "exif" in image.info and image.getexif().get(_ORIENTATION, 1) != 1:
                return None
            _agrees(image.size[::-1], shape, path)
            return letterbox_image(image, size)

    return None if path.suffix.lower() == ".npy" or images.is_dicom(path) else images.guarded(path, decode)


def _agrees(found: tuple[int, ...], shape: tuple[int, int] | None, path: Path) -> None:
    if shape is not None and tuple(found) != shape:
        raise DataError(
            "the image has another size than its header says",
            where=path,
            found=f"{found[1]} x {found[0]}",
            expected=f"{shape[1]} x {shape[0]}",
            fix="Save it again: the boxes would not fit.",
        )


def _coloured(image: NDArray[Any], path: Path) -> NDArray[Any]:
    """[H, W, 1 or 3]: without alpha."""
    count = image.shape[-1]
    if count > 4:
        raise DataError("the image is neither grey nor colour", where=path, found=f"{count} channels", expected="1, 3")
    return image[..., : 1 if count < 3 else 3]


def _in_channels(image: Tensor, channels: int) -> Tensor:
    if len(image) == channels:
        return image
    if channels == 1:
        return (torch.tensor(_LUMA)[:, None, None] * image).sum(0, keepdim=True)
    return image.expand(channels, -1, -1).clone()


def difference_hash(image: NDArray[Any]) -> NDArray[np.float32]:
    """float32 [64] of -1 and 1: whether brightness rises from each of 9 x 8 cells to the next one on its right.

    Two images differ in (64 - product) / 2 bits. Krawetz, Kind of like that (2013).
    """
    grey = images.scaled(image[..., :3].mean(axis=-1, keepdims=True, dtype=np.float64), 1.0, "image").numpy()[0]
    small = np.asarray(Image.fromarray(grey).resize((9, 8), Image.Resampling.BOX))
    return np.where(small[:, 1:] > small[:, :-1], 1, -1).astype(np.float32).ravel()
