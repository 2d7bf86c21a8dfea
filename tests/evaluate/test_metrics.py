"""Metrics against scikit-learn; intervals against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate import metrics
from nearfar.evaluate.bootstrap import bootstrap_mean, interval, resampled_confusions

NAMES = ("clean", "cold", "warm")


def labels(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.choice(3, n, p=(0.7, 0.2, 0.1))
    return true, np.where(rng.random(n) < 0.7, true, rng.integers(0, 3, n))


@given(st.integers(0, 10_000), st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_agrees_with_scikit_learn(seed: int, n: int) -> None:
    true, guess = labels(seed, n)
    report = metrics.classification_report(true, guess, NAMES, resamples=0)
    present = np.unique(true)
    p, r, f, s = sk.precision_recall_fscore_support(true, guess, labels=present, zero_division=0)
    assert report["accuracy"]["value"] == pytest.approx(sk.accuracy_score(true, guess))
    assert report["balanced_accuracy"]["value"] == pytest.approx(r.mean())
    assert report["confusion"]["counts"] == sk.confusion_matrix(true, guess, labels=[0, 1, 2]).tolist()
    for name, per_class in (("precision", p), ("recall", r), ("f1", f)):
        assert report["macro"][name]["value"] == pytest.approx(per_class.mean())
        ours = [report["per_class"][NAMES[c]][name]["value"] for c in present]
        np.testing.assert_allclose(ours, per_class)
    assert [report["per_class"][NAMES[c]]["support"] for c in present] == s.tolist()


def test_bootstrap_of_the_confusion_is_the_bootstrap_of_the_samples() -> None:
    """Mean and spread of recall over resampled counts equal those of resampled indices within a class."""
    true, guess = labels(1, 200)
    chunks = [metrics.recall(c)[0] for c in resampled_confusions(true, [guess], 3, resamples=4000)]
    ours = np.concatenate(chunks)
    rng = np.random.default_rng(0)
    for c in range(3):
        members = guess[true == c]
        drawn = members[rng.integers(0, len(members), (4000, len(members)))]
        recalls = (drawn == c).mean(axis=1)
        assert ours[:, c].mean() == pytest.approx(recalls.mean(), abs=0.01)
        assert ours[:, c].std() == pytest.approx(recalls.std(), rel=0.08)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1], [100, 60])
    covered = 0
    for seed in range(200):
        guess = np.where(rng.random(160) < 0.8, true, 1 - true)
        ends = metrics.classification_report(true, guess, ("a", "b"), resamples=300, seed=seed)["balanced_accuracy"]
        covered += ends["low"] <= 0.8 <= ends["high"]
    assert 0.89 <= covered / 200 <= 0.99


def test_paired_difference_is_narrower_than_two_separate_intervals() -> None:
    true, guess = labels(3, 300)
    better = guess.copy()
    wrong = np.flatnonzero(guess != true)[:12]
    better[wrong] = true[wrong]
    paired = metrics.paired_difference(true, better, guess, 3, metric="accuracy")
    alone = metrics.classification_report(true, guess, NAMES)["accuracy"]
    assert paired["value"] == pytest.approx(12 / 300)
    assert 0 < paired["low"] < paired["value"] < paired["high"]
    assert paired["high"] - paired["low"] < 0.6 * (alone["high"] - alone["low"])


def test_a_system_against_itself_differs_by_exactly_zero() -> None:
    true, guess = labels(4)
    assert metrics.paired_difference(true, guess, guess, 3) == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_one_class_in_the_test_set_leaves_the_others_out() -> None:
    report = metrics.classification_report([1, 1, 1, 1], [1, 1, 0, 1], NAMES)
    assert list(report["per_class"]) == ["cold"]
    assert report["balanced_accuracy"]["value"] == 0.75
    assert report["accuracy"] == report["balanced_accuracy"]


def test_chunks_bound_memory_and_keep_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    true, guess = labels(5)
    whole = metrics.classification_report(true, guess, NAMES, resamples=100)
    monkeypatch.setattr("nearfar.evaluate.bootstrap._CELLS", 100)
    tiled = metrics.classification_report(true, guess, NAMES, resamples=100)
    assert whole["accuracy"]["value"] == tiled["accuracy"]["value"]
    assert whole["accuracy"]["low"] == pytest.approx(tiled["accuracy"]["low"], abs=0.05)


def test_bad_labels_are_named() -> None:
    with pytest.raises(DataError, match="from 0 to 2"):
        metrics.classification_report([0, 3], [0, 1], NAMES)
    with pytest.raises(DataError, match="found -1"):
        metrics.confusion_matrix([0, -1], [0, 1], 3)
    with pytest.raises(DataError, match="no labels"):
        metrics.confusion_matrix([], [], 3)
    with pytest.raises(ShapeError, match=r"\(2,\) and \(3,\)"):
        metrics.confusion_matrix([0, 1], [0, 1, 2], 3)
    with pytest.raises(ConfigError, match="Known: accuracy"):
        metrics.paired_difference([0], [0], [0], 1, metric="acuracy")


def test_mean_and_its_interval() -> None:
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    ends = bootstrap_mean(values, resamples=2000)
    half = 1.96 * values.std() / 20
    assert ends["value"] == pytest.approx(values.mean())
    assert ends["high"] - ends["low"] == pytest.approx(2 * half, rel=0.08)
    with pytest.raises(DataError, match="no NaN"):
        bootstrap_mean([1.0, float("nan")])


def test_undefined_resamples_are_left_out() -> None:
    assert interval(0.5, [0.4, float("nan"), 0.6], 1.0) == {"value": 0.5, "low": 0.4, "high": 0.6}
