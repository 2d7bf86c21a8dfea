"""Labelled scenes as raster files: bands by name, and a file whose values or colours are classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nearfar.data import images
from nearfar.data.dataset import Record
from nearfar.data.geogrid import Grid
from nearfar.data.naming import find_day
from nearfar.data.optics import Optics, band_files, metres_a_pixel
from nearfar.data.rasterfile import rasterio, reading
from nearfar.data.scenes import IGNORED, Colours, Kind, Source
from nearfar.data.series import Ground, same_ground
from nearfar.errors import DataError

Array = NDArray[Any]


@dataclass(frozen=True)
class Legend:
    """What the values of a file with classes mean."""

    values: Mapping[int, int] = field(default_factory=dict)
    """value of a one-channel file -> class, or IGNORED"""
    colours: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    """colour of a three-channel file -> class, or IGNORED"""

    def classes(self, array: Array, path: Path) -> NDArray[np.uint8]:
        """[h, w] from [h, w, c]. Raises DataError naming values or colours that mean nothing."""
        known: Mapping[Any, int] = self.values
        codes = array[..., 0].astype(np.int64)
        if array.shape[-1] >= 3 and self.colours:
            codes = _packed(array[..., :3].astype(np.int64))
            known = {int(_packed(np.array(colour))): number for colour, number in self.colours.items()}
        found, inverse = np.unique(codes, return_inverse=True)
        strange = [int(code) for code in found if int(code) not in known]
        if strange:
            shown = [_unpacked(c) for c in strange] if known is not self.values else strange
            raise DataError(
                "the file with the classes has values that are none",
                where=path,
                found=", ".join(map(str, shown[:5])) + (f" and {len(shown) - 5} more" if len(shown) > 5 else ""),
                expected=", ".join(map(str, list(self.values if known is self.values else self.colours)[:20])),
                fix="Check the format, or convert the file without resampling or JPEG.",
            )
        table = np.array([known[int(code)] for code in found], np.uint8)
        return np.asarray(table[inverse.reshape(codes.shape)])


@dataclass
class RasterSource(Source):
    """Scenes of one or several dates, each a file or a folder of bands, with `Record.mask` as the file of classes."""

    optics: Optics
    classes: tuple[str, ...]
    legend: Legend
    kind: Kind = "segment"
    sensor: str = ""
    colours: Colours | None = None
    gsd: float = 1.0

    def __post_init__(self) -> None:
        self.channels = self.optics.named_channels()
        self._finest = min(self.optics.sensor.band(name).resolution_m for name in self.optics.channels)

    @classmethod
    def of(cls, record: Record, optics: Optics, classes: Sequence[str], legend: Legend, **others: Any) -> Self:
        """Takes the metres a pixel from the first scene."""
        made = cls(optics, tuple(classes), legend, **others)
        with optics.open(record.paths[0]) as scene:
            made.gsd = metres_a_pixel(scene.grid, made._finest)
        return made

    def shape(self, record: Record) -> tuple[int, int]:
        grounds: list[Ground] = []
        for path in record.paths:
            with self.optics.open(path) as scene:
                grounds.append(Ground.of(scene, self._finest))
            same_ground(grounds[-1], grounds[0], path, record.paths[0])
        shape = grounds[0].grid.shape
        if record.mask is not None and (found := label_shape(record.mask)) != shape:
            raise DataError(
                "the file with the classes has another size than the scene",
                where=record.mask,
                found=f"{found[1]} x {found[0]}",
                expected=f"{shape[1]} x {shape[0]}",
                fix="Save it on the grid of the finest band.",
            )
        return shape

    def days(self, record: Record) -> tuple[int, ...]:
        found = [find_day(path.name) for path in record.paths]
        return tuple(day.toordinal() if day else t for t, day in enumerate(found))

    def pixels(self, record: Record, rows: slice, cols: slice) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        shape = rows.stop - rows.start, cols.stop - cols.start
        pixels = np.empty((len(record.paths), len(self.channels), *shape), np.float32)
        valid = np.empty((len(record.paths), *shape), bool)
        for t, path in enumerate(record.paths):
            with self.optics.open(path) as scene:
                numbers, valid[t] = scene.read(rows, cols)
            pixels[t] = np.where(valid[t], self.optics.reflectance(numbers), 0)
        return pixels, valid

    def target(self, record: Record, rows: slice, cols: slice) -> NDArray[np.int64]:
        if record.mask is None:
            return np.full((rows.stop - rows.start, cols.stop - cols.start), IGNORED, np.int64)
        return read_classes(record.mask, self.legend, rows, cols).astype(np.int64)


def raster_grid(path: Path) -> Grid:
    """The grid of a file, or of the finest file in a folder, from headers. Raises DataError."""
    files = band_files(path) if path.is_dir() else [path]
    if not files:
        raise DataError("The folder holds no bands", where=path)
    grids = []
    for file in files:
        with reading(file), rasterio().open(file) as opened:
            crs = opened.crs.to_wkt() if opened.crs else None
            grids.append(Grid((opened.height, opened.width), tuple(opened.transform)[:6], crs))
    return min(grids, key=lambda grid: abs(grid.transform[0] * grid.transform[4]))


def label_shape(path: Path) -> tuple[int, int]:
    """Rows and columns of a file, from its header. Raises DataError."""
    with reading(path), rasterio().open(path) as file:
        return int(file.height), int(file.width)


def read_classes(path: Path, legend: Legend, rows: slice, cols: slice) -> NDArray[np.uint8]:
    """A window of a file with classes; what a GeoTIFF declares as without data does not count. Raises DataError."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return _whole(images.fingerprint(path), _Hashed(legend))[rows, cols]
    window = ((rows.start, rows.stop), (cols.start, cols.stop))
    with reading(path), rasterio().open(path) as file:
        array = np.moveaxis(file.read(window=window), 0, -1)
        known = file.read_masks(1, window=window) > 0 if file.nodata is not None else np.ones(array.shape[:2], bool)
    filler = array[known][:1]
    if not len(filler):
        return np.full(known.shape, IGNORED, np.uint8)
    return np.where(known, legend.classes(np.where(known[..., None], array, filler), path), IGNORED).astype(np.uint8)


class _Hashed:
    """A legend as a key of the cache."""

    def __init__(self, legend: Legend) -> None:
        self.legend = legend

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and self.legend == other.legend

    def __hash__(self) -> int:
        return hash((tuple(self.legend.values.items()), tuple(self.legend.colours.items())))


@lru_cache(maxsize=4)
def _whole(key: tuple[Path, int, int], legend: _Hashed) -> NDArray[np.uint8]:
    # A PNG cannot be read in windows: the last few are kept.
    return legend.legend.classes(images.read(key[0]), key[0])


def _packed(colour: Array) -> Array:
    return np.asarray(colour[..., 0] << 16 | colour[..., 1] << 8 | colour[..., 2])


def _unpacked(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255
