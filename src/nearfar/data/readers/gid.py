"""The layouts of GID: large scenes of Gaofen-2 with 5 or 15 classes, told by colours.

Tong, Xia, Lu, Shen, Li, You, Zhang: Land-cover classification with high-resolution remote sensing images using
transferable deep models, Remote Sensing of Environment 2020.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.optics import Optics
from nearfar.data.rasters import Legend, RasterSource
from nearfar.data.readers.base import SPLITS, Problem, Scan, subfolders
from nearfar.data.scenes import IGNORED, SceneReader, Source
from nearfar.spatial.bands import band_order

SENSOR = "gaofen2"
IMAGES = ("image_RGB", "image_NirRGB", "img_dir", "images")
COLOURS_5 = {
    **{"built-up": (255, 0, 0), "farmland": (0, 255, 0), "forest": (0, 255, 255)},
    **{"meadow": (255, 255, 0), "water": (0, 0, 255)},
}
COLOURS_15 = {
    **{"industrial land": (200, 0, 0), "urban residential": (250, 0, 150), "rural residential": (200, 150, 150)},
    **{"traffic land": (250, 150, 150), "paddy field": (0, 200, 0), "irrigated land": (150, 250, 0)},
    **{"dry cropland": (150, 200, 150), "garden plot": (200, 0, 200), "arbor woodland": (150, 0, 250)},
    **{"shrub land": (150, 150, 250), "natural grassland": (250, 200, 0), "artificial grassland": (200, 200, 0)},
    **{"river": (0, 0, 200), "lake": (0, 150, 200), "pond": (0, 200, 250)},
}
_SUFFIXES = (".tif", ".tiff", ".png")


class GID5(SceneReader):
    """GID with 5 classes: image_RGB/NAME.tif, label_5classes/NAME_label.tif in colours; black does not count."""

    name = "gid5"
    priority = 35
    colours: ClassVar[dict[str, tuple[int, int, int]]] = COLOURS_5
    folders: ClassVar[tuple[str, ...]] = ("label_5classes", "label", "ann_dir")
    marks: ClassVar[str] = r"(?<!_15)_?5?label$"
    """regular expression of what a file with classes has after the name of its image"""

    def recognises(self, root: Path) -> bool:
        return any(True for _ in self._labels(root))

    def find(self, root: Path, config: DataConfig, found: Scan) -> Iterable[Record]:
        for base, label in self._labels(root):
            stem = re.sub(self.marks, "", label.stem)
            image = _image(base, label, stem)
            if image is None:
                what = f"there is no image {stem} for these classes"
                found.problems.append(Problem(label, what, f"Add it to {base / IMAGES[0]}.", fatal=False))
                continue
            yield Record(stem, (image,), group=stem, split=SPLITS.get(label.parent.name), mask=label)

    def source(self, config: DataConfig, record: Record) -> Source:
        orders = [
            band_order("gid_nirrgb" if "nir" in record.paths[0].parts[-2].lower() else "gid"),
            band_order("gid15"),
        ]
        optics = Optics.of(config, record.paths[0], SENSOR, orders)
        colours = tuple(self.colours.values())
        # Files of one channel count from 1; 0, as black, is what nobody labelled.
        values = {0: IGNORED} | {k + 1: k for k in range(len(colours))}
        legend = Legend(values, {(0, 0, 0): IGNORED} | {colour: k for k, colour in enumerate(colours)})
        about = {"sensor": config.sensor or SENSOR, "colours": colours}
        return RasterSource.of(record, optics, tuple(self.colours), legend, **about)

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        from nearfar.data.synthetic.sentinel_scenes import write_gid

        return write_gid(root, classes=len(self.colours), scenes=max(count // 6, 5), size=max(96, size), seed=seed)

    def _labels(self, root: Path) -> Iterator[tuple[Path, Path]]:
        """(folder with the folders of images and classes, file with classes)"""
        for base in [root, *subfolders(root), *(deep for one in subfolders(root) for deep in subfolders(one))]:
            for name in self.folders:
                for path in sorted((base / name).rglob("*")):
                    if path.suffix.lower() in _SUFFIXES and re.search(self.marks, path.stem):
                        yield base, path


class GID15(GID5):
    """GID with 15 classes: image_RGB/NAME.tif or img_dir/SPLIT/NAME.tif, with NAME_15label.tif or .png."""

    name = "gid15"
    priority = 36
    colours = COLOURS_15
    folders = ("label_15classes", "ann_dir", "label")
    marks = r"_15label$"


def _image(base: Path, label: Path, stem: str) -> Path | None:
    splits = {label.parent.name, ""} if label.parent.name in SPLITS else {""}
    folders = [base / name / split for name in IMAGES for split in sorted(splits, reverse=True)]
    files = [folder / f"{stem}{suffix}" for folder in folders for suffix in _SUFFIXES]
    return next((file for file in files if file.is_file()), None)
