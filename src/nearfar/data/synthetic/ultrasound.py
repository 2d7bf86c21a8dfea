"""The ultrasound world: fetal views of early pregnancy that are standard or not, as picture, boxes and caption.

A frame is standard where its image (blur, gain, shadow, clutter), its layout (missing, displaced, turned or small
structures) and its text (calipers, posture, plane, gestational age) all pass. Each modality shows its own factor and
nothing of the other two, so that what one, two or three of them can reach is known (`bayes_ceiling`). Frames of one
patient resemble each other and tend to fail together: a split by image would leak. Nothing here is a real patient.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nearfar.data.synthetic.folders import whole_folder
from nearfar.data.synthetic.ultrasound_acoustics import render
from nearfar.data.synthetic.ultrasound_anatomy import VIEWS, Pose, anatomy, draw_pose, move
from nearfar.data.synthetic.ultrasound_captions import caption
from nearfar.data.synthetic.ultrasound_cohorts import (
    COHORTS,
    INTERNAL,
    Ceiling,
    Cohort,
    Frame,
    Patient,
    bayes_ceiling,
    draw_patient,
)
from nearfar.data.synthetic.ultrasound_defects import Shapes, apply, condition
from nearfar.data.synthetic.ultrasound_layout import detect
from nearfar.errors import ConfigError

_SPLITS = {"val": 0.12, "test": 0.18}  # shares of the internal patients; the rest is for training
_NAMED_ABOVE = 0.45  # confidence from which a caption that lists structures names one
_TRUTH = ("sample_id", "split", "standard", "image", "image_severity", "layout", "layout_severity", "text")


@dataclass(frozen=True)
class _Options:
    seed: int
    label_noise: float
    render_layout_defects: bool
    confidence_coupling: float
    caption_lists_structures: bool


def generate(
    root: Path,
    *,
    n: int = 400,
    seed: int = 0,
    label_noise: float = 0.0,
    render_layout_defects: bool = False,
    confidence_coupling: float = 0.0,
    caption_lists_structures: bool = False,
) -> Path:
    """Write a study below `root`, which must not exist or be empty, and return it.

    `n` is the number of patients of the internal cohort of centre C0, each with three to five frames in two views:
    `train.json` (70 %), `val.json` and `test.json` (18 %), no patient in two of them. On top come `prospective.json`
    (n/4 patients of C0, later, with more standard frames) and `external_C1.json` .. `external_C5.json` (n/8 each, other
    devices, picture sizes and wording). Rows have the published fields image_path, description, class_label,
    coordinates (label, bbox in absolute pixels, confidence), and sample_id, patient_id, center, view, device, cohort,
    acquisition_date, gestational_age (weeks). Pictures are 8-bit grey PNG files in `images/`. `truth/factors.csv` has,
    for every sample_id, the label before noise, and the defect of each factor with its severity (0 mild to 1 plain).

    `label_noise` is the share of labels that are flipped, in all files. The rest brings back redundancy between
    modalities as real studies have it: `render_layout_defects` shows layout defects in the picture too,
    `confidence_coupling` (0..1) lowers the detector's confidence by up to this share in frames with an image defect,
    and `caption_lists_structures` names the detected structures. With any of the three the ceilings of single
    modalities no longer hold.

    The same arguments give the same bytes. The folder appears whole or not at all. Raises ConfigError.
    """
    root = Path(root)
    options = _Options(seed, label_noise, render_layout_defects, confidence_coupling, caption_lists_structures)
    _check(n, options)
    with whole_folder(root) as folder:
        _write(folder, n, options)
    return root


def _check(n: int, options: _Options) -> None:
    wrong = (
        ("n", n, "at least 16 patients", n >= 16),
        ("seed", options.seed, "0 or more", options.seed >= 0),
        ("label_noise", options.label_noise, "0 or more, below 0.5", 0 <= options.label_noise < 0.5),
        ("confidence_coupling", options.confidence_coupling, "0 to 1", 0 <= options.confidence_coupling <= 1),
    )
    for name, found, expected, fits in wrong:
        if not fits:
            raise ConfigError("Value out of range", where=name, found=found, expected=expected)


def _write(root: Path, n: int, options: _Options) -> None:
    (root / "images").mkdir()
    (root / "truth").mkdir()
    with (root / "truth" / "factors.csv").open("w", newline="", encoding="utf-8") as file:
        truth = csv.DictWriter(file, _TRUTH, lineterminator="\n")
        truth.writeheader()
        for name, cohort, patients in _plan(n, options.seed):
            rows = []
            for number in patients:
                patient = draw_patient(cohort, number, options.seed)
                for row, frame in _frames(root, cohort, patient, number, options):
                    rows.append(row)
                    truth.writerow(_factors(row["sample_id"], name, frame))
            (root / f"{name}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _plan(n: int, seed: int) -> Iterator[tuple[str, Cohort, list[int]]]:
    """Name of each file, its cohort, and the numbers of its patients."""
    held = {name: round(share * n) for name, share in _SPLITS.items()}
    order = np.random.default_rng([seed, 5]).permutation(n)
    start = 0
    for name, count in {"train": n - sum(held.values()), **held}.items():
        yield name, INTERNAL, sorted(int(i) for i in order[start : start + count])
        start += count
    for cohort in COHORTS[1:]:
        yield cohort.file, cohort, list(range(max(1, round(cohort.share * n))))


def _frames(
    root: Path, cohort: Cohort, patient: Patient, number: int, options: _Options
) -> Iterator[tuple[dict[str, Any], Frame]]:
    key = [options.seed, 6, COHORTS.index(cohort), number]
    for k, frame in enumerate(patient.frames):
        # One stream a purpose: what a modality shows is drawn without a glance at the factors of the others.
        picture, boxes, words, motion, layout, noise = (np.random.default_rng([*key, k, i]) for i in range(6))
        fetus, mother = (np.random.default_rng([*key, 6 + VIEWS.index(frame.view), 6 + i]) for i in range(2))
        normal = anatomy(frame.view, fetus), move(draw_pose(frame.view, cohort.center.mirror, fetus), motion)
        changed = apply(frame.layout, *normal, layout)
        pixels = render(
            *(changed if options.render_layout_defects else normal),
            scanner=patient.scanner,
            size=cohort.center.size,
            condition=condition(frame.image, picture),
            mother=mother,
            frame=picture,
        )
        found = _detections(changed, cohort, frame, boxes, options)
        named = [box["label"] for box in found if box["confidence"] > _NAMED_ABOVE]
        structures = named if options.caption_lists_structures else ()
        text = caption(frame.view, patient.age, frame.text, cohort.center.style, words, structures)
        standard = frame.standard != bool(noise.random() < options.label_noise)
        row = _row(cohort, patient, k, text, standard, found)
        Image.fromarray(pixels).save(root / row["image_path"], compress_level=4)
        yield row, frame


def _detections(
    fetus: tuple[Shapes, Pose], cohort: Cohort, frame: Frame, rng: np.random.Generator, options: _Options
) -> list[dict[str, Any]]:
    doubt = options.confidence_coupling * (frame.image.severity if frame.image else 0.0)
    return detect(*fetus, cohort.center.size, rng, trust=1 - doubt)


def _row(
    cohort: Cohort, patient: Patient, k: int, text: str, standard: bool, boxes: list[dict[str, Any]]
) -> dict[str, Any]:
    name = f"{patient.id}-{k}"
    return {
        "image_path": f"images/{name}.png",
        "description": text,
        "class_label": "standard" if standard else "non-standard",
        "coordinates": boxes,
        "sample_id": name,
        "patient_id": patient.id,
        "center": cohort.center.name,
        "view": patient.frames[k].view,
        "device": patient.scanner.name,
        "cohort": cohort.name,
        "acquisition_date": patient.day.isoformat(),
        "gestational_age": round(patient.age / 7, 2),
    }


def _factors(name: str, split: str, frame: Frame) -> dict[str, Any]:
    return {
        "sample_id": name,
        "split": split,
        "standard": int(frame.standard),
        "image": frame.image.kind if frame.image else "",
        "image_severity": frame.image.severity if frame.image else "",
        "layout": frame.layout.kind if frame.layout else "",
        "layout_severity": frame.layout.severity if frame.layout else "",
        "text": frame.text or "",
    }


__all__ = ["Ceiling", "bayes_ceiling", "generate"]
