"""A scene as a predictor wants it: the bands that it was trained on, by name, from whatever files and sensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nearfar.data.adapters.stac import stac_bands
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import GeoScene
from nearfar.data.optics import Optics, band_files
from nearfar.data.rasterfile import rasterio
from nearfar.encoders.bands import sensor_of
from nearfar.errors import ConfigError, DataError
from nearfar.spatial.bands import BandPlan, resolve
from nearfar.spatial.sensors import Sensor, sensor

Mask = NDArray[np.bool_]
Source = Path | dict[str, Path]
_SAMPLE = 64  # pixels a side of the windows that a scene's statistics are taken from


@dataclass(frozen=True)
class SceneOptions:
    """How the files of a scene are read."""

    sensor: str = ""
    """by name, or a YAML file; empty: the predictor's"""
    bands: tuple[str, ...] = ()
    """the bands of a file that does not name them, in its order"""
    nodata: float | None = None
    """value of pixels without data, where the files do not declare it; default: what the sensor says (16 bit: 0)"""
    scale: float | None = None
    """value that becomes reflectance 1; default: what the sensor says, 255 for 8 bit, 1 for float"""
    offset: float | None = None
    """added to digital numbers of 16 bit before the scale; default: what the sensor says"""
    missing: Literal["substitute", "error"] = "substitute"
    """what to do about a band that the scene lacks: take its substitute with a note, or refuse"""
    statistics: Literal["run", "scene"] = "run"
    """run: reflectance as it is; scene: each band is first brought to the mean and standard deviation of the training
    pixels, for another sensor or another processing level than that of the training data"""


class SceneReader:
    """An open scene that gives the wanted bands as reflectance, window by window. A context manager.

    `paths`: one GeoTIFF of several bands, a folder with one file a band, those files, or a STAC item (its JSON file)
    whose assets are on this machine. `wanted`: bands by name, of the sensor `wanted_sensor` (empty: that which has
    them all); those of another sensor are found by wavelength.
    Attributes: `grid` (that of the finest band used), `plan` (which bands stand for which), `name` for messages.

    Raises DataError for files that are missing, damaged or lack a band without substitute, ConfigError for a sensor or
    band that does not exist. Warns with BandWarning where a substitute is taken.
    """

    def __init__(
        self, paths: Sequence[Path], wanted: Sequence[str], wanted_sensor: Sensor | str, options: SceneOptions
    ) -> None:
        self.name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        trained = _as_sensor(wanted_sensor, wanted)
        device = sensor(options.sensor) if options.sensor else trained
        source, names = _source(paths, device, options.sensor or device.name), options.bands or None
        available = _available(source, names)
        self.plan = _plan(wanted, available, device, trained, options.missing, self.name)
        used = list(dict.fromkeys(available[i] for i in self.plan.indices))
        self._order = [used.index(available[i]) for i in self.plan.indices]
        self._optics = _optics(device, options)
        self._scene = GeoScene(source, used, names=names, nodata=_nodata(source, used, names, device, options))
        self.grid: Grid = self._scene.grid
        self._gain, self._shift = np.ones(1, np.float32), np.zeros(1, np.float32)

    def __enter__(self) -> SceneReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._scene.close()

    def read(self, rows: slice, cols: slice) -> tuple[NDArray[np.float32], Mask]:
        """(reflectance float32 [C, h, w], valid bool [h, w]) of a window in pixels of `grid`."""
        pixels, valid = self._scene.read(rows, cols)
        return self._optics.reflectance(pixels)[self._order] * self._gain + self._shift, valid

    def match(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Bring every band to this mean and standard deviation [C], by those of 64 windows spread over the scene.

        Raises DataError where these have no data.
        """
        starts = [np.unique(np.linspace(0, max(n - _SAMPLE, 0), 8).astype(int)) for n in self.grid.shape]
        parts = []
        for row in starts[0]:
            for column in starts[1]:
                ends = (min(start + _SAMPLE, n) for start, n in zip((row, column), self.grid.shape, strict=True))
                pixels, valid = self.read(slice(row, next(ends)), slice(column, next(ends)))
                parts.append(pixels[:, valid])
        seen = np.concatenate(parts, axis=1, dtype=np.float64)
        if not seen.size:
            raise DataError("No data in the places that were looked at", where=self.name, fix="Use --statistics run.")
        gain = np.asarray(std) / np.maximum(seen.std(1), 1e-6)
        self._gain, self._shift = (
            np.asarray(part, np.float32)[:, None, None] for part in (gain, mean - seen.mean(1) * gain)
        )


def check_same_grid(readers: Sequence[SceneReader]) -> None:
    """Raise DataError where scenes do not cover the same pixels; it says how to warp the one onto the other."""
    first = readers[0]
    for other in readers[1:]:
        a, b = first.grid, other.grid
        close = np.allclose(a.transform, b.transform, rtol=0, atol=1e-3 * abs(a.transform[0]))
        if a.shape != b.shape or not close or not _same_crs(a.crs, b.crs):
            raise DataError(
                "The scenes lie on different grids",
                where=other.name,
                found=_describe(b),
                expected=f"{_describe(a)} as {first.name}",
                fix=f"Warp it: {_warp(a)}",
            )


def _as_sensor(name: Sensor | str, bands: Sequence[str]) -> Sensor:
    return name if isinstance(name, Sensor) else sensor(name) if name else sensor_of(bands)


def _source(paths: Sequence[Path], device: Sensor, name: str) -> Source:
    """A file as it is; of a folder, a STAC item or several files, those that the sensor has a band for, by band."""
    for path in paths:
        if not path.exists():
            raise DataError("There is no such scene", where=path)
    if len(paths) == 1 and paths[0].is_file():
        return stac_bands(paths[0], name) if paths[0].suffix.lower() == ".json" else paths[0]
    files = [file for path in paths for file in (band_files(path) if path.is_dir() else [path])]
    found: dict[str, Path] = {}
    for file in files:
        band = device.find(file.name)
        if band in found:
            raise DataError(
                f"Two files are band {band}", where=file, found=found[band].name, fix="Name the files of one scene."
            )
        if band is not None:
            found[band] = file
    if not found:
        raise DataError(
            f"No file is named after a band of {device.name}",
            where=paths[0],
            found=", ".join(file.name for file in files[:5]) or "no GeoTIFF",
            expected=", ".join(device.names),
            fix="Say which sensor took the scene: --sensor NAME or a YAML file.",
        )
    return found


def _available(source: Source, names: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(source, Mapping):
        return tuple(source)
    with GeoScene(source, names=names) as scene:
        return scene.bands


def _plan(
    wanted: Sequence[str],
    available: Sequence[str],
    device: Sensor,
    trained: Sensor,
    missing: Literal["substitute", "error"],
    where: str,
) -> BandPlan:
    for name in wanted:
        trained.canonical(name)
    try:
        return resolve(wanted, available, device, missing, wanted_sensor=trained)
    except ConfigError as error:
        raise DataError(
            f"The scene does not fit: {error.what}",
            where=where,
            found=", ".join(available),
            expected=error.expected,
            fix="Another sensor than the training data's is named with --sensor, bands without names with --bands.",
        ) from error


def _nodata(
    source: Source, used: Sequence[str], names: Sequence[str] | None, device: Sensor, options: SceneOptions
) -> float | None:
    if options.nodata is not None or device.nodata is None:
        return options.nodata
    with GeoScene(source, used, names=names) as scene:
        # In 8 bits and in float, 0 is a dark pixel (water in the short-wave infrared), not a missing one.
        return device.nodata if scene.dtype.kind in "iu" and scene.dtype.itemsize > 1 else None


def _optics(device: Sensor, options: SceneOptions) -> Optics:
    if options.offset is None:
        return Optics(device, scale=options.scale)
    return Optics(replace(device, offset=options.offset, scale=options.scale or device.scale))


def _same_crs(a: str | None, b: str | None) -> bool:
    parse: Any = rasterio().crs.CRS.from_wkt
    return a == b or (a is not None and b is not None and parse(a) == parse(b))


def _describe(grid: Grid) -> str:
    (rows, columns), t = grid.shape, grid.transform
    return f"{columns} x {rows} pixels of {t[0]:g} from ({t[2]:.10g}, {t[5]:.10g}) in {_short(grid.crs)}"


def _short(crs: str | None) -> str:
    return "no reference system" if crs is None else str(rasterio().crs.CRS.from_wkt(crs).to_string())


def _warp(grid: Grid) -> str:
    (rows, columns), t = grid.shape, grid.transform
    x = sorted((t[2], t[2] + columns * t[0]))
    y = sorted((t[5], t[5] + rows * t[4]))
    box = " ".join(f"{value:.10g}" for value in (x[0], y[0], x[1], y[1]))
    return f"gdalwarp -t_srs '{_short(grid.crs)}' -te {box} -ts {columns} {rows} IN.tif OUT.tif"
