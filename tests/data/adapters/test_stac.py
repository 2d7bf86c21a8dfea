"""STAC items: assets by declared name, common name or key; only local files."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nearfar.data.adapters import open_stac, stac_bands
from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import write_geotiff
from nearfar.errors import ConfigError, DataError

TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


@pytest.fixture
def item(tmp_path: Path) -> dict[str, Any]:
    return {
        "id": "S2",
        "links": [{"rel": "self", "href": str(tmp_path / "item.json")}],
        "assets": {
            "thumbnail": {"href": "t.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
            "visual": {"href": "v.tif", "type": TIFF, "eo:bands": [{"name": "B04"}, {"name": "B03"}, {"name": "B02"}]},
            "nir": {"href": "./a b.tif", "type": TIFF},
            "red": {"href": "r.tif", "type": TIFF, "bands": [{"name": "B4"}]},
            "scl": {"href": "scl.tif", "type": TIFF},
        },
    }


def test_bands_are_found_by_any_name(item: dict[str, Any], tmp_path: Path) -> None:
    expected = {"B04": tmp_path / "r.tif", "B08": tmp_path / "a b.tif"}
    assert stac_bands(item) == expected
    assert list(stac_bands(item)) == ["B04", "B08"]
    assert stac_bands(SimpleNamespace(to_dict=lambda: item)) == expected
    (tmp_path / "item.json").write_text(json.dumps(item))
    assert stac_bands(tmp_path / "item.json") == expected
    assert stac_bands(item, "landsat8", tmp_path / "x")["B5"] == tmp_path / "x" / "a b.tif"


def test_an_item_is_a_scene(item: dict[str, Any], tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    grid = Grid((4, 4), (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), rasterio.crs.CRS.from_epsg(32631).to_wkt())
    for value, name in ((0, "a b"), (7, "r")):
        pixels = np.full((4, 4), 100 + value, np.uint16)
        pixels[0, 0] = value
        write_geotiff(tmp_path / f"{name}.tif", pixels, grid)
    with open_stac(item, ["nir", "red"]) as scene:
        assert scene.bands == ("B08", "B04")
        pixels, valid = scene.read(slice(0, 4), slice(0, 4))
        assert pixels[:, 1, 1].tolist() == [100, 107]
        assert np.argwhere(~valid).tolist() == [[0, 0]]
    with pytest.raises(DataError, match="no band B11"):
        open_stac(item, ["B11"])


def test_what_cannot_be_read_is_told(item: dict[str, Any], tmp_path: Path) -> None:
    item["assets"]["red"]["href"] = "s3://bucket/r.tif"
    with pytest.raises(ConfigError, match="'red' is not on this machine"):
        stac_bands(item)
    with pytest.raises(DataError, match="No asset is a band of gaofen2"):
        stac_bands({"assets": {"scl": {"href": "a.tif"}}}, "gaofen2")
    with pytest.raises(DataError, match="no STAC item"):
        stac_bands({"type": "Feature"})
    with pytest.raises(DataError, match=r"item\.json: The STAC item cannot be read"):
        stac_bands(tmp_path / "item.json")
