"""GeoTIFF by band name: reading whole scenes or windows of them, and writing, with CRS, transform and nodata kept.

A scene is one file of several bands, or several files of one band each, at any resolutions in one CRS. Its grid is
that of the finest band; coarser bands are brought to it as they are read:

- The value at a pixel's centre is interpolated bilinearly between the centres of the coarser pixels around it, at the
  rim with the outermost pixel repeated (flat extrapolation). Integers are rounded and keep their dtype.
- Pixels without data take no part: their weight goes to the others. A pixel is valid where the coarser pixel that
  contains its centre is valid; elsewhere, and outside a band's extent, it is invalid.
- The rule looks at coordinates in the scene, not in the window, so a window has exactly the values of the whole.

Needs rasterio: `pip install 'nearfar[geo]'`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.data.geogrid import Axis, Grid, interpolate
from nearfar.data.rasterfile import profile, rasterio, reading, writing
from nearfar.errors import ConfigError, DataError, ShapeError, did_you_mean

Array = NDArray[Any]
_NAME = re.compile(r"(?:^|[^A-Za-z0-9])(B\d{1,2}A?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Raster:
    """A scene in memory."""

    pixels: Array
    """[C, H, W] in the file's own dtype"""
    valid: NDArray[np.bool_]
    """[H, W], True where every band has data"""
    bands: tuple[str, ...]
    grid: Grid


def band_name(name: str) -> str:
    """Canonical form of a band's name: "b2", "B2" and "B02" are B02, "B8A" stays; other names are kept as they are."""
    found = re.fullmatch(r"[Bb](\d{1,2})([Aa]?)", name.strip())
    if not found:
        return name.strip()
    number, letter = found.groups()
    return f"B{(letter and number) or number.zfill(2)}{letter.upper()}"


class GeoScene:
    """An open scene, read window by window. Use as a context manager, or call `close`.

    `source`: a file; several files, each named after its band (`l8_B2.tif`, `B08.tif`); or band name -> file.
    `bands`: which, in this order (default: all); compared by `band_name`. `names`: the bands of a multi-band file that
    does not describe them. `nodata`: value of pixels without data, where files do not declare it; what files declare
    (nodata value, mask, alpha) holds as well, and NaN is never data.

    Attributes: `bands`, `grid`, `dtype` (numpy, common to all bands), `nodata` (declared or given, or None).
    Raises DataError for files that are missing, damaged, rotated, of several CRS, or lack a band; ConfigError without
    rasterio.
    """

    def __init__(
        self,
        source: Path | str | Sequence[Path] | Mapping[str, Path],
        bands: Sequence[str] | None = None,
        *,
        names: Sequence[str] | None = None,
        nodata: float | None = None,
    ) -> None:
        self._open: dict[Path, Any] = {}
        self._single = False
        try:
            places = self._places(source, names)
            self.bands = tuple(_pick(places, wanted, source) for wanted in bands) if bands else tuple(places)
            self._places_of = [places[name] for name in self.bands]
            self._nodata = nodata
            self._compare()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> GeoScene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for dataset in self._open.values():
            dataset.close()
        self._open.clear()

    def read(self, rows: slice, cols: slice) -> tuple[Array, NDArray[np.bool_]]:
        """(pixels [C, h, w], valid bool [h, w]) of a window in pixels of `grid`. Raises DataError for damaged files."""
        pixels = np.empty((len(self.bands), rows.stop - rows.start, cols.stop - cols.start), self.dtype)
        valid = np.ones(pixels.shape[1:], bool)
        for c, (path, index) in enumerate(self._places_of):
            pixels[c], known = self._band(path, index, rows, cols)
            valid &= known
        return pixels, valid

    def _places(self, source: Any, names: Sequence[str] | None) -> dict[str, tuple[Path, int]]:
        if isinstance(source, (str, Path)):
            return self._bands_of(Path(source), names)
        files = source.items() if isinstance(source, Mapping) else ((_name_of(Path(path)), path) for path in source)
        self._single = True
        places = {band_name(name): (Path(path), 1) for name, path in files}
        if not places:
            raise DataError("The scene has no files", where="source", expected="at least one GeoTIFF")
        return places

    def _bands_of(self, path: Path, names: Sequence[str] | None) -> dict[str, tuple[Path, int]]:
        dataset = self._dataset(path)
        described = [name or "" for name in dataset.descriptions]
        if dataset.count == 1 and not described[0]:
            described = [_name_of(path)]
        found = [band_name(name) for name in (names or described)]
        if len(found) != dataset.count or len(set(found)) != len(found) or "" in found:
            raise DataError(
                "The bands of the file have no usable names",
                where=path,
                found=found,
                expected=f"{dataset.count} different names",
                fix="Name them in the order of the file: names=[...], on the command line --bands.",
            )
        return {name: (path, i + 1) for i, name in enumerate(found)}

    def _dataset(self, path: Path) -> Any:
        if path not in self._open:
            if not path.is_file():
                raise DataError("There is no such file", where=path)
            with reading(path):
                self._open[path] = rasterio().open(path)
        return self._open[path]

    def _compare(self) -> None:
        datasets = [self._dataset(path) for path, _ in self._places_of]
        for (path, _), dataset in zip(self._places_of, datasets, strict=True):
            self._fits(path, dataset, datasets[0])
        finest = min(datasets, key=lambda d: abs(d.transform.a * d.transform.e))
        crs = finest.crs.to_wkt() if finest.crs else None
        self.grid = Grid((finest.height, finest.width), tuple(finest.transform)[:6], crs)
        kinds = [np.dtype(d.dtypes[i - 1]) for d, (_, i) in zip(datasets, self._places_of, strict=True)]
        self.dtype = np.result_type(*kinds)
        self.nodata = self._nodata if self._nodata is not None else finest.nodata

    def _fits(self, path: Path, dataset: Any, first: Any) -> None:
        t = dataset.transform
        if t.b or t.d or t.a <= 0 or t.e == 0:
            raise DataError("The raster is rotated", where=path, fix="Warp it to a north-up grid first.")
        if dataset.crs != first.crs:
            raise DataError(
                "Bands lie in different reference systems",
                where=path,
                found=dataset.crs,
                expected=first.crs,
                fix="Warp them to one.",
            )
        if t.is_identity and dataset.shape != first.shape:
            raise DataError(
                "Bands of different size do not say where they lie",
                where=path,
                found=dataset.shape,
                expected=first.shape,
                fix="Write them with a transform.",
            )
        if self._single and dataset.count != 1:
            raise DataError("The file has several bands", where=path, found=dataset.count, expected="one band a file")

    def _band(self, path: Path, index: int, rows: slice, cols: slice) -> tuple[Array, NDArray[np.bool_]]:
        dataset = self._dataset(path)
        own, t = dataset.transform, self.grid.transform
        down = Axis.map(rows, (t[4], t[5]), (own.e, own.f), dataset.height)
        right = Axis.map(cols, (t[0], t[2]), (own.a, own.c), dataset.width)
        window = ((down.start, down.stop), (right.start, right.stop))
        with reading(path):
            values = dataset.read(index, window=window)
            known = dataset.read_masks(index, window=window) > 0
        if self._nodata is not None:
            known &= values != self._nodata
        if values.dtype.kind == "f":
            known &= np.isfinite(values)
        inside = down.inside[:, None] & right.inside[None]
        nearest = known[down.nearest[:, None], right.nearest[None]] & inside
        if down.exact and right.exact:
            return values[down.nearest[:, None], right.nearest[None]], nearest
        return interpolate(values, known, down, right), nearest


def _name_of(path: Path) -> str:
    found = _NAME.search(path.stem)
    return found.group(1) if found else path.stem


def _pick(places: Mapping[str, object], wanted: str, source: object) -> str:
    name = band_name(wanted)
    if name in places:
        return name
    raise DataError(
        f"The scene has no band {wanted}",
        where=source if isinstance(source, (str, Path)) else None,
        found=", ".join(places),
        fix=did_you_mean(name, places),
    )


def read_geotiff(
    source: Path | str | Sequence[Path] | Mapping[str, Path],
    bands: Sequence[str] | None = None,
    *,
    names: Sequence[str] | None = None,
    nodata: float | None = None,
) -> Raster:
    """A whole scene; arguments and errors as `GeoScene`."""
    with GeoScene(source, bands, names=names, nodata=nodata) as scene:
        height, width = scene.grid.shape
        pixels, valid = scene.read(slice(0, height), slice(0, width))
        return Raster(pixels, valid, scene.bands, scene.grid)


def write_geotiff(
    path: Path | str,
    pixels: Array,
    grid: Grid,
    *,
    bands: Sequence[str] = (),
    valid: Array | None = None,
    nodata: float | None = None,
    compress: str = "deflate",
) -> None:
    """Write `pixels` [C, H, W] (or [H, W]) with their dtype, band names as descriptions.

    `valid` bool [H, W]: pixels that are False get the value `nodata`. `compress`: as GDAL names it; "jpeg" (uint8 only)
    changes values. The file appears whole or not at all. Raises ShapeError, ConfigError.
    """
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.shape[1:] != grid.shape or (bands and len(bands) != len(pixels)):
        raise ShapeError(
            "Pixels and grid differ", where=path, found=pixels.shape, expected=(len(bands) or "C", *grid.shape)
        )
    if valid is not None:
        if nodata is None:
            raise ConfigError("A mask needs a value for pixels without data", where="nodata", found=None)
        pixels = np.where(valid, pixels, np.asarray(nodata, pixels.dtype))
    with writing(Path(path), profile(grid, len(pixels), pixels.dtype, nodata, compress)) as file:
        file.write(pixels)
        for i, name in enumerate(bands):
            file.set_band_description(i + 1, name)
