"""The layout of MVTec AD: good training images, good and defective test images with masks of the defects.

Bergmann, Fauser, Sattlegger, Steger: MVTec AD, a comprehensive real-world dataset for unsupervised anomaly detection,
CVPR 2019.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearfar.config import DataConfig
from nearfar.data.dataset import Record
from nearfar.data.readers.base import (
    SPLITS,
    Problem,
    Reader,
    Scan,
    holds_images,
    image_files,
    no_images,
    root_of,
    subfolders,
)
from nearfar.data.synthetic import tiny

GOOD = "good"


class MVTec(Reader):
    """MVTec AD: ROOT/train/good, ROOT/test/{good,DEFECT}, ROOT/ground_truth/DEFECT/NNN_mask.png."""

    name = "mvtec"
    priority = 30

    def recognises(self, root: Path) -> bool:
        return [p.name for p in subfolders(root / "train")] == [GOOD] and (root / "test").is_dir()

    def scan(self, config: DataConfig) -> Scan:
        root = root_of(config)
        parts = [part for part in subfolders(root) if part.name in SPLITS]
        defects = {c.name for part in parts for c in subfolders(part) if holds_images(c)} - {GOOD}
        found = Scan([], (GOOD, *sorted(defects)), open_set=True)
        for part in sorted(parts, key=lambda p: ("train", "val", "test").index(SPLITS[p.name])):
            for folder in subfolders(part):
                _scan_class(found, root, folder, SPLITS[part.name])
        if not found.records:
            found.problems.append(no_images(root))
        found.problems += _orphans(root, found)
        return found

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        for number, item in enumerate(tiny.items(count, size, seed)):
            name = f"{number:03d}"
            if item.label:
                tiny.save(root / "test" / item.class_name / f"{name}.png", item.rgb)
                mask = item.mask.astype(np.uint8)[..., None] * np.uint8(255)
                tiny.save(root / "ground_truth" / item.class_name / f"{name}_mask.png", mask)
            else:
                tiny.save(root / ("test" if number % 4 == 0 else "train") / GOOD / f"{name}.png", item.rgb)
        return root


def _scan_class(found: Scan, root: Path, folder: Path, split: str) -> None:
    paths = image_files(folder)
    if not paths:
        found.problems.append(Problem(folder, "the class folder holds no images", "Remove it or fill it.", fatal=False))
        return
    label = found.classes.index(folder.name)
    masked = label > 0 and (root / "ground_truth").is_dir()
    for path in paths:
        mask = root / "ground_truth" / folder.name / f"{path.stem}_mask.png" if masked else None
        if mask is not None and not mask.is_file():
            fix = f"Add the mask of {path.relative_to(root)}, or remove ground_truth altogether."
            found.problems.append(Problem(mask, "the mask is missing", fix))
        found.records.append(Record(path.relative_to(root).as_posix(), (path,), label, split=split, mask=mask))


def _orphans(root: Path, found: Scan) -> list[Problem]:
    used = {record.mask for record in found.records}
    return [
        Problem(mask, "the mask belongs to no image", "Remove it, or add the image.", fatal=False)
        for mask in image_files(root / "ground_truth")
        if mask not in used
    ]
