"""Checking a study: 10,000 rows of six boxes each, images looked up and their headers read, none decoded.

    python benchmarks/study_check.py [--rows 10000]

The rows are valid, which is the slowest case: every rule is asked of every box. Images are files of their own, PNG of
320 x 256. "first" is a process's first check, "again" another one of the same files, whose headers are remembered.
"decoded" also decodes every image, for damage and leaks, on the first rows alone. CPU and wall times of one thread.
Writes benchmarks/results/study_check.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nearfar.data.study_check import validate, validate_splits

RESULTS = Path(__file__).parent / "results" / "study_check.json"
TARGET = 5.0
"""seconds for 10,000 rows"""
BOXES, DECODED, IMAGES = 6, 500, 50
SPLITS = (("train", 0.7), ("val", 0.85), ("test", 1.0))


def write_study(folder: Path, count: int) -> dict[str, Path]:
    """A valid study of `count` images, of which `IMAGES` differ and the others are copies, in three files."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    sources = []
    for number in range(IMAGES):
        Image.fromarray(rng.integers(0, 255, (256, 320), dtype=np.uint8)).save(folder / f"{number}.png")
        sources.append((folder / f"{number}.png").read_bytes())
    rows = [_row(number, rng) for number in range(count)]
    for number, row in enumerate(rows):
        (folder / row["image_path"]).write_bytes(sources[number % IMAGES])
    files, start = {}, 0
    for split, share in SPLITS:
        files[split] = folder / f"{split}.json"
        files[split].write_text(json.dumps(rows[start : round(share * count)]), encoding="utf-8")
        start = round(share * count)
    return files


def _row(number: int, rng: np.random.Generator) -> dict[str, Any]:
    corners = np.sort(rng.uniform(0, 250, (BOXES, 2, 2)), axis=1).reshape(BOXES, 4) + np.array([0, 0, 1, 1])
    boxes = [
        {"label": label, "bbox": [float(v) for v in box], "confidence": 0.9}
        for label, box in zip(("CB", "CP1", "CP2", "CF", "NT", "NB"), corners, strict=True)
    ]
    return {
        "image_path": f"images/{number:06d}.png",
        "description": "axial view of the fetal head, six structures",
        "class_label": ("standard", "non-standard")[number % 2],
        "coordinates": boxes,
        "patient_id": f"p{number:06d}",
        "center": f"C{number % 7 // 2}",
        "acquisition_date": "2025-03-31",
    }


def timed(check: Callable[[], list[Any]]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    findings = check()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "findings": len(findings)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10000)
    count = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        files = write_study(Path(folder), count)
        first = timed(lambda: validate_splits(files))
        again = timed(lambda: validate_splits(files))
        few = json.loads(files["train"].read_text())[:DECODED]
        decoded = timed(lambda: validate(few, image_root=Path(folder), decode=True))
    results = {"rows": count, "boxes": BOXES, "first": first, "again": again, "decoded": {"rows": len(few)} | decoded}
    results |= {"target": TARGET, "reached": first["wall"] * 10000 / count < TARGET, "cpus": os.cpu_count()}
    for name, told in (("first", first), ("again", again), (f"decoded ({len(few)} rows)", decoded)):
        print(f"{name:20} {told['wall']:6.2f} s  {told['cpu']:6.2f} s CPU  {told['findings']:.0f} findings")
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
