"""Applying a function to a scene of any size by overlapping windows, in memory that the window alone decides.

Every pixel of the result is written once, by the window in which it lies deepest: of the pixels that two neighbours
share, each keeps the half on its own side. A function that looks no further than overlap // 2 pixels around a pixel
gives exactly what it gives on the whole scene.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.data.geotiff import GeoScene
from nearfar.data.rasterfile import profile, writing
from nearfar.errors import ConfigError, ShapeError

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Read = Callable[[slice, slice], tuple[Array, Mask]]
Write = Callable[[slice, slice, Array, Mask], None]
Function = Callable[[Array, Mask], Array]


def spans(size: int, window: int, overlap: int) -> list[tuple[slice, slice]]:
    """(what to read, what of it to keep) along one axis, both in coordinates of the scene.

    All spans to read are `window` long (the last one is moved back to end with the scene) or as long as the scene,
    neighbours share at least `overlap` pixels, and what is kept covers the axis once.
    """
    last = max(size - window, 0)
    starts = [*range(0, last, window - overlap), last]
    cuts = [0, *((a + window + b) // 2 for a, b in pairwise(starts)), size]
    return [(slice(s, min(s + window, size)), slice(a, b)) for s, (a, b) in zip(starts, pairwise(cuts), strict=True)]


def windowed(
    read: Read,
    write: Write,
    shape: tuple[int, int],
    function: Function,
    window: int = 512,
    overlap: int = 64,
) -> None:
    """Apply `function` to a scene of `shape` (rows, columns), window by window, left to right and top to bottom.

    - `read(rows, cols)` -> (pixels [C, h, w], valid bool [h, w]).
    - `function(pixels, valid)` -> [K, h, w] of any dtype. It sees whole windows, pixels without data included, and is
      not called where no pixel that a window keeps is valid. All windows have the same shape, min(window, scene).
    - `write(rows, cols, values [K, h, w], valid [h, w])` gets every pixel of the scene once, but for windows that have
      no data at all: there, what the target holds at the start stays.

    Holds one window at a time. Raises ConfigError for impossible sizes, ShapeError where `function` changes h or w.
    """
    _check(shape, window, overlap)
    for rows, keep_rows in spans(shape[0], window, overlap):
        for cols, keep_cols in spans(shape[1], window, overlap):
            pixels, valid = read(rows, cols)
            inner = _within(keep_rows, rows), _within(keep_cols, cols)
            if not valid[inner].any():
                continue
            values = np.asarray(function(pixels, valid))
            if values.ndim != 3 or values.shape[1:] != valid.shape:
                raise ShapeError(
                    "The function changed the window's size", found=values.shape, expected=("K", *valid.shape)
                )
            write(keep_rows, keep_cols, values[:, *inner], valid[inner])


def windowed_geotiff(
    source: Path | str | Sequence[Path] | Mapping[str, Path],
    target: Path | str,
    function: Function,
    *,
    names: Sequence[str],
    dtype: str = "uint8",
    nodata: float = 255,
    bands: Sequence[str] | None = None,
    source_nodata: float | None = None,
    window: int = 512,
    overlap: int = 64,
) -> None:
    """From GeoTIFF to GeoTIFF: `target` gets the CRS and transform of the scene's finest band.

    `source`, `bands`, `source_nodata`: as `source`, `bands`, `nodata` of `nearfar.data.geotiff.GeoScene`. `names`:
    of the K bands that `function` (see `windowed`) returns. `nodata`: value of `target` where any source band has no
    data. The target appears when it is whole. Raises DataError, ConfigError, ShapeError.
    """
    if not np.can_cast(np.min_scalar_type(nodata), dtype) and np.dtype(dtype).kind != "f":
        raise ConfigError("The value for no data does not fit the type", where="nodata", found=nodata, expected=dtype)
    with GeoScene(source, bands, nodata=source_nodata) as scene:
        description = profile(scene.grid, len(names), dtype, nodata, "deflate")
        with writing(Path(target), description) as file:

            def write(rows: slice, cols: slice, values: Array, valid: Mask) -> None:
                filled = np.where(valid, values, np.asarray(nodata, dtype)).astype(dtype)
                file.write(filled, window=((rows.start, rows.stop), (cols.start, cols.stop)))

            # Blocks that no window writes are filled with nodata by GDAL.
            windowed(scene.read, write, scene.grid.shape, function, window, overlap)
            for i, name in enumerate(names):
                file.set_band_description(i + 1, name)


def _check(shape: tuple[int, int], window: int, overlap: int) -> None:
    if min(shape) < 1:
        raise ConfigError("The scene is empty", where="shape", found=shape, expected="at least one row and column")
    if window < 1:
        raise ConfigError("The window is empty", where="window", found=window, expected="at least 1 pixel")
    if not 0 <= overlap <= window // 2:
        raise ConfigError("Overlap out of range", where="overlap", found=overlap, expected=f"0 to {window // 2}")


def _within(inner: slice, outer: slice) -> slice:
    return slice(inner.start - outer.start, inner.stop - outer.start)
