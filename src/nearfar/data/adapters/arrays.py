"""An xarray array as a scene that is read window by window, as a `GeoScene` is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import band_name
from nearfar.errors import DataError

_ROWS = ("y", "lat", "latitude", "northing")
_COLUMNS = ("x", "lon", "longitude", "easting")
_BANDS = ("band", "bands", "variable")


class ArrayScene:
    """A DataArray with a band, a row and a column dimension, such as rioxarray and odc-stac give.

    `bands`: names of the bands in the array's order; default: its coordinate `band`, or `long_name`. `nodata`: value
    of pixels without data; default: what the array says (`_FillValue`, `nodata`). NaN is never data.

    Attributes and `read` as of `GeoScene`: `bands`, `grid`, `dtype`, `nodata`. Nothing is loaded before `read`. Raises
    DataError for other dimensions, coordinates that are not evenly spaced, and bands without names.
    """

    def __init__(self, array: Any, bands: Sequence[str] | None = None, *, nodata: float | None = None) -> None:
        dims = [_dimension(array, names) for names in (_BANDS, _ROWS, _COLUMNS)]
        if len(array.dims) != 3:
            raise DataError("The array has other dimensions", found=array.dims, expected="band, y, x: choose one date")
        self._array, (self._band, self._row, self._column) = array.transpose(*dims), dims
        self.dtype = np.dtype(array.dtype)
        self.bands = _band_names(self._array, self._band, bands)
        self.grid = _grid(self._array, self._row, self._column)
        declared = array.attrs.get("_FillValue", array.attrs.get("nodata"))
        self.nodata = nodata if nodata is not None else (None if declared is None else float(declared))

    def __enter__(self) -> ArrayScene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing to do: the array is its owner's."""

    def read(self, rows: slice, cols: slice) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(pixels [C, h, w], valid bool [h, w]) of a window."""
        pixels = np.asarray(self._array.isel({self._row: rows, self._column: cols}).values)
        known = np.ones(pixels.shape, bool)
        if pixels.dtype.kind == "f":
            known &= np.isfinite(pixels)
        if self.nodata is not None and not np.isnan(self.nodata):
            known &= pixels != self.nodata
        return pixels, np.asarray(known.all(axis=0))


def _dimension(array: Any, names: Sequence[str]) -> str:
    for name in array.dims:
        if str(name).lower() in names:
            return str(name)
    raise DataError(f"The array has no dimension {names[0]}", found=array.dims, expected=" or ".join(names))


def _band_names(array: Any, dimension: str, given: Sequence[str] | None) -> tuple[str, ...]:
    count = array.shape[0]
    named = given if given is not None else array.attrs.get("long_name")
    if named is None and dimension in array.coords:
        values = np.asarray(array.coords[dimension].values)
        named = [str(value) for value in values] if values.dtype.kind in "UOS" else None
    found = tuple(band_name(name) for name in ([named] if isinstance(named, str) else named or ()))
    if len(found) != count or len(set(found)) != count:
        raise DataError(
            "The bands of the array have no usable names",
            found=found or None,
            expected=f"{count} different names",
            fix="Give them: ArrayScene(array, bands=[...]).",
        )
    return found


def _grid(array: Any, row: str, column: str) -> Grid:
    steps = []
    for dimension in (column, row):
        if dimension not in array.coords:
            raise DataError("The array does not say where it lies", found=list(array.coords), expected=dimension)
        at = np.asarray(array.coords[dimension].values, np.float64)
        step = float(at[-1] - at[0]) / max(len(at) - 1, 1)
        if len(at) < 2 or not np.allclose(np.diff(at), step, rtol=1e-3):
            raise DataError(f"The coordinate {dimension} is not evenly spaced", fix="Resample the array to a grid.")
        steps.append((step, float(at[0]) - step / 2))
    (a, c), (e, f) = steps
    return Grid((array.shape[1], array.shape[2]), (a, 0.0, c, 0.0, e, f), _crs(array))


def _crs(array: Any) -> str | None:
    crs = getattr(getattr(array, "rio", None), "crs", None)
    if crs is not None:
        return str(crs.to_wkt())
    for attrs in (getattr(array.coords.get("spatial_ref"), "attrs", {}), array.attrs):
        for key in ("crs_wkt", "spatial_ref", "crs"):
            if attrs.get(key):
                return str(attrs[key])
    return None
