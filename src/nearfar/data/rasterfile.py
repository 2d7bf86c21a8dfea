"""Raster files opened with rasterio: errors that name the file, and files that appear whole or not at all.

Needs rasterio: `pip install 'nearfar[geo]'`.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.data.geogrid import Grid
from nearfar.errors import DataError, NearfarError, missing_extra

_CACHE = 64 * 2**20  # bytes; GDAL would take 5 % of the machine
_SPARE = 2**20  # bytes; a disk with less room than this is full


def rasterio() -> Any:
    """The rasterio module. Raises ConfigError where it is not installed."""
    try:
        return import_module("rasterio")
    except ImportError:
        raise missing_extra("GeoTIFF", "rasterio", "geo") from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what rasterio raises into a DataError that names the file."""
    module = rasterio()
    try:
        with warnings.catch_warnings(), module.Env(GDAL_CACHEMAX=_CACHE):
            warnings.simplefilter("ignore", module.errors.NotGeoreferencedWarning)
            yield
    except (module.errors.RasterioError, ValueError, OSError) as error:
        raise DataError(
            "The file is damaged or not a GeoTIFF", where=path, found=str(error), fix="Get it anew, or remove it."
        ) from error


def profile(grid: Grid, count: int, dtype: Any, nodata: float | None, compress: str) -> dict[str, Any]:
    """rasterio's description of a file with this grid, tiled where it is large."""
    height, width = grid.shape
    return {
        **{"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": np.dtype(dtype).name},
        "crs": rasterio().crs.CRS.from_wkt(grid.crs) if grid.crs else None,
        "transform": rasterio().Affine(*grid.transform),
        **{"nodata": nodata, "compress": compress, "BIGTIFF": "IF_SAFER"},
        **({"tiled": True, "blockxsize": 256, "blockysize": 256} if min(height, width) > 256 else {}),
    }


@contextmanager
def writing(path: Path, description: dict[str, Any]) -> Iterator[Any]:
    """An open rasterio file that takes its name once it is whole.

    Raises NearfarError where it cannot be written, as on a full disk; then, and whatever is raised meanwhile, an older
    file of that name stays.
    """
    partial = path.with_name(f".{path.name}.partial")
    module = rasterio()
    try:
        with warnings.catch_warnings(), module.Env(GDAL_CACHEMAX=_CACHE):
            warnings.simplefilter("ignore", module.errors.NotGeoreferencedWarning)
            with module.open(partial, "w", **description) as file:
                yield file
            _read_through(partial)
        partial.replace(path)
    except module.errors.RasterioError as error:
        full = shutil.disk_usage(path.parent).free < _SPARE
        raise NearfarError(
            "The disk is full" if full else f"The file cannot be written: {error}",
            where=path,
            fix="Free some space and run it again." if full else None,
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _read_through(path: Path) -> None:
    """Raise RasterioError where a block cannot be read: closing a file on a full disk raises nothing."""
    with rasterio().open(path) as file:
        for _, window in file.block_windows(1):
            file.read(window=window)
