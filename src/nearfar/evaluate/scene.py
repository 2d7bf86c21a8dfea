"""Maps of whole scenes: a run's head applied window by window, from GeoTIFF to GeoTIFF.

Memory is that of one window, whatever the size of the scene. The map has the CRS and transform of the finest band, 255
where any band has no data, and appears under its name only when it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nearfar.data.optics import metres_a_pixel
from nearfar.data.rasterfile import profile, writing
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.legend import class_colours
from nearfar.evaluate.scene_files import SceneOptions, SceneReader, check_same_grid
from nearfar.evaluate.windowed import Array, Mask, spans, windowed

NODATA = 255
PROBABILITY_SCALE = 10_000  # probabilities are stored as uint16: value / 10000, 65535 where there is no data
NO_PROBABILITY = 65535
PLAIN = SceneOptions()
Progress = Callable[[int, int], None]


class PixelClassifier(Protocol):
    """What makes a map: `nearfar.evaluate.heads.Predictor`, or anything like it."""

    @property
    def task(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        """of the classes; empty: chosen by their names"""
        ...

    @property
    def times(self) -> int:
        """dates that it needs at least; for change exactly 2"""
        ...

    @property
    def bands(self) -> tuple[str, ...]:
        """by name, of `sensor`"""
        ...

    @property
    def sensor(self) -> str: ...
    @property
    def size_multiple(self) -> int:
        """height and width of what it is given are multiples of it"""
        ...

    @property
    def statistics(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """mean and standard deviation [C] that it was trained on, where it knows them"""
        ...

    def __call__(self, pixels: NDArray[np.float32], valid: Mask) -> NDArray[np.float32]:
        """Reflectance [T, C, h, w] and valid [T, h, w] to probabilities [K, h, w]."""
        ...


@dataclass(frozen=True)
class SceneMap:
    """What was written."""

    target: Path
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    """pixels a class"""
    without_data: int
    metres: float | None
    """height of a pixel on the ground, None where the files do not say"""
    substituted: tuple[tuple[str, str], ...] = ()
    """(wanted band, band taken for it)"""
    probabilities: Path | None = None


@dataclass
class _Maps:
    """The open files, and what they were given so far."""

    map: Any
    probabilities: Any
    counts: NDArray[np.int64]

    def write(self, rows: slice, cols: slice, values: Array, valid: Mask) -> None:
        window = (rows.start, rows.stop), (cols.start, cols.stop)
        chosen = values.argmax(0)
        self.counts += np.bincount(chosen[valid], minlength=len(self.counts))
        self.map.write(np.where(valid, chosen, NODATA).astype(np.uint8), 1, window=window)
        if self.probabilities is not None:
            stored = np.round(np.clip(values, 0, 1) * PROBABILITY_SCALE)
            filled = np.where(valid, stored, NO_PROBABILITY).astype(np.uint16)
            self.probabilities.write(filled, window=window)


def predict_scene(
    predictor: PixelClassifier,
    scenes: Sequence[Path | Sequence[Path]],
    target: Path,
    *,
    options: SceneOptions = PLAIN,
    window: int = 512,
    overlap: int = 64,
    probabilities: Path | None = None,
    progress: Progress | None = None,
) -> SceneMap:
    """Write the map of a scene (or of a pair, for change) as GeoTIFF: uint8, the class's index, 255 without data.

    `scenes`: as many dates as the predictor needs, oldest first, each as `SceneReader` takes it. There is data where
    one date has some, for change where both have. The map has a colour a class and the names of the classes as
    metadata. `probabilities`: a second file, uint16 [K, H, W], probability * 10000
    (the file says so). `window`, `overlap`: pixels, as in `nearfar.evaluate.windowed`; the window is rounded up to a
    size that the predictor takes. `progress(done, of)` is called before every window.

    Raises ConfigError for a number of scenes or sizes that do not fit, DataError for scenes that cannot be read, lack a
    band or lie on different grids, NearfarError where the map cannot be written; no part of a file stays then.
    """
    _check(predictor, len(scenes))
    multiple = max(int(predictor.size_multiple), 1)
    window = -(-window // multiple) * multiple
    with ExitStack() as stack:
        readers = [
            stack.enter_context(SceneReader(_paths(scene), predictor.bands, predictor.sensor, options))
            for scene in scenes
        ]
        check_same_grid(readers)
        _match(predictor, readers, options)
        shape = readers[0].grid.shape
        maps = _open(stack, predictor, readers, target, probabilities)
        read = _counted(_stacked(readers, predictor.task == "change"), shape, window, overlap, progress)
        windowed(read, maps.write, shape, _Padded(predictor, multiple), window, overlap)
    crs = readers[0].grid.crs
    return SceneMap(
        target,
        tuple(predictor.classes),
        tuple(maps.counts.tolist()),
        shape[0] * shape[1] - int(maps.counts.sum()),
        metres_a_pixel(readers[0].grid) if crs is not None else None,
        _substituted(readers),
        probabilities,
    )


def _substituted(readers: Sequence[SceneReader]) -> tuple[tuple[str, str], ...]:
    return tuple(dict.fromkeys(pair for reader in readers for pair in reader.plan.substituted))


def _paths(scene: Path | Sequence[Path]) -> list[Path]:
    return [scene] if isinstance(scene, Path) else list(scene)


def _check(predictor: PixelClassifier, scenes: int) -> None:
    change = predictor.task == "change"
    if scenes < predictor.times or (change and scenes > predictor.times):
        raise ConfigError(
            f"{predictor.task} needs another number of scenes",
            found=scenes,
            expected=f"{predictor.times}{'' if change else ' or more'}",
            fix="Give the later scene with --second." if scenes == 1 else None,
        )
    if not 0 < len(predictor.classes) < NODATA:
        raise ConfigError("A map holds 1 to 254 classes", where=predictor.task, found=len(predictor.classes))


def _match(predictor: PixelClassifier, readers: Sequence[SceneReader], options: SceneOptions) -> None:
    if options.statistics == "run":
        return
    if predictor.statistics is None:
        raise ConfigError(
            "the head does not say what it was trained on", where="statistics", fix="Use those of the run."
        )
    for reader in readers:
        reader.match(*predictor.statistics)


def _stacked(readers: Sequence[SceneReader], everywhere: bool) -> Callable[[slice, slice], tuple[Array, Mask]]:
    def read(rows: slice, cols: slice) -> tuple[Array, Mask]:
        parts = [reader.read(rows, cols) for reader in readers]
        valid = np.stack([known for _, known in parts])
        # `windowed` hands on one mask for all dates; NaN carries the mask of each to the predictor.
        pixels = np.where(valid[:, None], np.stack([pixels for pixels, _ in parts]), np.float32(np.nan))
        return pixels, np.asarray(valid.all(0) if everywhere else valid.any(0))

    return read


def _counted(
    read: Callable[[slice, slice], tuple[Array, Mask]],
    shape: tuple[int, int],
    window: int,
    overlap: int,
    progress: Progress | None,
) -> Callable[[slice, slice], tuple[Array, Mask]]:
    if progress is None or min(shape) < 1 or not 0 <= overlap < window:
        return read
    total, done = len(spans(shape[0], window, overlap)) * len(spans(shape[1], window, overlap)), 0

    def counting(rows: slice, cols: slice) -> tuple[Array, Mask]:
        nonlocal done
        progress(done, total)
        done += 1
        return read(rows, cols)

    return counting


class _Padded:
    """A predictor for windows of any size, which checks what comes back."""

    def __init__(self, predictor: PixelClassifier, multiple: int) -> None:
        self.predictor, self.multiple = predictor, multiple

    def __call__(self, pixels: Array, _: Mask) -> Array:
        height, width = pixels.shape[-2:]
        pad = (0, -height % self.multiple), (0, -width % self.multiple)
        valid = np.pad(np.isfinite(pixels).all(1), ((0, 0), *pad))
        padded = np.pad(np.nan_to_num(pixels), ((0, 0), (0, 0), *pad), mode="edge")
        values = np.asarray(self.predictor(padded, valid))
        expected = (len(self.predictor.classes), *valid.shape[1:])
        if values.shape != expected:
            raise ShapeError("The predictor returned another shape", found=values.shape, expected=expected)
        values = values[:, :height, :width]
        if not np.isfinite(values).all():
            raise DataError("The predictor returned NaN", where=self.predictor.task, fix="Train the head anew.")
        return values


def _open(
    stack: ExitStack,
    predictor: PixelClassifier,
    readers: Sequence[SceneReader],
    target: Path,
    probabilities: Path | None,
) -> _Maps:
    grid, classes = readers[0].grid, list(predictor.classes)
    tags = {"TASK": predictor.task, "CLASSES": json.dumps(classes), "SOURCE": ", ".join(r.name for r in readers)}
    swapped = _substituted(readers)
    if swapped:
        tags["SUBSTITUTED_BANDS"] = ", ".join(f"{wanted}={used}" for wanted, used in swapped)
    file = stack.enter_context(writing(target, profile(grid, 1, "uint8", NODATA, "deflate")))
    file.update_tags(**tags)
    file.update_tags(1, **{f"CLASS_{i}": name for i, name in enumerate(classes)})
    file.set_band_description(1, predictor.task)
    file.write_colormap(
        1,
        {i: (*map(int, c), 255) for i, c in enumerate(predictor.colours or class_colours(classes))}
        | {NODATA: (0, 0, 0, 0)},
    )
    second = None
    if probabilities is not None:
        description = profile(grid, len(classes), "uint16", NO_PROBABILITY, "deflate")
        second = stack.enter_context(writing(probabilities, description))
        second.update_tags(**tags)
        second.scales = (1 / PROBABILITY_SCALE,) * len(classes)
        for i, name in enumerate(classes):
            second.set_band_description(i + 1, name)
    return _Maps(file, second, np.zeros(len(classes), np.int64))
