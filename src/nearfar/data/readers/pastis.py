"""The layout of PASTIS: series of a season as NumPy arrays, with a crop for every pixel.

Sainte Fare Garnot, Landrieu: Panoptic Segmentation of Satellite Image Time Series with Convolutional Temporal Attention
Networks, ICCV 2021. Sentinel-2 L2A at 10 m, ten bands. Folds 1 to 3 are training, 4 validation, 5 test.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.naming import find_day
from nearfar.data.optics import choose_bands, named_channels
from nearfar.data.readers.base import Problem, Scan
from nearfar.data.scenes import IGNORED, SceneReader, Source
from nearfar.errors import DataError
from nearfar.spatial.bands import band_order
from nearfar.spatial.sensors import sensor

SENSOR = "sentinel2_l2a"
CLASSES = (
    *("background", "meadow", "soft winter wheat", "corn", "winter barley", "winter rapeseed", "spring barley"),
    *("sunflower", "grapevine", "beet", "winter triticale", "winter durum wheat", "fruits, vegetables, flowers"),
    *("potatoes", "leguminous fodder", "soybeans", "orchard", "mixed cereal", "sorghum"),
)
VOID = 19
"""of parcels that mostly lie outside a patch: does not count"""
SPLIT_OF_FOLD = {1: "train", 2: "train", 3: "train", 4: "val", 5: "test"}
TABLE = "metadata.geojson"
_MISSING = -10000


class PASTIS(SceneReader):
    """PASTIS: DATA_S2/S2_ID.npy [T, 10, 128, 128], ANNOTATIONS/TARGET_ID.npy, metadata.geojson with folds and dates."""

    name = "pastis"
    priority = 40

    def recognises(self, root: Path) -> bool:
        return (root / "DATA_S2").is_dir() and (root / TABLE).is_file()

    def find(self, root: Path, config: DataConfig, found: Scan) -> Iterable[Record]:
        listed = set()
        for number, about in sorted(_metadata(root / TABLE).items()):
            series, target = root / f"DATA_S2/S2_{number}.npy", root / f"ANNOTATIONS/TARGET_{number}.npy"
            listed.add(series)
            missing = next((path for path in (series, target) if not path.is_file()), None)
            if missing is not None:
                fix = "Unpack the data anew if it should be whole; the patch is not read."
                found.problems.append(Problem(missing, f"patch {number} has no such file", fix, fatal=False))
                continue
            split = SPLIT_OF_FOLD.get(about.get("Fold", 0))
            yield Record(str(number), (series,), group=str(number), split=split, mask=target)
        for path in sorted((root / "DATA_S2").glob("S2_*.npy")):
            if path not in listed:
                what = f"the patch is not in {TABLE}"
                found.problems.append(Problem(path, what, "It is not read: its dates are unknown.", fatal=False))

    def source(self, config: DataConfig, record: Record) -> Source:
        return _Patches(config, record.paths[0].parent.parent)

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.sentinel_pastis import write_pastis

        return write_pastis(root, patches=5, dates=max(count // 9, 3), seed=seed)


class _Patches(Source):
    kind = "segment"
    classes = CLASSES
    gsd = 10.0
    colours = None

    def __init__(self, config: DataConfig, root: Path) -> None:
        self.root, self.sensor = root, config.sensor or SENSOR
        self._device = sensor(self.sensor)
        self._positions, names = choose_bands(config.bands, band_order("pastis"), self._device, root)
        self._scale = config.scale
        self.channels = named_channels(self._device, names)
        self._about = _metadata(root / TABLE)

    def shape(self, record: Record) -> tuple[int, int]:
        path, series = record.paths[0], _open(record.paths[0], 4)
        if series.shape[1] != len(band_order("pastis")):
            raise DataError("the patch has another number of bands", where=path, found=series.shape[1], expected=10)
        if len(series) != len(self._days(record)):
            what = f"the patch has another number of dates than {TABLE} says"
            raise DataError(what, where=path, found=len(series), expected=len(self._days(record)))
        height, width = series.shape[-2:]
        if record.mask is not None and (target := _open(record.mask, 3)).shape[1:] != (height, width):
            what = "the classes have another size than the patch"
            raise DataError(what, where=record.mask, found=target.shape[1:], expected=(height, width))
        return height, width

    def days(self, record: Record) -> tuple[int, ...]:
        return self._days(record)

    def pixels(self, record: Record, rows: slice, cols: slice) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        numbers = _open(record.paths[0], 4)[:, :, rows, cols]
        known = numbers > _MISSING
        valid = known.all(axis=1) & (numbers != 0).any(axis=1)
        chosen = numbers[:, list(self._positions)]
        if self._scale is not None:
            pixels = chosen.astype(np.float32) / np.float32(self._scale)
        else:
            pixels = self._device.reflectance(chosen)
        return np.where(valid[:, None], pixels, np.float32(0)), valid

    def target(self, record: Record, rows: slice, cols: slice) -> NDArray[np.int64]:
        if record.mask is None:
            return np.full((rows.stop - rows.start, cols.stop - cols.start), IGNORED, np.int64)
        classes = np.asarray(_open(record.mask, 3)[0, rows, cols]).astype(np.int64)
        if (strange := np.unique(classes[(classes < 0) | (classes > VOID)])).size:
            raise DataError(
                "there is no such class", where=record.mask, found=strange.tolist(), expected=f"0 to {VOID}"
            )
        return np.where(classes == VOID, IGNORED, classes)

    def _days(self, record: Record) -> tuple[int, ...]:
        dates = self._about.get(int(record.id), {}).get("dates-S2") or {}
        found = [find_day(str(dates[key])) for key in sorted(dates, key=int)]
        if not found or None in found:
            raise DataError(f"the dates of patch {record.id} are missing or wrong", where=self.root / TABLE)
        return tuple(day.toordinal() for day in found if day)


def _open(path: Path, dimensions: int) -> NDArray[Any]:
    """The array, not in memory. Raises DataError."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError("the array cannot be read", where=path, found=str(error), fix="Get the file anew.") from None
    if not isinstance(array, np.ndarray) or array.ndim != dimensions or array.dtype.kind not in "iu":
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise DataError(
            "not an array of PASTIS", where=path, found=found, expected=f"integers, {dimensions} dimensions"
        )
    return np.asarray(array) if array.size == 0 else array


def _metadata(path: Path) -> dict[int, dict[str, Any]]:
    """Number of a patch -> what the table says of it. Raises DataError."""
    try:
        return _parsed(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = "the table of patches cannot be read"
        raise DataError(what, where=path, found=f"{type(error).__name__}: {error}", fix="Get it anew.") from None


@lru_cache(maxsize=4)
def _parsed(path: Path, time: int) -> dict[int, dict[str, Any]]:
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    tables = [feature["properties"] for feature in features]
    return {int(about.get("ID_PATCH") or about["id"]): about for about in tables}
