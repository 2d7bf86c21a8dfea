"""Classification of a run: which labels teach, which judge, and what is left when they are missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nearfar.config import EvalConfig
from nearfar.errors import DataError
from nearfar.evaluate.classify import classify_task, predictions, reports
from nearfar.evaluate.compare import compare_runs
from nearfar.evaluate.embeddings import Embeddings
from nearfar.train.run import Run

CONFIG = EvalConfig(k=5, bootstrap=50)


def blobs(n: int = 90, flipped: float = 0.2) -> Embeddings:
    """Three clear clusters; a share of all labels is wrong, and the truth is known."""
    rng = np.random.default_rng(0)
    true = np.arange(n) % 3
    label = np.where(rng.random(n) < flipped, (true + 1) % 3, true)
    z = np.eye(3, 6, dtype=np.float32)[true] * 5 + rng.normal(0, 0.3, (n, 6)).astype(np.float32)
    split = np.array(["train", "train", "val", "test", "test"])[np.arange(n) // 3 % 5]
    return Embeddings(z, label, true, split, np.arange(n).astype(str), np.arange(n), ("a", "b", "c"))


def test_true_labels_judge_what_given_labels_taught() -> None:
    found = predictions(blobs(), CONFIG)
    report = reports(*found, CONFIG)
    test = found[0]
    assert report["scored_against"] == "true labels"
    assert report["knn"]["accuracy"]["value"] == np.mean(found[1]["knn"] == test.true_label) >= 0.95
    given = report["against_given_labels"]["knn"]["accuracy"]["value"]
    assert given == np.mean(found[1]["knn"] == test.label) < 0.95
    assert report["wrong_test_labels"] == (test.label != test.true_label).sum() > 0
    assert set(report["linear"]) >= {"accuracy", "balanced_accuracy", "macro", "per_class", "confusion"}


def test_without_truth_the_given_labels_judge_and_are_named() -> None:
    data = blobs()
    unknown = replace(data, true_label=np.full(90, -1))
    report = reports(*predictions(unknown, CONFIG), CONFIG)
    assert report["scored_against"] == "given labels" and "against_given_labels" not in report


def test_unlabelled_samples_take_no_part() -> None:
    data = blobs(flipped=0)
    label = data.label.copy()
    label[:45:2] = -1
    test, predicted, settings = predictions(replace(data, label=label), CONFIG)
    assert len(test) == len(predicted["linear"]) == ((data.split == "test") & (label >= 0)).sum()
    assert settings["train_samples"] == ((data.split == "train") & (label >= 0)).sum()


def test_what_cannot_be_classified_is_named() -> None:
    data = blobs()
    with pytest.raises(DataError, match="no labelled sample in the test split"):
        predictions(data.where(data.split == "train"), CONFIG)
    with pytest.raises(DataError, match="two classes"):
        predictions(replace(data, label=np.zeros(90, dtype=np.int64)), CONFIG)


def test_more_neighbours_than_samples_are_cut() -> None:
    _, _, settings = predictions(blobs(), replace(CONFIG, k=500))
    assert settings["k"] == 36


def test_a_run_is_classified_and_compared_with_another(make_run: Callable[..., Run]) -> None:
    first, second = make_run("first"), make_run("second", seed=1)
    assert compare_runs(first, second) == {}
    ours, theirs = (classify_task(run, run.config.eval) for run in (first, second))
    difference = compare_runs(first, second)
    exact = ours["knn"]["accuracy"]["value"] - theirs["knn"]["accuracy"]["value"]
    assert difference["kNN accuracy"]["value"] == pytest.approx(exact)
    assert set(compare_runs(first, first)["linear probe macro F1"].values()) == {0.0}
    assert "linear probe balanced accuracy" in difference
