"""Arrays with coordinates are read as scenes are: same values, same grid, same windows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nearfar.data.adapters import ArrayScene
from nearfar.errors import DataError


class Array:
    """As much of xarray.DataArray as is used."""

    def __init__(self, values: np.ndarray, dims: tuple[str, ...], coords: dict[str, Any], **attrs: Any) -> None:
        self.values, self.dims, self.attrs = values, dims, attrs
        wrapped = {k: SimpleNamespace(values=np.asarray(v)) for k, v in coords.items() if not hasattr(v, "__dict__")}
        self.coords = coords | wrapped
        self.shape, self.dtype = values.shape, values.dtype

    def transpose(self, *dims: str) -> Array:
        order = [self.dims.index(d) for d in dims]
        return Array(self.values.transpose(order), dims, self.coords, **self.attrs)

    def isel(self, at: dict[str, slice]) -> Array:
        index = tuple(at.get(d, slice(None)) for d in self.dims)
        return Array(self.values[index], self.dims, self.coords, **self.attrs)


def _array(**changes: Any) -> Array:
    values = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(4, 5, 3)
    coords = {
        "band": ["B2", "B04", "B8A"],
        "y": 5000 - 10 * (np.arange(4) + 0.5),
        "x": 300 + 10 * (np.arange(5) + 0.5),
        "spatial_ref": SimpleNamespace(attrs={"crs_wkt": "WKT"}),
    }
    given = {"values": values, "dims": ("y", "x", "band"), "coords": coords, "_FillValue": 0} | changes
    return Array(given.pop("values"), given.pop("dims"), given.pop("coords"), **given)


def test_an_array_is_read_in_windows() -> None:
    with ArrayScene(_array()) as scene:
        assert scene.bands == ("B02", "B04", "B8A")
        assert scene.grid.transform == (10.0, 0.0, 300.0, 0.0, -10.0, 5000.0)
        assert (scene.grid.shape, scene.grid.crs, scene.dtype) == ((4, 5), "WKT", np.uint16)
        pixels, valid = scene.read(slice(0, 2), slice(0, 3))
        assert np.array_equal(pixels[1], [[1, 4, 7], [16, 19, 22]])
        assert valid.tolist() == [[False, True, True], [True, True, True]]


def test_nan_is_never_data() -> None:
    values = np.ones((4, 5, 3))
    values[1, 2, 0] = np.nan
    _, valid = ArrayScene(_array(values=values)).read(slice(0, 4), slice(0, 5))
    assert np.argwhere(~valid).tolist() == [[1, 2]]


def test_arrays_that_are_no_scene() -> None:
    with pytest.raises(DataError, match="no dimension band"):
        ArrayScene(_array(dims=("y", "x", "time")))
    coords = dict(_array().coords) | {"x": np.array([0.0, 1, 2, 3, 9])}
    with pytest.raises(DataError, match="x is not evenly spaced"):
        ArrayScene(_array(coords=coords))
    with pytest.raises(DataError, match="no usable names"):
        ArrayScene(_array(coords={k: v for k, v in _array().coords.items() if k != "band"}))
    assert ArrayScene(_array(), ["red", "nir", "b1"]).bands == ("red", "nir", "B01")
    with pytest.raises(DataError, match="choose one date"):
        ArrayScene(_array(values=np.ones((1, 4, 5, 3)), dims=("time", "y", "x", "band")))
