"""Labelled scenes: images of any size with a class for every pixel, or with what changed between two dates.

`open_scenes` reads them window by window for the tasks segment and change; `open_dataset` of the same data gives
windows of them as samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.optics import first_readable
from nearfar.data.readers.base import Problem, Reader, Scan, root_of
from nearfar.data.sample import Channels
from nearfar.errors import ConfigError, DataError, ShapeError, did_you_mean

IGNORED = 255
"""target of a pixel that does not count"""
Kind = Literal["segment", "change"]
Colours = tuple[tuple[int, int, int], ...]


class Source(ABC):
    """What reads the scenes of one format: windows of pixels and of classes."""

    channels: Channels
    classes: tuple[str, ...]
    kind: Kind
    sensor: str
    colours: Colours | None
    gsd: float

    @abstractmethod
    def shape(self, record: Record) -> tuple[int, int]:
        """Rows and columns. Raises DataError where the parts of a scene do not fit each other."""

    @abstractmethod
    def days(self, record: Record) -> tuple[int, ...]:
        """The dates as `date.toordinal` counts them; numbers from 0 where they are not known."""

    @abstractmethod
    def pixels(self, record: Record, rows: slice, cols: slice) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(reflectance [T, C, h, w], 0 where not valid; valid [T, h, w])"""

    @abstractmethod
    def target(self, record: Record, rows: slice, cols: slice) -> NDArray[np.int64]:
        """[h, w], positions in `classes`, IGNORED where a pixel does not count. Raises DataError for other values."""


@dataclass(frozen=True)
class LabelledScene:
    """One scene, not in memory: `read` gives windows."""

    id: str
    split: str
    """train, val or test"""
    group: str
    """scenes of one group are never in two splits"""
    times: int
    """number of dates: 2 of a change, 1 or more of a map"""
    shape: tuple[int, int]
    """rows, columns"""
    days: tuple[int, ...] = field(compare=False)
    record: Record = field(repr=False, compare=False)
    source: Source = field(repr=False, compare=False)

    def read(self, rows: slice, cols: slice) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]:
        """(reflectance float32 [T, C, h, w], valid bool [T, h, w], target int64 [h, w], 255 = does not count).

        Raises ShapeError for a window beyond the scene, DataError for a damaged file.
        """
        for window, size in zip((rows, cols), self.shape, strict=True):
            if not 0 <= window.start < window.stop <= size or window.step not in (None, 1):
                raise ShapeError("the window is not inside the scene", where=self.id, found=window, expected=size)
        pixels, valid = self.source.pixels(self.record, rows, cols)
        return pixels, valid, self.source.target(self.record, rows, cols)


@dataclass(frozen=True)
class SceneSet:
    """All scenes of a data set, and what is common to them."""

    scenes: tuple[LabelledScene, ...]
    channels: Channels
    classes: tuple[str, ...]
    kind: Kind
    sensor: str
    """by name, or the YAML file that describes it"""
    colours: Colours | None
    """red, green, blue of each class, where the format has colours"""
    gsd: float
    """metres a pixel"""

    def of_split(self, split: str) -> tuple[LabelledScene, ...]:
        """The scenes of train, val or test. Raises ConfigError for another name, DataError where there is none."""
        if split not in ("train", "val", "test"):
            fix = did_you_mean(split, ("train", "val", "test"))
            raise ConfigError(f"unknown split {split!r}", expected="train | val | test", fix=fix)
        chosen = tuple(scene for scene in self.scenes if scene.split == split)
        if not chosen:
            where = self.scenes[0].record.paths[0].parent if self.scenes else None
            raise DataError(
                f"no scene is in the {split} split",
                where=where,
                found=f"{len(self.scenes)} scenes",
                fix="Set --data.splits, or add scenes.",
            )
        return chosen


def open_scenes(config: DataConfig) -> SceneSet:
    """The labelled scenes below `config.root`, each with its split; of their files the headers are read.

    Splits that the data set publishes are kept; validation scenes are taken from training where it has none, never
    from test. Raises ConfigError where the format has no labelled scenes, DataError for the first fatal problem.
    """
    from nearfar.data.open import assign_splits
    from nearfar.data.readers import READERS, find_reader

    reader = find_reader(config.format, root_of(config))
    if not isinstance(reader, SceneReader):
        names = [name for name, other in READERS.items() if isinstance(other, SceneReader)]
        raise ConfigError(
            f"the layout {reader.name!r} has no labelled scenes",
            where=config.root,
            expected=" | ".join(names),
            fix="Set --data.format where the layout is one of these.",
        )
    scan = reader.scan(config)
    fatal = [problem for problem in scan.problems if problem.fatal]
    if fatal:
        raise DataError(fatal[0].what, where=fatal[0].path, fix=fatal[0].fix)
    source = _Lazy(reader, config, scan.records)()
    return scenes_of(assign_splits(scan.records, config, scan), source)


def scenes_of(records: Sequence[Record], source: Source) -> SceneSet:
    """The scenes of records that have a split."""
    scenes = tuple(
        LabelledScene(
            id=record.id,
            split=record.split or "train",
            group=record.group,
            times=len(days),
            shape=source.shape(record),
            days=days,
            record=record,
            source=source,
        )
        for record in records
        for days in [source.days(record)]
    )
    kind, gsd = source.kind, source.gsd
    return SceneSet(scenes, source.channels, source.classes, kind, source.sensor, source.colours, gsd)


class SceneReader(Reader):
    """Base of the readers of labelled scenes: `find` lists them, `source` reads them."""

    needs = "rasterio"

    @abstractmethod
    def find(self, root: Path, config: DataConfig, found: Scan) -> Iterable[Record]:
        """The scenes below `root`: `paths` as `source` takes them, `mask` the file with the classes.

        Problems go to `found`.
        """

    @abstractmethod
    def source(self, config: DataConfig, record: Record) -> Source:
        """What reads the scenes; `record` is one of them, whose bands all must have."""

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        found = Scan([], (), look_alikes=False)
        found.records += self.find(root, config, found)
        if not found.records:
            found.problems.append(Problem(root, "no labelled scene found", "Check --data.root."))
            return found
        source = _Lazy(self, config, found.records)
        found.build = partial(_build, source)
        found.read = partial(_read, source, {path: r for r in found.records for path in r.paths})
        found.examine = partial(_examine, source)
        return found


class _Lazy:
    """The source, made when pixels are first asked for."""

    def __init__(self, reader: SceneReader, config: DataConfig, records: list[Record]) -> None:
        self.reader, self.config, self.records = reader, config, records
        self._found: Source | None = None

    def __call__(self) -> Source:
        if self._found is None:
            self._found = first_readable(lambda record: self.reader.source(self.config, record), self.records)
        return self._found


def _build(source: _Lazy, records: list[Record], config: DataConfig, root: Path) -> Any:
    from nearfar.data.scene_windows import SceneDataset

    return SceneDataset(records, source(), root, size=config.size, dates=config.dates)


def _read(source: _Lazy, records: dict[Path, Record], path: Path) -> NDArray[Any]:
    """One path of a scene as [H, W, C], the mean of its dates: scenes have different numbers of them."""
    record = replace(records[path], paths=(path,))
    height, width = source().shape(record)
    pixels, valid = source().pixels(record, slice(0, height), slice(0, width))
    if not valid.any():
        raise DataError("no pixel has data in every band", where=path, fix="Remove this scene.")
    return np.moveaxis(pixels.mean(axis=0), 0, -1)


def _examine(source: _Lazy, record: Record) -> Iterator[Problem]:
    try:
        height, width = source().shape(record)
        target = source().target(record, slice(0, height), slice(0, width))
    except DataError as error:
        yield Problem.of(error, record.mask or record.paths[0])
        return
    if (target == IGNORED).all():
        what = "no pixel has a class that counts"
        yield Problem(record.mask or record.paths[0], what, "Remove this scene.", fatal=False)


__all__ = ["IGNORED", "LabelledScene", "SceneReader", "SceneSet", "Source", "open_scenes", "scenes_of"]
