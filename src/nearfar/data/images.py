"""Decoding images at their full depth, and bringing them to one size in float.

8-bit, 16-bit and float images of any number of channels, from PNG, JPEG, BMP, WebP, TIFF, NumPy and (with pydicom,
ultrasound) DICOM files; clip.dcm#12 is the twelfth frame of a clip. Pillow reduces 16-bit colour to 8 bits without
saying so; here such files are decoded in two halves and joined, or refused.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence
from torch import Tensor
from torch.nn import functional

from nearfar.errors import DataError

Array = NDArray[Any]
T = TypeVar("T")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".npy", ".dcm")
SCALES = {"bool": 1.0, "uint8": 255.0, "uint16": 65535.0, "float16": 1.0, "float32": 1.0, "float64": 1.0}
"""value that becomes 1.0, by dtype; every other dtype needs `data.scale`"""

_FRAME = re.compile(r"\.dcm#(\d+)$", re.IGNORECASE)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_COLOUR_MODES = {"1": "L", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "RGBX": "RGB", "PA": "RGBA"}


def is_image(path: Path) -> bool:
    """Whether the name is that of an image file that `read` decodes; hidden files are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read(path: Path) -> Array:
    """The image as [H, W, C] in its own dtype and depth.

    Palettes are expanded to RGB (or RGBA), alpha is kept as a channel, frames of a multi-page TIFF become channels.
    A 3-D NumPy array is [H, W, C] or [C, H, W]: the shorter of its first and last axes are the channels (the last one
    on a tie).

    Raises DataError for a file that is missing, unreadable, truncated, or of a layout that would lose depth, and for
    values that are NaN or infinite.
    """
    if is_dicom(path):
        from nearfar.data.dicom import read_dicom

        return read_dicom(path).pixels
    array = guarded(path, _read_npy if path.suffix.lower() == ".npy" else _read_pillow)
    if array.size == 0:
        raise DataError("the image is empty", where=path, found=f"shape {array.shape}", fix="Remove the file.")
    _refuse_nonfinite(array, path)
    return array


def is_dicom(path: Path) -> bool:
    """Whether the name is that of a DICOM file, or of a frame of one."""
    return file_of(path)[0].suffix.lower() == ".dcm"


def file_of(path: Path) -> tuple[Path, int | None]:
    """The file that a path names, and the number of the frame that clip.dcm#12 names in it."""
    match = _FRAME.search(path.name)
    return (path.with_name(path.name[: match.start(1) - 1]), int(match.group(1))) if match else (path, None)


def fingerprint(path: Path) -> tuple[Path, int, int]:
    """What changes when the file does: its path, time of change and size. Raises DataError where it is not there."""
    status = guarded(file_of(path)[0], Path.stat)
    return path, status.st_mtime_ns, status.st_size


def read_mask(path: Path) -> NDArray[np.bool_]:
    """The mask as bool [H, W]: True where a colour channel has at least half of the largest value found.

    Alpha does not count. Masks of 0/1, 0/255 and 0/65535 are thus read alike.
    """
    array = read(path)
    colours = array[..., : array.shape[-1] - 1] if array.shape[-1] in (2, 4) else array
    values = colours.max(axis=-1)
    return np.asarray((values > 0) & (values >= float(values.max()) / 2))


def scaled(array: Array, scale: float | None, path: object) -> Tensor:
    """[H, W, C] of any dtype as a float32 tensor [C, H, W], divided by `scale` (default: `SCALES` of its dtype)."""
    if scale is None:
        scale = SCALES.get(array.dtype.name)
    if scale is None:
        raise DataError(
            "this type of image has no natural scale",
            where=path,
            found=array.dtype.name,
            expected=", ".join(SCALES),
            fix="Set --data.scale to the value that should become 1.0.",
        )
    values = (
        (array.astype(np.float64) / scale).astype(np.float32) if array.dtype.itemsize > 4 else array / np.float32(scale)
    )
    return torch.from_numpy(np.ascontiguousarray(values.astype(np.float32, copy=False).transpose(2, 0, 1)))


def resize(image: Tensor, size: int) -> Tensor:
    """[C, H, W] float to [C, size, size]: bilinear with antialiasing, in float. The aspect ratio is not kept."""
    if image.shape[-2:] == (size, size):
        return image
    resized: Tensor = functional.interpolate(
        image[None], size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )[0]
    return resized


def resize_mask(mask: NDArray[np.bool_], size: int) -> Tensor:
    """bool [H, W] to bool [size, size]: pixels at least half covered; a small object keeps its best-covered pixels."""
    covered = resize(torch.from_numpy(mask.astype(np.float32))[None], size)[0]
    most = float(covered.max())
    return covered >= min(0.5, most) if most > 0 else torch.zeros_like(covered, dtype=torch.bool)


def guarded(path: Path, decode: Callable[[Path], T]) -> T:
    """What `decode` makes of the file; its failures, and those of opening it, become DataError."""
    try:
        return decode(path)
    except FileNotFoundError:
        raise DataError("the image does not exist", where=path, fix="Check the path.") from None
    except PermissionError:
        raise DataError("the image may not be read", where=path, fix="Give yourself read permission.") from None
    except _BROKEN as error:
        raise DataError(
            "the image cannot be decoded",
            where=path,
            found=f"{_bytes(path)}{str(error).strip() or type(error).__name__}",
            fix="The file is truncated or corrupt: copy it again or remove it.",
        ) from error


def _bytes(path: Path) -> str:
    try:
        return f"{path.stat().st_size} bytes, "
    except (OSError, ValueError):  # a name that no file can have
        return ""


def _refuse_nonfinite(array: Array, path: Path) -> None:
    if array.dtype.kind != "f":
        return
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise DataError(
            "the image holds NaN or infinite values",
            where=path,
            found=f"{bad} of {array.size}",
            fix="Fill them with a value of your choice, or remove the image.",
        )


def _read_npy(path: Path) -> Array:
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3) or array.dtype.kind not in "biuf":
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        expected = "numbers of shape [H, W], [H, W, C] or [C, H, W]"
        raise DataError("not an image array", where=path, found=found, expected=expected, fix="Save one image a file.")
    if array.ndim == 2:
        return np.asarray(array[..., None])
    return np.asarray(np.moveaxis(array, 0, -1) if array.shape[0] < array.shape[-1] else array)


def _read_pillow(path: Path) -> Array:
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1 and image.format == "TIFF":
            return _join_frames([_expand(frame) for frame in ImageSequence.Iterator(image)], path)
        halves = _halves(image)
        if halves is None:
            return _expand(image)
        _refuse_reduced(cast("Any", image).tile[0][3], path)
        high = np.asarray(image)
    with Image.open(path) as image:
        cast("Any", image).tile = halves
        low = np.asarray(image)
    return np.asarray(high.astype(np.uint16) << 8 | low)


def _halves(image: Image.Image) -> list[Any] | None:
    """Tiles that decode the low bytes of a 16-bit colour image; None where Pillow loses nothing.

    Pillow's unpackers keep the high byte of each sample; told the opposite byte order, they keep the low one.
    """
    tiles = list(getattr(image, "tile", []))
    if image.mode not in ("RGB", "RGBA", "LA") or not tiles or ";16" not in str(tiles[0][3]):
        return None
    swap = {"B": "L", "L": "B", "N": "B"} if np.little_endian else {"B": "L", "L": "B", "N": "L"}

    def swapped(args: Any) -> Any:
        if isinstance(args, tuple):
            return (swapped(args[0]), *args[1:])
        return args[:-1] + swap.get(args[-1], args[-1])

    return [(*tile[:3], swapped(tile[3])) for tile in tiles]


def _refuse_reduced(args: Any, path: Path) -> None:
    layout = args[0] if isinstance(args, tuple) else args
    if layout.startswith("LA;16") or layout[-1] not in "BLN":
        raise DataError(
            "Pillow would reduce this 16-bit layout to 8 bits",
            where=path,
            found=layout,
            expected="16-bit gray, RGB or RGBA",
            fix="Save the image as .npy or as a multi-page TIFF.",
        )


def _expand(image: Image.Image) -> Array:
    """[H, W, C] of one frame, palettes and other colour spaces expanded to RGB, the depth untouched."""
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    elif image.mode in _COLOUR_MODES:
        image = image.convert(_COLOUR_MODES[image.mode])
    array = np.asarray(ImageOps.exif_transpose(image))
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        array = array.astype(np.uint16)
    return array[..., None] if array.ndim == 2 else array


def _join_frames(frames: list[Array], path: Path) -> Array:
    shapes = {frame.shape[:2] for frame in frames}
    if len(shapes) > 1:
        raise DataError(
            "the pages of the TIFF differ in size, so they are not channels of one image",
            where=path,
            found=", ".join(f"{w} x {h}" for h, w in sorted(shapes)),
            expected="pages of one size",
            fix="Save only the full-size page.",
        )
    return np.concatenate(frames, axis=-1)
