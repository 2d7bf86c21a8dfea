"""Folders of places with dates in them, as the readers of time series list them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.naming import find_day
from nearfar.data.optics import SUFFIXES, Optics, first_readable
from nearfar.data.readers.base import Problem, Scan
from nearfar.data.series import Ground, SeriesDataset, same_ground
from nearfar.errors import DataError


def scan_places(root: Path, config: DataConfig, dates_of: Callable[[Path], list[Path]], sensor: str) -> Scan:
    """The places below `root`: folders in which `dates_of` finds dates. `sensor`: where `config` names none."""
    found = Scan([], (), look_alikes=False)
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if paths := _by_day(dates_of(folder), found):
            found.records.append(Record(folder.name, tuple(paths), group=folder.name))
    if not found.records:
        what = "no place with dates found"
        found.problems.append(Problem(root, what, "Put PLACE/DATE folders or files there, or check --data.root."))
        return found
    optics = _Lazy(config, [record.paths[0] for record in found.records], sensor)
    found.build = partial(_build, optics)
    found.read = partial(_read, optics)
    found.examine = partial(_examine, optics, config)
    return found


def is_raster(path: Path) -> bool:
    """Whether the name is that of a GeoTIFF or JPEG 2000 file."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


class _Lazy:
    """The optics of the data, looked up in its first whole file when pixels are first asked for."""

    def __init__(self, config: DataConfig, paths: list[Path], sensor: str) -> None:
        self.config, self.paths, self.sensor = config, paths, sensor
        self._found: Optics | None = None

    def __call__(self) -> Optics:
        if self._found is None:
            self._found = first_readable(lambda path: Optics.of(self.config, path, self.sensor), self.paths)
        return self._found


def _by_day(paths: list[Path], found: Scan) -> list[Path]:
    """In order of time, one a day."""
    dated: dict[int, Path] = {}
    for path in sorted(paths):
        day = find_day(path.name)
        if day is None:
            fix = "Name it YYYYMMDD or YYYY-MM-DD; it is not read."
            found.problems.append(Problem(path, "the name has no date", fix, fatal=False))
        elif day.toordinal() in dated:
            what = f"the same day as {dated[day.toordinal()].name}"
            found.problems.append(Problem(path, what, "Keep one of them; the second is not read.", fatal=False))
        else:
            dated[day.toordinal()] = path
    return [dated[day] for day in sorted(dated)]


def _build(optics: _Lazy, records: list[Record], config: DataConfig, root: Path) -> SeriesDataset:
    return SeriesDataset(records, optics(), (), root, size=config.size, dates=config.dates)


def _read(optics: _Lazy, path: Path) -> NDArray[np.generic]:
    with optics().open(path) as scene:
        height, width = scene.grid.shape
        pixels, valid = scene.read(slice(0, height), slice(0, width))
    if not valid.any():
        raise DataError("no pixel has data in every band", where=path, fix="Remove this date.")
    return np.moveaxis(np.where(valid, pixels, 0), 0, -1)


def _examine(optics: _Lazy, config: DataConfig, record: Record) -> Iterator[Problem]:
    if len(record.paths) < max(config.dates, 1):
        what = f"the place has {len(record.paths)} dates, and {config.dates} are to be drawn"
        yield Problem(record.paths[0].parent, what, "Lower --data.dates, or remove the place.")
    grounds: list[tuple[Ground, Path]] = []
    for path in record.paths:
        try:
            with optics().open(path) as scene:
                grounds.append((Ground.of(scene, 1.0), path))
            same_ground(grounds[-1][0], grounds[0][0], path, grounds[0][1])
        except DataError as error:
            if grounds and grounds[-1][1] == path:  # what cannot be opened is already told
                yield Problem.of(error, path)
