"""The layout of EuroSAT, with 13 bands or in colour.

Helber, Bischke, Dengel, Borth: EuroSAT, IEEE JSTARS 2019. The files have the bands in the order B01 ... B09, B10, B11,
B12, B8A (not B8A after B08). The spatial split is by longitude, 60/20/20, as torchgeo publishes it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.optics import Optics, first_readable
from nearfar.data.patches import PatchDataset, read_patch
from nearfar.data.rasterfile import rasterio, reading
from nearfar.data.readers.base import Problem, Reader, Scan, no_images, root_of, subfolders
from nearfar.errors import ConfigError, DataError, did_you_mean
from nearfar.spatial.bands import band_order

SENSOR = "sentinel2_l1c"
CLASSES = (
    *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"),
    *("Pasture", "PermanentCrop", "Residential", "River", "SeaLake"),
)
PLACES = ("", "ds/images/remote_sensing/otherDatasets/sentinel_2/tif", "tif", "EuroSATallBands", "EuroSAT", "2750")
"""where the class folders lie below the root"""
_SUFFIXES = (".tif", ".tiff", ".jpg")
_SHARES = (0.6, 0.2, 0.2)


class EuroSAT(Reader):
    """EuroSAT: .../CLASS/CLASS_N.tif, 13 bands (or .jpg), eurosat-{train,val,test}.txt, eurosat-spatial-*.txt."""

    name = "eurosat"
    priority = 40
    needs = "rasterio"

    def recognises(self, root: Path) -> bool:
        return root.is_dir() and _class_folders(root) != []

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        if config.protocol not in ("official", "spatial"):
            fix = did_you_mean(config.protocol, ("official", "spatial"))
            what = "unknown protocol"
            raise ConfigError(
                what, where="data.protocol", found=config.protocol, expected="official | spatial", fix=fix
            )
        found = Scan([], tuple(folder.name for folder in _class_folders(root)), look_alikes=False)
        for label, folder in enumerate(_class_folders(root)):
            for path in _patches(folder):
                found.records.append(Record(f"{folder.name}/{path.stem}", (path,), label))
        if not found.records:
            found.problems.append(no_images(root))
            return found
        _split(found, root, config)
        optics = partial(_optics, config, [record.paths[0] for record in found.records])
        found.build = partial(_build, optics, found.classes)
        found.read = _Decoder(optics)
        return found

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.sentinel_layouts import write_eurosat

        return write_eurosat(root, per_class=max(count // 10, 4), regions=4, seed=seed)


class _Decoder:
    """Patches for checks, as [H, W, C]."""

    def __init__(self, optics: partial[Optics]) -> None:
        self._make, self._optics = optics, None

    _optics: Optics | None

    def __call__(self, path: Path) -> NDArray[np.generic]:
        self._optics = self._optics or self._make()
        return np.moveaxis(read_patch(self._optics, path)[0], 0, -1)


def _optics(config: DataConfig, paths: list[Path]) -> Optics:
    orders = [band_order("eurosat"), ("B04", "B03", "B02")]
    return first_readable(lambda path: Optics.of(config, path, SENSOR, orders), paths)


def _build(
    optics: partial[Optics], classes: tuple[str, ...], records: list[Record], config: DataConfig, root: Path
) -> PatchDataset:
    return PatchDataset(records, optics(), classes, root, size=config.size)


def _class_folders(root: Path) -> list[Path]:
    for place in PLACES:
        found = [folder for folder in subfolders(root / place) if folder.name in CLASSES]
        if found and len(found) == len(subfolders(root / place)) and _patches(found[0]):
            return found
    return []


def _patches(folder: Path) -> list[Path]:
    """By number: CLASS_2 comes before CLASS_10."""
    paths = [p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and not p.name.startswith(".")]
    return sorted(paths, key=lambda p: (len(p.stem), p.stem))


def _split(found: Scan, root: Path, config: DataConfig) -> None:
    kind = "spatial-" if config.protocol == "spatial" else ""
    tables = {split: root / f"eurosat-{kind}{split}.txt" for split in ("train", "val", "test")}
    tables = {split: table for split, table in tables.items() if table.is_file()}
    if "train" in tables and "test" in tables:
        _by_lists(found, tables)
    elif tables:
        what = f"of the lists of the split there are but {', '.join(t.name for t in tables.values())}"
        found.problems.append(Problem(root, what, "Add the others, or remove them all."))
    elif config.protocol == "spatial":
        _by_longitude(found)


def _by_lists(found: Scan, tables: dict[str, Path]) -> None:
    split_of: dict[str, str] = {}
    for split, table in tables.items():
        for name in table.read_text(encoding="utf-8").split():
            other = split_of.setdefault(Path(name).stem, split)
            if other != split:
                found.problems.append(Problem(table, f"{name} is in {other} too", "Keep a patch in one split."))
    here = {record.paths[0].stem for record in found.records}
    lost = [name for name in split_of if name not in here]
    stray = [record for record in found.records if record.paths[0].stem not in split_of]
    folder = next(iter(tables.values())).parent
    if lost:
        what = f"{len(lost)} patches of the lists are not there, such as {lost[0]}"
        found.problems.append(Problem(folder, what, "Unpack the data anew if it should be whole.", fatal=False))
    if stray:
        what = f"{len(stray)} patches are in no list"
        found.problems.append(Problem(stray[0].paths[0], what, "They are not read.", fatal=False))
    found.records = [replace(r, split=split_of[r.paths[0].stem]) for r in found.records if r.paths[0].stem in split_of]


def _by_longitude(found: Scan) -> None:
    try:
        east = np.array([_longitude(record.paths[0]) for record in found.records])
    except DataError as error:
        found.problems.append(Problem.of(error, ""))
        return
    bounds = np.quantile(east, np.cumsum(_SHARES)[:2])
    parts = np.searchsorted(bounds, east, side="left")
    found.records = [
        replace(r, split=("train", "val", "test")[part]) for r, part in zip(found.records, parts, strict=True)
    ]


def _longitude(path: Path) -> float:
    """Of the patch's centre, in degrees."""
    with reading(path), rasterio().open(path) as file:
        if file.crs is None:
            fix = "Add the lists eurosat-spatial-{train,val,test}.txt, or use the official protocol."
            raise DataError("the patch does not say where it lies", where=path, fix=fix)
        west, _, east, _ = import_module("rasterio.warp").transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    return float(west + east) / 2
