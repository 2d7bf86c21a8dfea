"""The layout of SeCo and CACo: a folder a place, a folder a date, a file a band.

Manas, Lacoste, Giro-i-Nieto, Vazquez, Rodriguez: Seasonal Contrast, ICCV 2021; Mall, Hariharan, Bala: Change-Aware
Sampling and Contrastive Learning for Satellite Images, CVPR 2023.
"""

from __future__ import annotations

from pathlib import Path

from nearfar.config import DataConfig
from nearfar.data.naming import find_day
from nearfar.data.optics import band_files
from nearfar.data.places import scan_places
from nearfar.data.readers.base import Reader, Scan, root_of
from nearfar.spatial.sensors import sensor

SENSOR = "sentinel2_l2a"


class SeCo(Reader):
    """SeCo and CACo: ROOT/PLACE/DATE.../{B1,...,B12}.tif, 8 bit, each band at its own resolution."""

    name = "seco"
    priority = 40
    needs = "rasterio"

    def recognises(self, root: Path) -> bool:
        if not root.is_dir():
            return False
        for place in sorted(p for p in root.iterdir() if p.is_dir() and p.name.isdigit())[:3]:
            for folder in _dates(place):
                return sum(sensor(SENSOR).find(p.stem) is not None for p in band_files(folder)) > 1
        return False

    def scan(self, config: DataConfig) -> Scan:
        return scan_places(root_of(config), config, _dates, SENSOR)

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.sentinel_layouts import write_seco

        return write_seco(root, places=max(count // 6, 3), size=max(48, -(-size // 6) * 6), seed=seed)


def _dates(place: Path) -> list[Path]:
    # Beside the folders SeCo has previews, and a demonstration its truth.
    return [p for p in place.iterdir() if p.is_dir() and find_day(p.name)]
