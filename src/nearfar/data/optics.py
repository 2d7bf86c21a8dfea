"""From files of satellite bands to reflectance by band name: which bands, in which order, on which scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nearfar.config import DataConfig
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import GeoScene
from nearfar.data.rasterfile import rasterio, reading
from nearfar.data.sample import Channels
from nearfar.errors import ConfigError, DataError
from nearfar.spatial.bands import resolve
from nearfar.spatial.sensors import Sensor, sensor

Array = NDArray[Any]
SUFFIXES = (".tif", ".tiff", ".jp2")
T = TypeVar("T")
R = TypeVar("R")
_TRIES = 20
METRES_A_DEGREE = 111_320.0
"""of latitude"""


@dataclass(frozen=True)
class Optics:
    """How files become reflectance. `of` fits one to a data set by looking at its first file."""

    sensor: Sensor
    bands: tuple[str, ...] = ()
    """names in the files, in the order of the channels; empty: all that a file has"""
    names: tuple[str, ...] | None = None
    """the bands of multi-band files that do not describe them"""
    scale: float | None = None
    """value that becomes 1.0, instead of what the sensor says"""
    channels: tuple[str, ...] = ()
    """canonical names of the channels, as long as `bands`"""

    nodata: float | None = None
    """digital number of pixels without data, beside what files declare"""

    @classmethod
    def of(cls, config: DataConfig, path: Path, default: str, orders: Sequence[Sequence[str]] = ()) -> Optics:
        """For the files like `path` (one of several bands, or a folder with one a band).

        `default`: the sensor where `config.sensor` names none. `orders`: the bands of files without descriptions; the
        first of the right length is taken; without one `config.bands` names them, or the sensor.
        Raises DataError where the bands are none of the sensor's or one is missing and has no substitute, ConfigError
        for an unknown sensor or band.
        """
        device = sensor(config.sensor or default)
        names = _names(path, [*orders, config.bands, device.names]) if path.is_file() else None
        optics = cls(device, names=names, scale=config.scale)
        with optics.open(path) as scene:
            available, dtype = scene.bands, scene.dtype
        positions, channels = choose_bands(config.bands, available, device, path)
        # In 8 bits and in float, 0 is a dark pixel (water in the short-wave infrared), not a missing one.
        nodata = device.nodata if dtype.kind in "iu" and dtype.itemsize > 1 else None
        return replace(optics, bands=tuple(available[i] for i in positions), channels=channels, nodata=nodata)

    def open(self, path: Path) -> GeoScene:
        """The scene at a path: a file of several bands, or a folder of files of one. Raises DataError."""
        bands = self.bands or None
        if not path.is_dir():
            return GeoScene(path, bands, names=self.names, nodata=self.nodata)
        files = band_files(path)
        if not files:
            raise DataError("The folder holds no bands", where=path, expected=" ".join(SUFFIXES))
        try:
            return GeoScene(files, bands, nodata=self.nodata)
        except DataError as error:
            if error.where is None:  # a missing band: the folder is where it should be
                error = DataError(error.what, where=path, found=error.found, expected=error.expected, fix=error.fix)
            raise error from None

    def reflectance(self, pixels: Array) -> NDArray[np.float32]:
        """float32, same shape. 8 bit: value / 255; 16 bit: by the sensor's scale and offset; float: as it is."""
        if self.scale is not None:
            return np.asarray(pixels, np.float32) / np.float32(self.scale)
        if pixels.dtype.kind == "f":
            return np.asarray(pixels, np.float32)
        if pixels.dtype.itemsize == 1:
            return np.asarray(pixels, np.float32) / np.float32(255)
        return self.sensor.reflectance(pixels)

    def named_channels(self) -> Channels:
        """The channels of what is read, as `named_channels`."""
        return named_channels(self.sensor, self.channels)


def named_channels(device: Sensor, names: Sequence[str]) -> Channels:
    """Channels with the bands' canonical names: `s2.B04` and so on for Sentinel-2, else below the sensor's name."""
    return Channels.of({"s2" if device.name.startswith("sentinel2") else device.name: names})


def first_readable(make: Callable[[T], R], candidates: Sequence[T]) -> R:
    """What `make` gives of the first of some candidates of which it raises no DataError, else the first of those.

    One damaged file must not hide what is wrong with the others.
    """
    errors: list[DataError] = []
    for candidate in candidates[:_TRIES]:
        try:
            return make(candidate)
        except DataError as error:
            errors.append(error)
    raise errors[0]


def band_files(folder: Path) -> list[Path]:
    """The GeoTIFF (or JPEG 2000) files in a folder, sorted."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def metres_a_pixel(grid: Grid, default: float = 1.0) -> float:
    """The height of a pixel on the ground; of grids in degrees by latitude; `default` where the file does not say."""
    if grid.crs is None:
        return default
    crs = rasterio().crs.CRS.from_wkt(grid.crs)
    unit = METRES_A_DEGREE if crs.is_geographic else float(crs.linear_units_factor[1])
    return abs(grid.transform[4]) * unit


def _names(path: Path, orders: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """None where the file describes its bands, else the first order that has as many; for none of them None again."""
    with reading(path), rasterio().open(path) as file:
        if all(file.descriptions) or file.count == 1:
            return None
        return next((tuple(order) for order in orders if len(order) == file.count), None)


def choose_bands(
    wanted: Sequence[str], available: Sequence[str], device: Sensor, path: object
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """(positions in `available`, canonical names) of the wanted bands, or of all that the sensor has, in its order.

    A missing band has its stand-in, with a warning. Raises DataError where there is none, ConfigError for a name that
    is no band of the sensor; `path` is for messages.
    """
    known = {device.find(name) for name in available}
    bands = [device.canonical(name) for name in wanted] or [name for name in device.names if name in known]
    if not bands:
        raise DataError(
            f"No band is one of {device.name}",
            where=path,
            found=", ".join(available),
            expected=", ".join(device.names),
            fix="Name the sensor with --data.sensor.",
        )
    try:
        plan = resolve(bands, available, device)
    except ConfigError as error:
        raise DataError(error.what, where=path, found=error.found, expected=error.expected, fix=error.fix) from None
    found = dict(zip(plan.names, plan.indices, strict=True))  # one band may stand in for several: it is read once
    return tuple(found.values()), tuple(found)
