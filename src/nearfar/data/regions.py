"""Where an object is in an image: a mask file, polygons, run lengths or a box; and the square frame round a pair."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nearfar.data import images
from nearfar.errors import DataError
from nearfar.spatial.coverage import Box, box_coverage, decode_runs, mask_coverage, polygon_coverage

__all__ = ["Box", "Frame", "Region", "Runs"]


class Frame(NamedTuple):
    """A square of whole pixels of an image, which may reach beyond its edges: the crop that a pair is seen in.

    `box` (x0, y0, x1, y1) is the part of it that is shown, the rest is letterbox.
    """

    left: int
    top: int
    side: int
    box: tuple[int, int, int, int]

    @classmethod
    def around(cls, boxes: list[Box], height: int, width: int) -> Frame:
        """The smallest frame round boxes, clamped to an image of this size; at least one pixel."""
        x0, y0 = (math.floor(min(b[k] for b in boxes)) for k in (0, 1))
        x1, y1 = (math.ceil(max(b[k] for b in boxes)) for k in (2, 3))
        x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
        x1, y1 = max(min(x1, width), x0 + 1), max(min(y1, height), y0 + 1)
        side = max(x1 - x0, y1 - y0)
        return cls(x0 - (side - (x1 - x0)) // 2, y0 - (side - (y1 - y0)) // 2, side, (x0, y0, x1, y1))

    def relative(self, box: Box) -> NDArray[np.float32]:
        """A box of the image in units of the frame (x0, y0, x1, y1), 0 to 1; what is not shown is cut off."""
        shown = np.clip(np.array(box, float), self.box[:2] * 2, self.box[2:] * 2)
        return np.asarray((shown - [self.left, self.top] * 2) / self.side, np.float32)

    def shown(self, size: int) -> NDArray[np.float32]:
        """Share of each cell [size, size] that is image and not letterbox."""
        x0, y0, x1, y1 = self.box
        return box_coverage((x0 - self.left, y0 - self.top, x1 - self.left, y1 - self.top), self.side, size)

    def crop(self, image: NDArray[Any]) -> NDArray[Any]:
        """The frame [side, side, C] of an image [H, W, C]; the letterbox has the mean colour of the crop's edge."""
        x0, y0, x1, y1 = self.box
        part = image[y0:y1, x0:x1]
        edge = np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]]).astype(np.float64).mean(0)
        if image.dtype.kind in "iu":
            edge = np.rint(edge)
        square = np.empty((self.side, self.side, image.shape[2]), image.dtype)
        square[:] = edge.astype(image.dtype)
        square[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left] = part
        return square


class Runs(NamedTuple):
    """COCO run lengths: a tuple of numbers or the compressed text, for a mask of height x width."""

    counts: str | tuple[int, ...]
    height: int
    width: int


@dataclass(frozen=True)
class Region:
    """One object of an image, in pixels of it, x to the right, y down.

    The first of `mask`, `runs`, `polygons` and `box` that is given is its shape.
    """

    box: Box | None = None
    """(x0, y0, x1, y1)"""
    polygons: tuple[tuple[float, ...], ...] = ()
    """parts, each x0, y0, x1, y1, ..."""
    runs: Runs | None = None
    mask: Path | None = None
    """image file of the size of the image"""
    value: int | None = None
    """the object's number in `mask`, where that is a label image (colours count R + 256 G + 65536 B); None: not 0"""
    name: str = ""
    """category"""

    def bounds(self) -> Box:
        """The box round the shape. Raises DataError where the shape is empty or has no valid coordinates."""
        if self.mask is None and self.runs is None:
            return self._outline_bounds()
        bitmap = self.bitmap()
        rows, columns = (np.flatnonzero(bitmap.any(axis)) for axis in (1, 0))
        if not rows.size:
            raise DataError("the mask is empty", where=self._where(), fix="Remove the object, or draw its mask.")
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)

    def grey(self, frame: Frame, size: int) -> NDArray[np.float32]:
        """Share of each cell [size, size] of a frame that the object covers, 0 to 1 (area average)."""
        if self.mask is not None or self.runs is not None:
            return mask_coverage(self.bitmap(), frame.left, frame.top, frame.side, size)
        corner = np.array([frame.left, frame.top], float)
        if self.polygons:
            parts = [np.reshape(part, (-1, 2)) - corner for part in self.polygons]
            return polygon_coverage(parts, frame.side, size)
        x0, y0, x1, y1 = self.bounds()
        shifted = (x0 - frame.left, y0 - frame.top, x1 - frame.left, y1 - frame.top)
        return box_coverage(shifted, frame.side, size)

    def bitmap(self) -> NDArray[np.bool_]:
        """The mask bool [H, W] of a region that has a mask file or run lengths. Raises DataError for bad ones."""
        if self.mask is None:
            assert self.runs is not None
            return decode_runs(self.runs.counts, self.runs.height, self.runs.width, self._where())
        if self.value is None:
            return images.read_mask(self.mask)
        return np.asarray(_labels(images.fingerprint(self.mask)) == self.value)

    def fits(self, height: int, width: int) -> Box:
        """`bounds`, if this can be an object of an image of this size. Raises DataError where the mask has another size
        or the object lies outside."""
        shape = (self.runs.height, self.runs.width) if self.runs else (height, width)
        shape = self.bitmap().shape if self.mask else shape
        if shape != (height, width):
            raise DataError(
                "the mask and its image differ in size",
                where=self._where(),
                found=f"{shape[1]} x {shape[0]}",
                expected=f"{width} x {height}",
                fix="Save the mask at the size of the image.",
            )
        box = self.bounds()
        if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
            raise DataError(
                "the object lies outside the image",
                where=self._where(),
                found="box " + " ".join(f"{v:g}" for v in box),
                expected=f"inside {width} x {height}",
                fix="Boxes are x0, y0, x1, y1 in pixels: check their order and the image's rotation.",
            )
        return box

    def _outline_bounds(self) -> Box:
        if self.polygons:
            corners = np.concatenate([np.reshape(part, (-1, 2)) for part in self.polygons])
            box = (*corners.min(0).tolist(), *corners.max(0).tolist())
        else:
            box = self.box or ()
        if len(box) != 4 or not all(map(math.isfinite, box)) or box[2] <= box[0] or box[3] <= box[1]:
            raise DataError(
                "the object has no area",
                where=self._where(),
                found=" ".join(f"{v:g}" for v in box) or "no shape",
                expected="x0 < x1 and y0 < y1",
                fix="Give a box x0, y0, x1, y1, polygons, run lengths or a mask.",
            )
        return box

    def _where(self) -> str:
        return str(self.mask or self.name or "region")


@functools.lru_cache(maxsize=4)
def _labels(file: tuple[Path, int, int]) -> NDArray[np.int64]:
    """Kept for the next object: those of one image are asked for one after the other."""
    return read_labels(file[0])


def read_labels(path: Path) -> NDArray[np.int64]:
    """A label image [H, W] as whole numbers; colours count R + 256 G + 65536 B, as COCO panoptic files do."""
    array = images.read(path).astype(np.int64)
    if array.shape[2] not in (1, 3):
        found = f"{array.shape[2]} channels"
        raise DataError("not a label image", where=path, found=found, expected="1 or 3", fix="Save it without alpha.")
    return np.asarray(array @ np.array([1, 256, 65536])[: array.shape[2]])
