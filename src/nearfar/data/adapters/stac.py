"""A STAC item as a scene: its assets by band name.

Only files on this machine are read: download the assets first (with stac-asset, pystac-client or the provider's tool).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from nearfar.data.geotiff import GeoScene
from nearfar.errors import ConfigError, DataError
from nearfar.spatial.sensors import sensor

_RASTERS = ("image/tiff", "image/jp2", "application/x-geotiff")


def stac_bands(item: Any, sensor_name: str = "sentinel2_l2a", base: Path | None = None) -> dict[str, Path]:
    """Band name -> file, for the assets that are one band of the sensor, in the sensor's order.

    `item`: the path of a JSON file, the dict in it, or an object with `to_dict` (a pystac.Item). A band is told by the
    names that the asset declares (`bands`, `eo:bands`: name or common name), else by the asset's key. `base`: what
    relative links start from; default: the folder of the JSON file, or of the item's own link.
    Raises DataError for what is no item, lacks bands, or links to what is not here.
    """
    about, folder = _item(item)
    device, found = sensor(sensor_name), dict[str, Path]()
    for key, asset in about["assets"].items():
        names = _names(key, asset)
        name = next((band for band in map(device.find, names) if band), None)
        if name is not None and name not in found:
            found[name] = _local(asset.get("href", ""), base or folder, key)
    if not found:
        raise DataError(
            f"No asset is a band of {device.name}",
            where=about.get("id"),
            found=", ".join(about["assets"]),
            expected=", ".join(device.names),
            fix="Name the sensor.",
        )
    return {name: found[name] for name in device.names if name in found}


def open_stac(
    item: Any, bands: Sequence[str] | None = None, *, sensor_name: str = "sentinel2_l2a", base: Path | None = None
) -> GeoScene:
    """An open scene of an item's bands (default: all), as `stac_bands` finds them, without data where the sensor says.

    Raises DataError as `stac_bands` and `GeoScene` do, ConfigError for a name that is no band.
    """
    device, files = sensor(sensor_name), stac_bands(item, sensor_name, base)
    wanted = [device.canonical(band) for band in bands] if bands else list(files)
    missing = [band for band in wanted if band not in files]
    if missing:
        raise DataError(f"The item has no band {', '.join(missing)}", found=", ".join(files))
    return GeoScene({band: files[band] for band in wanted}, nodata=device.nodata)


def _item(item: Any) -> tuple[Mapping[str, Any], Path]:
    if isinstance(item, str | Path):
        path = Path(item)
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError("The STAC item cannot be read", where=path, found=str(error)) from None
        folder = path.parent
    else:
        about = item if isinstance(item, Mapping) else item.to_dict()
        own = (link.get("href", "") for link in about.get("links", ()) if link.get("rel") == "self")
        folder = Path(unquote(urlparse(next(own, "")).path)).parent
    if not isinstance(about, Mapping) or not isinstance(about.get("assets"), Mapping):
        raise DataError("This is no STAC item: it has no assets", where=item if isinstance(item, str | Path) else None)
    return about, folder


def _names(key: str, asset: Mapping[str, Any]) -> list[str]:
    """What the band of an asset may be called; none where it holds several bands or is no raster."""
    declared = asset.get("bands") or asset.get("eo:bands") or []
    kind = str(asset.get("type", _RASTERS[0])).partition(";")[0]
    if len(declared) > 1 or kind not in _RASTERS or {"thumbnail", "overview", "metadata"} & set(asset.get("roles", ())):
        return []
    band = declared[0] if declared else {}
    return [str(n) for n in (band.get("name"), key, band.get("eo:common_name"), band.get("common_name")) if n]


def _local(href: str, base: Path, key: str) -> Path:
    parsed = urlparse(href)
    if parsed.scheme not in ("", "file"):
        raise ConfigError(
            f"the asset {key!r} is not on this machine",
            where=href,
            fix="Download the item's assets first, and give the item that links to them.",
        )
    path = Path(unquote(parsed.path))
    return path if path.is_absolute() else base / path
