"""Classification from frozen embeddings: labels of the train split as given, judged on the test split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import IntArray
from nearfar.evaluate.embed import run_embeddings
from nearfar.evaluate.embeddings import Embeddings, save_arrays
from nearfar.evaluate.knn import knn_predict
from nearfar.evaluate.linear import linear_probe
from nearfar.evaluate.metrics import classification_report

if TYPE_CHECKING:
    from nearfar.train.run import Run


def predictions(embeddings: Embeddings, config: EvalConfig) -> tuple[Embeddings, dict[str, IntArray], dict[str, Any]]:
    """The labelled test samples, the class that each classifier gives them, and how the classifiers were set.

    Classifiers: `knn` (neighbours weighted by similarity), `knn_majority`, `linear`. They learn from the given labels
    of the train split; the probe's C is chosen on the val split where it has labels. Raises DataError where train or
    test labels are missing, or train has one class.
    """
    train, val, test = (_labelled(embeddings.of_split(split)) for split in ("train", "val", "test"))
    for name, part in (("train", train), ("test", test)):
        if not len(part):
            raise DataError("nothing to classify", found=f"no labelled sample in the {name} split")
    k, classes = min(config.k, len(train)), len(embeddings.classes)
    held_out = (val.z, val.label) if len(val) else None
    probe = linear_probe(train.z, train.label, test.z, classes, validation=held_out, seed=config.seed)
    predicted = {
        "knn": knn_predict(train.z, train.label, test.z, classes, k=k),
        "knn_majority": knn_predict(train.z, train.label, test.z, classes, k=k, weighting="majority"),
        "linear": probe.predicted,
    }
    return test, predicted, {"k": k, "C": probe.strength, "train_samples": len(train)}


def reports(
    test: Embeddings, predicted: dict[str, IntArray], settings: dict[str, Any], config: EvalConfig
) -> dict[str, Any]:
    """A `classification_report` for each classifier, of what `predictions` returns.

    Where true labels are known for every test sample they are what is scored ("scored_against": "true labels"), and
    the same reports against the labels as given stand in "against_given_labels".
    """
    known = bool((test.true_label >= 0).all())
    report: dict[str, Any] = {"scored_against": "true labels" if known else "given labels", **settings}
    report |= _reports(test.true_label if known else test.label, predicted, test.classes, config)
    if known:
        report["against_given_labels"] = _reports(test.label, predicted, test.classes, config)
        report["wrong_test_labels"] = int((test.true_label != test.label).sum())
    return report


def classify_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """`classify` on a run's embeddings; the test predictions go to arrays/predictions.npz, for paired comparisons.

    Its arrays, a row a test sample: id, label, true_label, and the class that knn, knn_majority and linear give.
    """
    found = predictions(run_embeddings(run, dataset), config)
    test, predicted, _ = found
    columns = {"id": test.id, "label": test.label, "true_label": test.true_label, **predicted}
    save_arrays(run.arrays / "predictions.npz", **columns, classes=np.array(test.classes, dtype=np.str_))
    return reports(*found, config)


def _reports(
    truth: IntArray, predicted: dict[str, IntArray], classes: tuple[str, ...], config: EvalConfig
) -> dict[str, Any]:
    options: dict[str, Any] = {"resamples": config.bootstrap, "confidence": config.confidence, "seed": config.seed}
    return {name: classification_report(truth, guess, classes, **options) for name, guess in predicted.items()}


def _labelled(part: Embeddings) -> Embeddings:
    return part.where(np.flatnonzero(part.label >= 0))
