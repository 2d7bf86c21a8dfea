"""Studies in the format SpatialCLIP publishes: JSON files of images with captions, detected structures and a class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nearfar.config import DataConfig
from nearfar.data.dataset import Record, SampleDataset
from nearfar.data.readers.base import Problem, Reader, Scan, root_of
from nearfar.data.study import CLASSES, OBJECT_CLASSES, StudyDataset, StudyRecord
from nearfar.data.study_content import content_findings
from nearfar.data.study_rules import FIXES, Finding, Rules
from nearfar.data.study_scan import examine
from nearfar.data.study_sheets import SPLITS, rules_of, sheet_paths
from nearfar.errors import DataError

_SNIFF = 4096  # characters in which the first row of a study shows


class Study(Reader):
    """Study: train.json, val.json, test.json of images with captions, boxes and standard | non-standard.

    `data.train`, `data.val` and `data.test` name files that lie elsewhere or have other names; a root that is one JSON
    file is divided by `data.splits`, patients kept together.
    """

    name = "study"
    priority = 55
    reads_files = True

    def recognises(self, root: Path) -> bool:
        files = [root] if root.suffix.lower() == ".json" else [root / f"{split}.json" for split in SPLITS]
        return any(_is_study(path) for path in files if path.is_file())

    def scan(self, config: DataConfig) -> Scan:
        root, paths, rules = root_of(config), sheet_paths(config), rules_of(config)
        if not paths:
            raise DataError(
                "there is no file of samples", where=root, expected=" or ".join(f"{s}.json" for s in SPLITS)
            )
        found = examine(paths, rules, config.image_root)
        return Scan(
            list(found.records),
            CLASSES,
            problems=[as_problem(finding) for finding in found.findings],
            grouped=True,
            build=lambda records, config, root: _dataset(records, config, root, rules),
            review=lambda: map(as_problem, content_findings(found.sheets)),
            look_alikes=not all(record.patient for record in found.records),
        )

    def write_example(self, root: Path, *, count: int = 24, size: int = 16, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        (root / "images").mkdir(parents=True, exist_ok=True)
        rows = [_example_row(root, number, size, rng) for number in range(count)]
        cuts = (0, count * 6 // 10, count * 8 // 10, count)
        for split, low, high in zip(SPLITS, cuts, cuts[1:], strict=False):
            (root / f"{split}.json").write_text(json.dumps(rows[low:high], indent=1), encoding="utf-8")
        return root


def as_problem(finding: Finding) -> Problem:
    """The finding as a problem, which stands at the image where that cannot be read, and otherwise in the JSON file."""
    what = f"{finding.code}: {finding.message}"
    return Problem(
        finding.path or finding.location,
        f"{finding.location}: {what}" if finding.path else what,
        FIXES[finding.code],
        fatal=finding.level == "error",
        code=finding.code,
        level=finding.level,
        location=finding.location,
    )


def _dataset(records: list[Record], config: DataConfig, root: Path, rules: Rules) -> SampleDataset:
    return StudyDataset(
        [record for record in records if isinstance(record, StudyRecord)],
        rules.object_classes,
        root,
        size=config.size,
        max_objects=rules.max_objects,
        scale=config.scale,
    )


def _is_study(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        start = file.read(_SNIFF)
    return start.lstrip()[:1] == "[" and '"image_path"' in start and '"coordinates"' in start


def _example_row(root: Path, number: int, size: int, rng: np.random.Generator) -> dict[str, Any]:
    """An image whose disc is bright where the class is standard, with one box round the disc."""
    standard, height, width = bool(number % 2), size, size + size // 4
    tissue = rng.integers(20, 90, (6, 7)).astype(np.uint8)
    pixels = np.array(Image.fromarray(tissue).resize((width, height), Image.Resampling.NEAREST))
    radius = max(2, size // 5)
    x, y = (int(rng.integers(radius, side - radius)) for side in (width, height))
    rows, columns = np.mgrid[:height, :width]
    pixels[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = 255 if standard else 140
    name = f"images/s{number:04d}.png"
    Image.fromarray(pixels).save(root / name)
    label = OBJECT_CLASSES[number % 13]
    return {
        "image_path": name,
        "description": f"{label} in the {'middle' if standard else 'dark'}",
        "class_label": CLASSES[standard],
        "coordinates": [{"label": label, "bbox": _round(x, y, radius, width, height), "confidence": 0.9}],
        "patient_id": f"p{number:04d}",
        "center": f"C{number % 3}",
    }


def _round(x: int, y: int, radius: int, width: int, height: int) -> list[int]:
    return [x - radius, y - radius, min(x + radius + 1, width), min(y + radius + 1, height)]
