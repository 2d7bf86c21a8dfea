"""C-SIP against SimCLR, boxes and its own encoder untrained, on generated worlds of relations: is the claim true here?

    python benchmarks/csip.py --seeds 0 1 2 3 4      # one thread, about five minutes of CPU a seed
    python benchmarks/csip.py --summary              # only print what results/csip.json holds

A seed draws a world (scenes are split 70 / 10 / 20), the initial weights and the order of training. Both methods see
the picture of a pair and its two masks as five channels, mirrored and recoloured alike, and no name of a relation.
SimCLR makes as many more or fewer epochs as fit into the CPU time that C-SIP takes, banners included.

Relations: accuracy of a linear probe on the features of the test pairs; `boxes` is a network with a hidden layer on the
coordinates of both boxes, the best that they give. Retrieval: NDCG@5 of the test pairs of other scenes, ranked for each
by the features, relevance being the cosine of the banners, (x - chance) / (1 - chance). Variants of C-SIP train for as
many steps as C-SIP. Intervals are Student's t over the paired differences of the seeds.
Writes benchmarks/results/csip.json, seed by seed, and goes on where it stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import seeds

from nearfar import configio
from nearfar.config import EvalConfig
from nearfar.data.synthetic.relations import generate
from nearfar.evaluate.banners import csip_method, embeddings_of, rankings, recall
from nearfar.evaluate.knn import normalise
from nearfar.evaluate.linear import linear_probe
from nearfar.evaluate.pair_data import Pairs, banners_of, box_features, open_pairs
from nearfar.evaluate.pair_fit import mlp_probe
from nearfar.methods.csip import CsipConfig
from nearfar.train import Run, fit

RESULTS = Path(__file__).parent / "results" / "csip.json"
SCENES = 1000
SETTINGS: dict[str, Any] = {
    "data.size": 48,
    "data.modalities": ("rgb", "masks"),
    "views.recipe": "pairs",
    "views.erase": 0.0,
    "encoder.name": "nano_cnn",
    "encoder.size": 48,
    "encoder.options": {"width": 24, "depth": 1},
    "method.head_norm": "batch",
    "train.batch_size": 128,
    "train.lr": 2e-3,
    "train.threads": 1,
    "train.health_every": 0,
}
EPOCHS = 14
NARROW: dict[str, Any] = {"method.banner_width": 16}
ARMS: dict[str, tuple[str, float, dict[str, Any]]] = {
    "untrained": ("csip", 0.0, {**NARROW, "train.freeze_encoder": 1.0}),
    "simclr": ("simclr", 1.5, {}),
    "csip": ("csip", 1.0, NARROW),
    "zero padding": ("csip", 1.0, {**NARROW, "method.banner_encoder": "zeros"}),
    "no masking": ("csip", 1.0, {**NARROW, "method.false_negatives": "none"}),
    "101 rows": ("csip", 1.0, {**NARROW, "method.rows": 101}),
}
"""preset, how many times EPOCHS it is trained, and what else is set"""
ACCURACY, NDCG = "relations, accuracy", "retrieval, NDCG@5 rescaled"


def main() -> None:
    args = seeds.parser(__doc__, ARMS, RESULTS).parse_args()
    content = seeds.run(args, world, train_and_measure, summary)
    for name, row in content["differences"].items():
        print(name, {key: {k: round(v, 4) for k, v in value.items()} for key, value in row.items()})


def world(folder: Path, seed: int) -> None:
    # World sizes and epochs were raised once, after a first look at the smaller world of seed 0.
    generate(folder, n=SCENES, seed=1000 + seed)


def summary(runs: seeds.Runs) -> dict[str, Any]:
    """The settings, and the differences made anew."""
    settings = {**SETTINGS, "train.epochs": EPOCHS, "scenes": SCENES}
    return {"settings": settings, "differences": dict(differences(runs))}


def train_and_measure(arm: str, seed: int, world: Path, folder: Path) -> dict[str, float]:
    """The figures of one arm, with the CPU seconds of its training and of its evaluation.

    `untrained` is one epoch in which the encoder does not learn; it also gets the figures that need no pictures.
    """
    preset, share, rest = ARMS[arm]
    own = {"data.root": str(world), "train.seed": seed, "train.epochs": max(1, round(EPOCHS * share))}
    config = configio.load(preset, None, {**SETTINGS, **own, **rest})
    start = time.process_time()
    run: Run = fit(config, folder)
    trained = time.process_time()
    parts = open_pairs(run, EvalConfig())
    figures = with_pictures(run, parts, seed)
    if arm == "untrained":
        figures |= without_pictures(parts, seed)
    seconds = {"train_seconds": round(trained - start, 1), "eval_seconds": round(time.process_time() - trained, 1)}
    return {**figures, **seconds}


def without_pictures(parts: dict[str, Pairs], seed: int) -> dict[str, float]:
    """Accuracy of a network on the boxes' coordinates, of a linear probe on them, of a network on banners, of one word.

    Also NDCG@5 of the pairs whose boxes are nearest, each coordinate in units of its deviation.
    """
    labels, classes = parts["train"].labels, len(parts["train"].data.classes)
    boxes = {name: box_features(part.data) for name, part in parts.items()}
    banners = {name: banner_features(part) for name, part in parts.items()}
    held = {"validation": (boxes["val"], parts["val"].labels), "seed": seed}
    drawn = {"validation": (banners["val"], parts["val"].labels), "seed": seed}
    answers = {
        "boxes": mlp_probe(boxes["train"], labels, boxes["test"], classes, **held),
        "boxes, linear": linear_probe(boxes["train"], labels, boxes["test"], classes, **held).predicted,
        "banners": mlp_probe(banners["train"], labels, banners["test"], classes, **drawn),
        "one word": np.full(len(parts["test"]), np.bincount(labels).argmax()),
    }
    spread = (boxes["test"] - boxes["train"].mean(0)) / boxes["train"].std(0)
    found = ranked(spread, spread, parts["test"])["ndcg"]["5"]["rescaled"]["value"]
    right = {name: float((answer == parts["test"].labels).mean()) for name, answer in answers.items()}
    return {**right, f"boxes, {NDCG}": found}


def ranked(queries: Any, keys: Any, test: Pairs, **options: Any) -> dict[str, Any]:
    """`rankings` by the banners of the default settings, whatever those of the method; intervals are over seeds."""
    banners = banners_of(test.data, CsipConfig())
    flat = banners.reshape(len(banners), -1)
    return rankings(queries, keys, flat, test.labels, test.images, resamples=1, **options)


def with_pictures(run: Run, parts: dict[str, Pairs], seed: int) -> dict[str, float]:
    """Accuracy of a linear probe, and NDCG@5 of pictures for a picture; for C-SIP also for a banner."""
    train, val, test = (parts[name] for name in ("train", "val", "test"))
    probe = linear_probe(
        train.z, train.labels, test.z, len(train.data.classes), validation=(val.z, val.labels), seed=seed
    )
    pictures = ranked(test.z, test.z, test)
    found = {
        ACCURACY: float((probe.predicted == test.labels).mean()),
        NDCG: pictures["ndcg"]["5"]["rescaled"]["value"],
        "NDCG@5": pictures["ndcg"]["5"]["value"],
        "NDCG@5, chance": pictures["ndcg"]["5"]["chance"],
        "mAP": pictures["map"]["value"],
    }
    method = csip_method(run)
    if method is not None:
        image, drawn = embeddings_of(method, test.z, banners_of(test.data, method.config))
        found["embeddings, NDCG@5 rescaled"] = ranked(image, image, test)["ndcg"]["5"]["rescaled"]["value"]
        sketch = ranked(drawn, image, test, same_image=True)
        found["sketch, NDCG@5 rescaled"] = sketch["ndcg"]["5"]["rescaled"]["value"]
        found["sketch, recall@1"] = recall(drawn, image, test.images, resamples=1)["1"]["value"]
    return found


def banner_features(pairs: Pairs) -> Any:
    """Banners of the default settings, every second direction, as rows."""
    banners = banners_of(pairs.data, CsipConfig())[:, :, ::2]
    return normalise(banners.reshape(len(banners), -1))


def differences(runs: seeds.Runs) -> Iterable[tuple[str, Any]]:
    """(figure, {"over ARM": {"value", "low", "high", "seeds"}}): C-SIP minus the other, paired by seed."""
    for figure, boxes in ((ACCURACY, "boxes"), (NDCG, f"boxes, {NDCG}")):
        others = {"boxes": ("untrained", boxes), **{arm: (arm, figure) for arm in ARMS if arm != "csip"}}
        if figure == ACCURACY:
            others["boxes, linear"] = ("untrained", "boxes, linear")
        gaps = {
            name: [r["csip"][figure] - r[arm][key] for r in runs.values() if {"csip", arm} <= set(r)]
            for name, (arm, key) in others.items()
        }
        yield figure, {f"over {name}": seeds.interval(values) for name, values in gaps.items() if len(values) > 1}


if __name__ == "__main__":
    main()
