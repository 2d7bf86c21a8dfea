"""The letterbox: an image of any shape on a canvas of one size, its aspect ratio kept, and its boxes with it.

Pixels and boxes go through one transform. The published SpatialCLIP code floors the new size but scales boxes by the
unfloored factor, so that boxes drift by up to a pixel, and int(W * (224 / W)) is 223 for 392 of the widths to 5000.
Here the new size is rounded and each axis has the scale that its pixels really had: pixels and boxes agree exactly, and
`Letterbox.inverse` gives back the boxes of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from nearfar.errors import ConfigError, DataError, ShapeError

Floats = NDArray[np.float64]
Rounding = Literal["exact", "reference"]
MIDDLE_GREY = 128 / 255
"""the published fill, as a share of the full range"""

_GREY_MODES = {"1": "L", "LA": "L"} | {mode: mode for mode in ("L", "F", "I", "I;16", "I;16L", "I;16B")}


@dataclass(frozen=True)
class Letterbox:
    """Where an image of `width` x `height` pixels lies on a canvas of `canvas` = (width, height) pixels.

    The image becomes `new` = (width, height) pixels and begins at `pad` = (left, top); `scale` = (x, y) is canvas
    pixels for each image pixel, and `clip` = ((left, top), (right, bottom)) the part of the canvas, in 0..1, that boxes
    are clipped to.
    """

    width: int
    height: int
    canvas: tuple[int, int]
    new: tuple[int, int]
    pad: tuple[int, int]
    scale: tuple[float, float]
    clip: tuple[tuple[float, float], tuple[float, float]]

    @classmethod
    def of(cls, width: int, height: int, size: int | tuple[int, int], rounding: Rounding = "exact") -> Letterbox:
        """The letterbox of an image of `width` x `height` pixels; `size` is one side or (width, height) of the canvas.

        "exact" rounds the new size (half to even, at least one pixel), scales each axis by what its pixels were scaled
        and clips boxes to the image. "reference" is the published code's: the new size floored, one scale for both
        axes, boxes clipped to the canvas.

        Raises ConfigError for a side that is not a whole number over 0 and for an unknown rounding.
        """
        canvas = (size, size) if isinstance(size, int) else size
        _check(width, height, canvas, rounding)
        scale = min(canvas[0] / width, canvas[1] / height)
        whole = round if rounding == "exact" else int
        new = (max(1, whole(width * scale)), max(1, whole(height * scale)))
        pad = ((canvas[0] - new[0]) // 2, (canvas[1] - new[1]) // 2)
        if rounding == "reference":
            return cls(width, height, canvas, new, pad, (scale, scale), ((0.0, 0.0), (1.0, 1.0)))
        low = (pad[0] / canvas[0], pad[1] / canvas[1])
        high = ((pad[0] + new[0]) / canvas[0], (pad[1] + new[1]) / canvas[1])
        return cls(width, height, canvas, new, pad, (new[0] / width, new[1] / height), (low, high))

    def boxes(self, xyxy: ArrayLike, clip: bool = True) -> Floats:
        """Boxes [..., 4] as x_min, y_min, x_max, y_max in image pixels -> [..., 4] as x, y, w, h (top-left) on the
        canvas, 0..1, float64. `clip=False` leaves boxes that reach outside the image as they are.

        Raises ShapeError where the last axis is not 4, DataError for NaN, infinities and corners in the wrong order.
        """
        corners = _boxes(xyxy)
        if (corners[..., 2:] < corners[..., :2]).any():
            raise DataError(
                "a box ends before it begins",
                where="Letterbox.boxes",
                expected="x_min, y_min, x_max, y_max",
                fix="Were these x, y, width, height?",
            )
        placed = (corners * np.tile(self.scale, 2) + np.tile(self.pad, 2)) / np.tile(self.canvas, 2)
        if clip:
            placed = np.clip(placed, np.tile(self.clip[0], 2), np.tile(self.clip[1], 2))
        return np.concatenate([placed[..., :2], placed[..., 2:] - placed[..., :2]], axis=-1)

    def inverse(self, xywh: ArrayLike) -> Floats:
        """What `boxes` had been given: [..., 4] as x, y, w, h on the canvas -> corners in image pixels, float64.

        Exact up to the rounding of float64 for every box that was not clipped. Raises ShapeError and DataError as
        `boxes` does.
        """
        boxes = _boxes(xywh)
        corners = np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)
        return np.asarray((corners * np.tile(self.canvas, 2) - np.tile(self.pad, 2)) / np.tile(self.scale, 2))


def letterbox_image(
    image: NDArray[Any] | Image.Image,
    size: int | tuple[int, int],
    fill: float = MIDDLE_GREY,
    rounding: Rounding = "exact",
) -> NDArray[Any]:
    """The image on the canvas of `Letterbox.of(width, height, size, rounding)`, as an array [height, width, C].

    `image`: an array [H, W] or [H, W, C] of uint8, uint16 or floats, or a Pillow image. Its dtype and channels stay: a
    grey image is resized as one channel, not as three. Bilinear with antialiasing; `fill` (0..1) is a share of the full
    range: 255, 65535, or 1 for floats. A Pillow JPEG that is not decoded yet is decoded at the smallest size the format
    offers that is at least twice the canvas (and that image object then has this size). Pillow images of other modes
    than grey and RGB become RGB. Orientation tags are left to the caller, who has boxes in one orientation.

    Raises ConfigError for wrong sizes and fills, ShapeError and DataError for other arrays.
    """
    if not 0 <= fill <= 1:
        raise ConfigError("fill is not valid", where="letterbox_image", found=fill, expected="0 to 1")
    if isinstance(image, Image.Image):
        box = Letterbox.of(*image.size, size, rounding)
        array = _decoded(image, box)
    else:
        array = _array(image)
        box = Letterbox.of(array.shape[1], array.shape[0], size, rounding)
    top = 1.0 if array.dtype.kind == "f" else float(np.iinfo(array.dtype).max)
    value = fill if array.dtype.kind == "f" else round(fill * top)
    (left, upper), (width, height) = box.pad, box.new
    canvas = np.full((box.canvas[1], box.canvas[0], array.shape[2]), value, array.dtype)
    canvas[upper : upper + height, left : left + width] = _resized(array, box)
    return canvas


def _check(width: int, height: int, canvas: tuple[int, ...], rounding: str) -> None:
    sides = (width, height, *canvas)
    if len(canvas) != 2 or not all(isinstance(n, (int, np.integer)) and n > 0 for n in sides):
        found = f"image {width} x {height}, canvas {canvas}"
        raise ConfigError("sides of a letterbox are whole numbers over 0", where="Letterbox", found=found)
    if rounding not in get_args(Rounding):
        raise ConfigError("unknown rounding", where="Letterbox", found=rounding, expected="exact or reference")


def _boxes(boxes: ArrayLike) -> Floats:
    array = np.asarray(boxes, np.float64)
    if array.size == 0 and array.ndim <= 1:
        return array.reshape(0, 4)
    if array.ndim == 0 or array.shape[-1] != 4:
        raise ShapeError(
            "boxes have four numbers", where="Letterbox", found=f"shape {array.shape}", expected="[..., 4]"
        )
    if not np.isfinite(array).all():
        raise DataError("a box holds NaN or infinite numbers", where="Letterbox")
    return array


def _array(image: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(image)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or 0 in array.shape:
        found = f"shape {np.shape(image)}"
        raise ShapeError("not an image", where="letterbox_image", found=found, expected="[H, W] or [H, W, C]")
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        expected = "uint8, uint16 or floats"
        raise DataError("wrong type of image", where="letterbox_image", found=array.dtype.name, expected=expected)
    return array


def _decoded(image: Image.Image, box: Letterbox) -> NDArray[Any]:
    mode = _GREY_MODES.get(image.mode, "RGB")
    if image.format == "JPEG":
        image.draft(None, (2 * box.canvas[0], 2 * box.canvas[1]))
    return _array(np.asarray(image if image.mode == mode else image.convert(mode)))


def _resized(array: NDArray[Any], box: Letterbox) -> NDArray[Any]:
    """[height, width, C] of `box.new`; the array may be a decoder's reduction of the image of `box`."""
    if (array.shape[1], array.shape[0]) == box.new:
        return array
    reduced = max(1, round(box.width / array.shape[1])), max(1, round(box.height / array.shape[0]))
    source = (0.0, 0.0, min(array.shape[1], box.width / reduced[0]), min(array.shape[0], box.height / reduced[1]))
    if array.dtype == np.uint8 and array.shape[2] in (1, 3):
        pixels = array[..., 0] if array.shape[2] == 1 else array
        resized = np.asarray(Image.fromarray(pixels).resize(box.new, Image.Resampling.BILINEAR, source))
        return resized.reshape(box.new[1], box.new[0], -1)
    planes = [
        np.asarray(Image.fromarray(plane).resize(box.new, Image.Resampling.BILINEAR, source))
        for plane in np.moveaxis(array, -1, 0).astype(np.float32)
    ]
    values = np.stack(planes, axis=-1)
    return (values if array.dtype.kind == "f" else np.rint(values)).astype(array.dtype)
