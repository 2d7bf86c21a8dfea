"""SpatialCLIP on generated ultrasound studies whose ceilings are known: does each modality bring its third?

    python benchmarks/spatialclip.py --seeds 0 1 2 3 4    # one thread, about ten minutes of CPU a seed
    python benchmarks/spatialclip.py --summary            # only print what results/spatialclip.json holds

A seed draws a study (400 patients of one centre, split by patient, 100 later ones, 50 of each of five other centres),
the initial weights and the order of training. A frame is standard if picture, layout and caption all are, each by a
draw of its own, so the best that a set of modalities can do is known: the area under the ROC curve of a judge who sees
the true factors of those modalities and nothing of the others. That `ceiling` is also computed on each test split, as
one of 72 patients is not like another. Fewer modalities, which have less to learn, train for 40 epochs instead of 64.

Calibration (temperature) is fitted on the validation patients. Intervals are Student's t over seeds.
Writes benchmarks/results/spatialclip.json, seed by seed, and goes on where it stopped.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import seeds
import torch
from numpy.typing import NDArray

from nearfar import configio
from nearfar.data import make_loader
from nearfar.data.study import MODALITIES, StudyDataset
from nearfar.data.study_rows import load_rows
from nearfar.data.synthetic.ultrasound import bayes_ceiling, generate
from nearfar.evaluate.calibration import calibration_error
from nearfar.evaluate.calibrators import fit_none, fit_temperature
from nearfar.evaluate.roc import roc_auc
from nearfar.methods.spatialclip import SpatialCLIP
from nearfar.presets import DEMOS
from nearfar.train import fit

RESULTS = Path(__file__).parent / "results" / "spatialclip.json"
PATIENTS = 400
SETTINGS: dict[str, Any] = {**DEMOS["spatialclip"].overrides, "train.threads": 1, "train.health_every": 0}
FACTOR = {"image": "image", "text": "text", "boxes": "layout"}
"""modality -> the column of truth/factors.csv that it alone shows"""
SETS = [part for size in (1, 2) for part in combinations(MODALITIES, size)]
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "three stages": ("spatialclip", {}),
    "one stage, frozen": ("spatialclip_frozen", {}),
    "shared encoder": ("shared_encoder", {}),
    **{"+".join(part): ("spatialclip", {"method.modalities": part, "train.epochs": 40}) for part in SETS},
    "softmax gates": ("spatialclip", {"method.fusion": "softmax"}),
}
"""name -> preset, and what else is set"""


def main() -> None:
    parser = seeds.parser(__doc__, ARMS, RESULTS)
    parser.add_argument("--patients", type=int, default=PATIENTS)
    args = parser.parse_args()
    content = seeds.run(
        args,
        lambda study, seed: generate(study, n=args.patients, seed=1000 + seed),
        train_and_measure,
        lambda runs: {"settings": SETTINGS, "ceilings": ceilings(), "summary": dict(summary(runs))},
    )
    for name, row in content["summary"].items():
        print(f"{name:18s}", {key: {k: round(v, 3) for k, v in value.items()} for key, value in row.items()})


def ceilings() -> dict[str, float]:
    """By modalities, the best that they can do."""
    return {"+".join(part): bayes_ceiling(part).roc_auc for part in [*SETS, MODALITIES]}


def train_and_measure(arm: str, seed: int, study: Path, folder: Path) -> dict[str, Any]:
    """AUC, accuracy and calibration on the test patients, AUC and calibration of every other cohort, CPU seconds."""
    preset, rest = ARMS[arm]
    own = {"data.root": str(study), "train.seed": seed}
    config = configio.load(preset, None, {**SETTINGS, **own, **rest})
    start = time.process_time()
    run = fit(config, folder)
    seconds = round(time.process_time() - start, 1)
    method = run.method()
    assert isinstance(method, SpatialCLIP)
    val, test = (logits(method, run.dataset(split)) for split in ("val", "test"))
    calibrator = fit_temperature(*val[::-1])
    seen = config.method.modalities
    figures = {**scores(test, calibrator), "ceiling": realised(study, run.dataset("test"), seen), "seconds": seconds}
    cohorts = {}
    for path in sorted([study / "prospective.json", *study.glob("external_*.json")]):
        data = load_rows(path, config.data, missing_ok=False, channels=len(method.encoder.channels))
        cohorts[path.stem] = scores(logits(method, data), calibrator)
    return {**figures, "cohorts": cohorts}


def logits(method: SpatialCLIP, data: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits and labels [n]."""
    loader = make_loader(data, batch_size=64, sampler="sequential")
    parts = [(method.predict(batch)["logit"], batch["label"]) for batch in loader]
    made, labels = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return made.astype(np.float64), labels


def scores(judged: tuple[NDArray[np.float64], NDArray[np.int64]], calibrator: Any) -> dict[str, float]:
    z, labels = judged
    raw, calibrated = fit_none(labels, z).apply(z), calibrator.apply(z)
    return {
        "auc": roc_auc(labels, z),
        "accuracy": float(((z > 0) == labels).mean()),
        "ece_raw": calibration_error(labels, raw, bins=10),
        "ece": calibration_error(labels, calibrated, bins=10),
    }


def realised(study: Path, data: StudyDataset, seen: tuple[str, ...]) -> float:
    """AUC, on these very frames, of who sees whether the factors of these modalities pass, and nothing else."""
    with (study / "truth" / "factors.csv").open(newline="", encoding="utf-8") as file:
        truth = {row["sample_id"]: row for row in csv.DictReader(file)}
    passing = [all(not truth[id][FACTOR[name]] for name in seen) for id in data.ids]
    return roc_auc(np.asarray(data.labels), np.array(passing, dtype=np.float64))


def summary(runs: seeds.Runs) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    """By arm: mean and interval of each figure, of AUC minus the ceiling of the frames, of three stages minus it."""
    for arm in ARMS:
        found = {seed: run[arm] for seed, run in runs.items() if arm in run}
        if not found:
            continue
        row = {
            name: seeds.interval([r[name] for r in found.values()])
            for name in ("auc", "accuracy", "ece_raw", "ece", "seconds")
        }
        row["auc_minus_ceiling"] = seeds.interval([r["auc"] - r["ceiling"] for r in found.values()])
        whole = [
            runs[seed]["three stages"]["auc"] - r["auc"] for seed, r in found.items() if "three stages" in runs[seed]
        ]
        if whole and arm != "three stages":
            row["three_stages_minus_it"] = seeds.interval(whole)
        for cohort in next(iter(found.values()))["cohorts"]:
            row[f"{cohort}, auc"] = seeds.interval([r["cohorts"][cohort]["auc"] for r in found.values()])
            row[f"{cohort}, ece"] = seeds.interval([r["cohorts"][cohort]["ece"] for r in found.values()])
        yield arm, row


if __name__ == "__main__":
    main()
