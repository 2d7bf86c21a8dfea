"""The bootstrap over patients: against resampling by hand, by simulation, and by the clock."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, ndtr
from sklearn import metrics as sk

from nearfar.errors import DataError, ShapeError
from nearfar.evaluate import roc
from nearfar.evaluate.binary import Metric
from nearfar.evaluate.clustered import (
    clinical_metrics,
    clustered_differences,
    clustered_intervals,
    resampled_groups,
)

SHIFT, SHARED, OWN = 1.4, 0.9, 0.44


def study(seed: int, patients: int = 40, frames: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and patients; frames of a patient share most of their score."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), frames)
    labels = (rng.random(len(who)) < 0.5).astype(int)
    score = labels * SHIFT + SHARED * rng.normal(size=patients)[who] + OWN * rng.normal(size=len(who))
    return labels, expit(score - SHIFT / 2), who


def auc_interval(*data: np.ndarray, **options: Any) -> dict[str, float]:
    return clustered_intervals({"auc": roc.weighted_roc_auc}, *data, **options)["auc"]


def row_by_row(metric: Metric) -> Metric:
    """The same from repeated samples of equal weight, one call a resample."""

    def repeated(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
        rows = [np.repeat(np.arange(len(labels)), row.astype(int)) for row in weights]
        return np.array([metric(labels[row], scores[row], np.ones((1, len(row))))[0] for row in rows])

    return repeated


def test_values_are_those_of_scikit_learn() -> None:
    labels, p, who = study(0)
    called = (p >= 0.4).astype(int)
    found = clustered_intervals(clinical_metrics(0.4), labels, p, clusters=who, resamples=20)
    expected = {
        "roc_auc": sk.roc_auc_score(labels, p),
        "average_precision": sk.average_precision_score(labels, p),
        "brier": sk.brier_score_loss(labels, p),
        "log_loss": sk.log_loss(labels, p),
        "accuracy": sk.accuracy_score(labels, called),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
        "f1": sk.f1_score(labels, called),
        "sensitivity": sk.recall_score(labels, called),
        "specificity": sk.recall_score(labels, called, pos_label=0),
        "ppv": sk.precision_score(labels, called),
        "npv": sk.precision_score(labels, called, pos_label=0),
    }
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert all(part["low"] <= part["high"] for part in found.values())


def test_a_resample_is_the_measure_of_the_drawn_patients() -> None:
    """Every weighted measure agrees, row by row, with the plain one on repeated samples."""
    labels, p, who = study(1, 12, 3)
    measures = clinical_metrics(0.5)
    plain = {name: row_by_row(metric) for name, metric in measures.items()}
    bins_follow_the_sample = "ece_mass"
    plain.pop(bins_follow_the_sample)
    options = {"clusters": who, "resamples": 40, "seed": 3}
    ours = resampled_groups(measures, labels, p, [np.arange(36)], **options)
    theirs = resampled_groups(plain, labels, p, [np.arange(36)], **options)
    for name in plain:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-7, err_msg=name)


def test_patients_are_drawn_whole_and_their_order_does_not_matter() -> None:
    labels, p, who = study(2)
    once = auc_interval(labels, p, clusters=who)
    names = np.array([f"patient {w:02}" for w in who])
    order = np.random.default_rng(0).permutation(len(who))
    shuffled = auc_interval(labels[order], p[order], clusters=names[order])
    assert shuffled == pytest.approx(once)
    alone = auc_interval(labels, p)
    assert once["high"] - once["low"] > 1.1 * (alone["high"] - alone["low"])


def test_copies_of_images_add_no_certainty() -> None:
    labels, p, who = study(3, 50, 1)
    copies = np.repeat(np.arange(50), 5)
    single = auc_interval(labels, p, clusters=who, seed=1)
    copied = auc_interval(labels[copies], p[copies], clusters=who[copies], seed=1)
    assert copied == pytest.approx(single)


def test_spread_is_that_of_obuchowski() -> None:
    labels, p, who = study(4, 200, 3)
    drawn = resampled_groups({"auc": roc.weighted_roc_auc}, labels, p, [np.arange(600)], clusters=who)["auc"]
    expected = float(np.sqrt(roc.delong(labels, p, clusters=who).covariance[0, 0]))
    assert drawn.std() == pytest.approx(expected, rel=0.12)


def test_differences_are_paired() -> None:
    labels, p, who = study(5)
    rng = np.random.default_rng(0)
    worse = expit(np.log(p / (1 - p)) + rng.normal(size=len(p)))
    found = clustered_differences(clinical_metrics(0.5), labels, p, worse, clusters=who)
    auc = found["roc_auc"]
    assert auc["value"] == pytest.approx(roc.roc_auc(labels, p) - roc.roc_auc(labels, worse))
    assert auc["low"] > 0
    assert auc["p"] < 0.05
    back = clustered_differences(clinical_metrics(0.5), labels, worse, p, clusters=who)["roc_auc"]
    assert (back["value"], back["low"], back["high"]) == pytest.approx((-auc["value"], -auc["high"], -auc["low"]))
    assert back["p"] == auc["p"]
    same = clustered_differences(clinical_metrics(0.5), labels, p, p, clusters=who, resamples=50)
    assert all((part["low"], part["high"], part["p"]) == (0, 0, 1) for part in same.values())


def test_paired_p_agrees_with_obuchowski() -> None:
    labels, p, who = study(6, 120, 2)
    other = np.clip(p + 0.14 * np.random.default_rng(1).normal(size=len(p)), 0, 1)
    ours = clustered_differences({"auc": roc.weighted_roc_auc}, labels, p, other, clusters=who, resamples=4000)["auc"]
    theirs = roc.paired_delong(labels, p, other, clusters=who)
    assert ours["p"] == pytest.approx(theirs.p, abs=0.03)
    assert (ours["low"], ours["high"]) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_one_class_has_what_is_defined_and_nan_for_the_rest() -> None:
    found = clustered_intervals(clinical_metrics(0.5), np.ones(6, dtype=int), np.linspace(0.2, 0.7, 6), resamples=30)
    assert found["accuracy"]["value"] == 0.5
    assert found["brier"]["low"] < found["brier"]["high"]
    for name in ("roc_auc", "average_precision", "slope", "intercept", "specificity", "balanced_accuracy"):
        assert np.isnan(list(found[name].values())).all(), name


def test_constant_scores_have_no_interval_but_a_value() -> None:
    labels, p, who = study(7)
    found = auc_interval(labels, np.full_like(p, 0.3), clusters=who)
    assert set(found.values()) == {0.5}


def test_no_resamples_leave_the_values() -> None:
    labels, p, who = study(8)
    found = clustered_intervals(clinical_metrics(0.5), labels, p, clusters=who, resamples=0)
    assert all(part["low"] == part["high"] == part["value"] for part in found.values())


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match="one cluster"):
        auc_interval([0, 1], [0.1, 0.2], clusters=["a"])
    with pytest.raises(DataError, match="not finite"):
        auc_interval([0, 1], [0.1, np.nan])


def test_a_thousand_resamples_of_two_thousand_images_take_seconds() -> None:
    labels, p, who = study(9, 500, 4)
    start = time.process_time()
    clustered_intervals(clinical_metrics(0.5), labels, p, clusters=who, resamples=1000)
    assert time.process_time() - start < 6  # about 2 s where nothing else runs


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_promise() -> None:
    truth = float(ndtr(SHIFT / np.sqrt(2 * (SHARED**2 + OWN**2))))
    held = {"patients": 0, "images": 0}
    rounds = 300
    for seed in range(rounds):
        labels, p, who = study(1000 + seed)
        for name, clusters in (("patients", who), ("images", None)):
            found = auc_interval(labels, p, clusters=clusters, resamples=400, seed=seed)
            held[name] += found["low"] <= truth <= found["high"]
    assert 0.91 <= held["patients"] / rounds <= 0.98
    assert held["images"] < held["patients"] - 0.03 * rounds
