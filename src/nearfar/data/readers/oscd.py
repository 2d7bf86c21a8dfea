"""The layout of the Onera Satellite Change Detection dataset.

Daudt, Le Saux, Boulch, Gousseau: Urban Change Detection for Multispectral Earth Observation Using Convolutional Neural
Networks, IGARSS 2018. Sentinel-2 L1C, 14 cities for training and 10 for testing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.naming import find_day
from nearfar.data.optics import Optics, band_files
from nearfar.data.rasters import Legend, RasterSource
from nearfar.data.readers.base import Problem, Scan, subfolders
from nearfar.data.scenes import SceneReader, Source

BASE = "Onera Satellite Change Detection dataset"
SENSOR = "sentinel2_l1c"
CITIES = {
    "train": (
        *("aguasclaras", "bercy", "bordeaux", "nantes", "paris", "rennes", "saclay_e"),
        *("abudhabi", "cupertino", "pisa", "beihai", "hongkong", "beirut", "mumbai"),
    ),
    "test": (
        *("brasilia", "montpellier", "norcia", "rio", "saclay_w"),
        *("valencia", "dubai", "lasvegas", "milano", "chongqing"),
    ),
}
_LEGEND = Legend({0: 0, 1: 0, 2: 1, 255: 1})
"""cm.png says 0 and 255, CITY-cm.tif 1 and 2"""


class OSCD(SceneReader):
    """OSCD: .../CITY/imgs_{1,2}_rect/{B01..B8A}.tif, .../CITY/cm/cm.png, train.txt and test.txt with the cities."""

    name = "oscd"
    priority = 40

    def recognises(self, root: Path) -> bool:
        return root.is_dir() and any(True for _ in _cities(root))

    def find(self, root: Path, config: DataConfig, found: Scan) -> Iterable[Record]:
        splits = _splits(root, config)
        for city in _cities(root):
            split = splits.get(city.name)
            mask = _labels(root, city)
            if mask is None:
                what = f"there is no map of change of {city.name}"
                found.problems.append(Problem(city, what, "Add its cm/cm.png; it is not read.", fatal=False))
                continue
            dates = tuple(_images(city, number) for number in (1, 2))
            yield Record(city.name, dates, group=city.name, split=split, mask=mask)

    def source(self, config: DataConfig, record: Record) -> Source:
        optics = Optics.of(config, record.paths[0], SENSOR)
        colours = ((128, 128, 128), (255, 0, 0))
        about = {"kind": "change", "sensor": config.sensor or SENSOR, "colours": colours}
        return _Pairs.of(record, optics, ("unchanged", "changed"), _LEGEND, **about)

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.sentinel_layouts import write_oscd

        return write_oscd(root, train=3, test=1, size=max(96, -(-size // 6) * 6), seed=seed)


class _Pairs(RasterSource):
    def days(self, record: Record) -> tuple[int, ...]:
        """The last words of dates.txt, where it is there."""
        table = record.paths[0].parent / "dates.txt"
        if not table.is_file():
            return super().days(record)
        found = [find_day(line.split()[-1]) for line in table.read_text(encoding="utf-8").splitlines() if line.strip()]
        days = [day.toordinal() for day in found if day]
        return tuple(days) if len(days) == len(record.paths) else super().days(record)


def _cities(root: Path) -> Iterator[Path]:
    base = root / f"{BASE} - Images"
    for folder in subfolders(base if base.is_dir() else root):
        if all(_images(folder, number).is_dir() for number in (1, 2)):
            yield folder


def _images(city: Path, number: int) -> Path:
    """The folder with all bands at 10 m, or the one with the native ones, which are then interpolated."""
    rect = city / f"imgs_{number}_rect"
    return rect if rect.is_dir() and band_files(rect) else city / f"imgs_{number}"


def _labels(root: Path, city: Path) -> Path | None:
    folders = [root / f"{BASE} - {part} Labels" / city.name / "cm" for part in ("Train", "Test")]
    folders += [root / "labels" / city.name / "cm", city / "cm"]
    files = [folder / name for folder in folders for name in (f"{city.name}-cm.tif", "cm.png")]
    return next((file for file in files if file.is_file()), None)


def _splits(root: Path, config: DataConfig) -> dict[str, str]:
    """City -> split, by train.txt and test.txt; without them the published cities. Others are divided as asked.

    Some cities of training (at least one of several) are for validation, never one of test.
    """
    here = {city.name for city in _cities(root)}
    cities: dict[str, str] = {}
    for split, names in CITIES.items():
        tables = [folder / f"{split}.txt" for folder in (root / f"{BASE} - Images", root)]
        table = next((table for table in tables if table.is_file()), None)
        listed = table.read_text(encoding="utf-8").replace(",", " ").split() if table else names
        cities |= dict.fromkeys((name for name in listed if name in here), split)
    training = sorted(name for name, split in cities.items() if split == "train")
    train, val, _ = config.splits
    if val > 0 and len(training) > 1:
        count = max(1, round(len(training) * val / (train + val)))
        order = np.random.default_rng(config.split_seed).permutation(len(training))
        cities |= {training[i]: "val" for i in order[:count]}
    return cities
