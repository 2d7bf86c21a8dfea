"""SACo+ against MoCo v2 and against its own encoder untrained, on generated satellite worlds: is the claim true here?

    python benchmarks/saco.py --seeds 0 1 2 3 4      # one thread, about seven minutes of CPU a seed
    python benchmarks/saco.py --summary              # only print what results/saco.json holds

A seed draws a world (places to learn from; patches, crops and city pairs to be measured on, all of other places), the
initial weights and the order of training. MoCo v2 sees red, green and blue and makes as many more steps as fit into the
CPU time that SACo+ takes. Land cover: balanced accuracy of a linear probe, split by longitude. Segmentation: mean
IoU of a U-Net on the frozen pyramid, folds 1-3 / 4 / 5. Change: F1 at native resolution, threshold chosen on held-out
training cities. Intervals are Student's t over the paired differences of the seeds.
Writes benchmarks/results/saco.json, seed by seed, and goes on where it stopped.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import seeds

from nearfar import configio
from nearfar.data.synthetic.sentinel_layouts import write_eurosat, write_oscd, write_seco
from nearfar.data.synthetic.sentinel_pastis import write_pastis
from nearfar.evaluate import evaluate
from nearfar.train import Run, fit

RESULTS = Path(__file__).parent / "results" / "saco.json"
SETTINGS: dict[str, Any] = {
    "data.size": 44,
    "data.splits": (0.9, 0.05, 0.05),
    "encoder.size": 32,
    "encoder.name": "nano_cnn",
    "encoder.options": {"width": 16, "depth": 1},
    "views.strength": 0.2,
    "method.head_norm": "batch",
    "method.momentum": 0.95,
    "method.queue": 1,
    "train.batch_size": 64,
    "train.lr": 2e-3,
    "train.threads": 1,
    "train.health_every": 0,
    "train.checkpoint_every": 1000,
    "eval.protocol": "spatial",
    "eval.bootstrap": 100,
}
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "untrained": ("saco_plus", {"train.epochs": 1, "train.freeze_encoder": 1.0, "method.group_weight": 0.2}),
    "moco_v2": ("moco_v2", {"train.epochs": 450}),
    "saco_plus": ("saco_plus", {"train.epochs": 150, "method.group_weight": 0.2}),
}
"""preset and settings; the epochs of MoCo v2 are those that take the CPU as long as SACo+'s"""
FIGURES = {
    "land cover, balanced accuracy": ("landcover", "balanced_accuracy"),
    "segmentation, mean IoU": ("segment", "mean_iou"),
    "change, F1": ("change", "f1"),
}
TASKS = tuple(task for task, _ in FIGURES.values())


def main() -> None:
    args = seeds.parser(__doc__, ARMS, RESULTS).parse_args()
    for figure, row in seeds.run(args, generate, train_and_measure, summary)["differences"].items():
        print("\n".join(f"{figure}: {over} {value}" for over, value in row.items()))


def summary(runs: seeds.Runs) -> dict[str, Any]:
    return {"settings": SETTINGS, "differences": differences(runs)}


def generate(world: Path, seed: int) -> None:
    """Places and test sets, larger than the demonstration's, of seeds that nothing was tuned on."""
    base = 1000 + 10 * seed
    write_seco(world / "places", places=160, size=132, seed=base, compress="deflate")
    write_eurosat(world / "eurosat", per_class=60, seed=base + 1)
    write_pastis(world / "pastis", patches=40, dates=4, seed=base + 2)
    write_oscd(world / "oscd", train=12, test=8, size=128, seed=base + 3)


def train_and_measure(arm: str, seed: int, world: Path, folder: Path) -> dict[str, float]:
    """The figures of one arm, with the CPU seconds of its training and of its evaluation."""
    preset, own = ARMS[arm]
    places = {"data.root": str(world / "places")}
    roots = {f"eval.{task}": str(world / name) for task, name in zip(TASKS, ("eurosat", "pastis", "oscd"), strict=True)}
    config = configio.load(preset, None, {**SETTINGS, **own, **places, **roots, "train.seed": seed})
    start = time.process_time()
    run: Run = fit(config, folder)
    trained = time.process_time()
    metrics = evaluate(run, replace(config.eval, tasks=TASKS))
    figures = {figure: float(metrics[task][key]["value"]) for figure, (task, key) in FIGURES.items()}
    seconds = {"train_seconds": round(trained - start, 1), "eval_seconds": round(time.process_time() - trained, 1)}
    return {**figures, **seconds}


def differences(runs: seeds.Runs) -> dict[str, Any]:
    """figure -> {"over ARM": {"value", "low", "high", "seeds"}}: SACo+ minus the other, paired by seed."""
    found: dict[str, Any] = {}
    for figure in FIGURES:
        for arm in ARMS:
            pairs = [r["saco_plus"][figure] - r[arm][figure] for r in runs.values() if {"saco_plus", arm} <= set(r)]
            if arm == "saco_plus" or len(pairs) < 2:
                continue
            found.setdefault(figure, {})[f"over {arm}"] = seeds.interval(pairs)
    return found


if __name__ == "__main__":
    main()
