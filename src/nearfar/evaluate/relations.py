"""Recognising spatial relations: which predicate holds between two objects, from frozen features of the picture.

Beside the probes stand what needs no picture (the most frequent word, the two boxes) and what no picture tells better
(the force banner of the masks). Intervals draw whole images, since pairs of one image are alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.errors import ConfigError
from nearfar.evaluate.bootstrap import FloatArray, IntArray, bootstrap_mean
from nearfar.evaluate.embed import run_encoder
from nearfar.evaluate.embeddings import save_arrays
from nearfar.evaluate.linear import Probe, linear_probe
from nearfar.evaluate.metrics import classification_report, paired_difference
from nearfar.evaluate.pair_data import (
    Pairs,
    banner_settings,
    banners_of,
    box_features,
    fitting,
    labelled,
    open_pairs,
    pictures_of,
)
from nearfar.evaluate.pair_fit import finetuned, mlp_probe

if TYPE_CHECKING:
    from nearfar.train.run import Run

SHOWN = 3  # test pairs of each class kept for pictures
COMPONENTS = 64
"""principal components of a banner that its probe sees"""

Features = dict[str, NDArray[Any]]
"""by split"""


def relations_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """Probes of the test pairs' relations, baselines, and the paired difference of the linear probe and the boxes.

    `linear` (strength chosen on the validation pairs) and `mlp` see the features, `finetune` (`config.finetune`) the
    pictures; by the same network as `mlp`, `boxes` sees the coordinates alone and `banner` the force banner of the
    masks; `majority` sees nothing. Each is a `classification_report`; where a generated world tells all words that fit,
    `fitting` is the share of answers that do, and `ceiling` the accuracy that no method exceeds on average. Where the
    data ask whether one predicate holds, all of them are told which.

    The data are those of `config.pairs`, else the run's. Writes arrays/relations.npz: `id`, `true`, `image`, `classes`,
    `predicted/NAME` [n], and of some pairs, at `shown` [k], `picture` uint8 [k, S, S, 3] and `masks` [k, 2, M, M].
    Raises DataError where the data are no pairs or train or test have no relations.
    """
    parts = labelled(open_pairs(run, config, dataset))
    train, test = parts["train"], parts["test"]
    predicted, settings = predictions(run, parts, config)
    shown = np.concatenate([np.flatnonzero(test.labels == c)[:SHOWN] for c in range(len(test.data.classes))])
    picture, masks = pictures_of(test.data, shown)
    save_arrays(
        run.arrays / "relations.npz",
        id=np.array(test.data.ids, dtype=np.str_),
        true=test.labels,
        image=test.images,
        classes=np.array(test.data.classes, dtype=np.str_),
        shown=shown,
        picture=picture,
        masks=masks,
        **{f"predicted/{name}": guess for name, guess in predicted.items()},
    )
    options: dict[str, Any] = {"clusters": test.images, "resamples": config.bootstrap, "confidence": config.confidence}
    classes = test.data.classes
    section: dict[str, Any] = {
        name: classification_report(test.labels, guess, classes, seed=config.seed, **options)
        for name, guess in predicted.items()
    }
    known = fitting(test.data)
    if known is not None:
        for name, guess in predicted.items():
            right = known[0][np.arange(len(test)), guess]
            section[name]["fitting"] = bootstrap_mean(right, seed=config.seed, **options)
        section["ceiling"] = known[1]
    section["minus_boxes"] = {
        metric: paired_difference(
            test.labels,
            predicted["linear"],
            predicted["boxes"],
            len(classes),
            metric=metric,
            seed=config.seed,
            **options,
        )
        for metric in ("accuracy", "balanced_accuracy")
    }
    counts = {f"{name}_pairs": len(part) for name, part in parts.items()}
    return {**section, **settings, **counts, "train_images": len(np.unique(train.images))}


def predictions(run: Run, parts: dict[str, Pairs], config: EvalConfig) -> tuple[dict[str, IntArray], dict[str, Any]]:
    """Classes of the test pairs by the name of who says so, and how the probes were set."""
    seed = config.seed
    probe = _linear({name: _told(part.z, part, crossed=True) for name, part in parts.items()}, parts, seed)
    found = {
        "linear": probe.predicted.astype(np.int64),
        "mlp": _mlp({name: _told(part.z, part) for name, part in parts.items()}, parts, seed),
    }
    if config.finetune:
        if parts["train"].asked is not None:
            raise ConfigError(
                "fine-tuning cannot be told the predicate that is asked about",
                where="eval.finetune",
                fix="Take the nine relations: --protocol official.",
            )
        found["finetune"] = finetuned(run_encoder(run), parts, (probe.weight, probe.bias), seed)
    found["boxes"] = _mlp({name: _told(box_features(part.data), part) for name, part in parts.items()}, parts, seed)
    banners = _banner_features(run, parts)
    found["banner"] = _mlp({name: _told(banners[name], part) for name, part in parts.items()}, parts, seed)
    found["majority"] = majority(parts["train"], parts["test"])
    return found, {"C": probe.strength}


def majority(train: Pairs, test: Pairs) -> IntArray:
    """The most frequent class of the training pairs [m], where one is asked about of those with the same question."""
    classes = len(train.data.classes)
    if train.asked is None or test.asked is None:
        return np.full(len(test), np.bincount(train.labels, minlength=classes).argmax(), dtype=np.int64)
    table = np.zeros((len(train.data.predicates), classes))
    np.add.at(table, (train.asked, train.labels), 1)
    return np.asarray(table.argmax(1)[test.asked], dtype=np.int64)


def _told(features: NDArray[Any], pairs: Pairs, crossed: bool = False) -> NDArray[Any]:
    """Features [n, D], with the predicate that is asked about where there is one; `crossed`: a copy for each."""
    asked = pairs.asked
    if asked is None:
        return features
    which = np.eye(len(pairs.data.predicates))[asked]
    rest = (which[:, :, None] * features[:, None]).reshape(len(features), -1) if crossed else features
    return np.concatenate([rest, which], axis=1)


def _linear(features: Features, parts: dict[str, Pairs], seed: int) -> Probe:
    held = (features["val"], parts["val"].labels) if "val" in parts else None
    classes = len(parts["train"].data.classes)
    return linear_probe(features["train"], parts["train"].labels, features["test"], classes, validation=held, seed=seed)


def _mlp(features: Features, parts: dict[str, Pairs], seed: int) -> IntArray:
    held = (features["val"], parts["val"].labels) if "val" in parts else None
    classes = len(parts["train"].data.classes)
    return mlp_probe(features["train"], parts["train"].labels, features["test"], classes, validation=held, seed=seed)


def _banner_features(run: Run, parts: dict[str, Pairs]) -> dict[str, FloatArray]:
    """The first principal components of the training banners, by split."""
    from sklearn.decomposition import PCA

    settings = banner_settings(run)
    flat = {name: banners_of(part.data, settings).reshape(len(part), -1) for name, part in parts.items()}
    count = min(COMPONENTS, *flat["train"].shape)
    pca = PCA(count, svd_solver="randomized", random_state=0).fit(flat["train"][:4000])
    return {name: pca.transform(rows) for name, rows in flat.items()}
