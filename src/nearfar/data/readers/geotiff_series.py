"""One's own time series of places as GeoTIFF."""

from __future__ import annotations

from pathlib import Path

from nearfar.config import DataConfig
from nearfar.data.footprints import grouped_by_place
from nearfar.data.naming import find_day
from nearfar.data.optics import band_files
from nearfar.data.places import is_raster, scan_places
from nearfar.data.rasters import raster_grid
from nearfar.data.readers.base import Reader, Scan, root_of, subfolders
from nearfar.errors import DataError

SENSOR = "sentinel2_l2a"


class GeoTIFFSeries(Reader):
    """ROOT/PLACE/DATE.tif with all bands, or ROOT/PLACE/DATE/BAND.tif; DATE holds YYYYMMDD or YYYY-MM-DD.

    Bands are named by the files' descriptions or names, else by `data.bands` or the sensor in their order. Places
    that overlap on the ground stay in one split.
    """

    name = "geotiff_series"
    priority = 25
    needs = "rasterio"

    def recognises(self, root: Path) -> bool:
        return any(sum(find_day(p.name) is not None for p in _dates(place)) > 1 for place in subfolders(root)[:3])

    def scan(self, config: DataConfig) -> Scan:
        found = scan_places(root_of(config), config, _dates, SENSOR)
        try:
            grids = [raster_grid(record.paths[0]) for record in found.records]
        except DataError:
            return found  # a damaged file is told where it is read
        found.records = grouped_by_place(found.records, grids)
        return found

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.sentinel_scenes import write_series

        return write_series(root, places=max(count // 6, 5), size=max(48, size), seed=seed)


def _dates(place: Path) -> list[Path]:
    """Folders of bands, or files; where there are both with dates, the files are previews. None without any date."""
    seen = [p for p in place.iterdir() if not p.name.startswith(".")]
    for found in ([p for p in seen if p.is_dir() and band_files(p)], [p for p in seen if is_raster(p)]):
        if any(find_day(p.name) for p in found):
            return found
    return []
