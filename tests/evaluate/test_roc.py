"""Areas and DeLong's numbers against the goldens, scikit-learn, counted pairs and simulation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from sklearn import metrics as sk

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate import roc


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, Any]:
    return json.loads((golden_dir / "spatialclip" / "metrics.json").read_text())


def toy(seed: int, n: int = 60, levels: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both classes and scores with ties."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    return labels, np.round((labels * 0.8 + rng.normal(size=n)) * levels / 4)


def by_pairs(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """The weighted share of (1, 0) pairs in the right order, ties half."""
    ones, zeros = labels == 1, labels == 0
    difference = scores[ones][:, None] - scores[zeros][None]
    pair = weights[ones][:, None] * weights[zeros][None]
    return float((pair * ((difference > 0) + 0.5 * (difference == 0))).sum() / pair.sum())


def test_goldens(golden: dict[str, Any]) -> None:
    labels, p, expected = golden["labels"], golden["probabilities"], golden["delong"]
    assert roc.roc_auc(labels, p) == pytest.approx(golden["roc_auc"], abs=1e-9)
    assert roc.average_precision(labels, p) == pytest.approx(golden["average_precision"], abs=1e-9)
    found = roc.delong(labels, [p, expected["second_probabilities"]])
    assert found.auc[1] == pytest.approx(expected["second_auc"], abs=1e-9)
    wanted = [
        [expected["auc_variance"], expected["covariance"]],
        [expected["covariance"], expected["second_variance"]],
    ]
    np.testing.assert_allclose(found.covariance, wanted, atol=1e-9)
    normal = roc.auc_interval(labels, p, method="normal")
    np.testing.assert_allclose([normal["low"], normal["high"]], expected["ci95_normal"], atol=1e-9)
    test = roc.paired_delong(labels, p, expected["second_probabilities"])
    assert (test.z, test.p) == pytest.approx((expected["z"], expected["p_two_sided"]), abs=1e-9)


def test_the_precision_recall_trapezoid_is_positive_and_another_number(golden: dict[str, Any]) -> None:
    """The published evaluation integrates it backwards."""
    drawn = roc.curve(golden["labels"], golden["probabilities"])
    area = sk.auc(drawn.tpr, drawn.precision)
    assert area == pytest.approx(golden["pr_trapezoid_positive"], abs=1e-9)
    assert area != pytest.approx(golden["average_precision"], abs=1e-3)


@given(st.integers(0, 10_000), st.integers(4, 80), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_areas_are_those_of_scikit_learn_with_ties_and_weights(seed: int, n: int, levels: int) -> None:
    labels, scores = toy(seed, n, levels)
    weights = np.random.default_rng(seed).integers(0, 4, n) + (np.arange(n) < n) * 0.25
    assert roc.roc_auc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert roc.roc_auc(labels, scores, weights) == pytest.approx(by_pairs(labels, scores, weights), abs=1e-12)
    ours = roc.average_precision(labels, scores, weights)
    assert ours == pytest.approx(sk.average_precision_score(labels, scores, sample_weight=weights), abs=1e-12)


def test_curves_are_those_of_scikit_learn() -> None:
    labels, scores = toy(3)
    drawn = roc.curve(labels, scores)
    fpr, tpr, thresholds = sk.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(np.stack([drawn.fpr, drawn.tpr]), np.stack([fpr, tpr]), atol=1e-12)
    np.testing.assert_array_equal(drawn.threshold, thresholds)
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(drawn.precision, precision[::-1], atol=1e-12)
    np.testing.assert_allclose(drawn.tpr, recall[::-1], atol=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_areas_depend_on_the_order_only(seed: int) -> None:
    labels, scores = toy(seed)
    for same in (np.exp(scores / 3), 5 * scores - 100, scores**3):
        assert roc.roc_auc(labels, same) == roc.roc_auc(labels, scores)
        assert roc.average_precision(labels, same) == roc.average_precision(labels, scores)
        assert roc.auc_interval(labels, same) == roc.auc_interval(labels, scores)
    assert roc.roc_auc(labels, -scores) == pytest.approx(1 - roc.roc_auc(labels, scores), abs=1e-12)


def test_a_weight_counts_a_sample_as_often() -> None:
    labels, scores = toy(1)
    weights = np.random.default_rng(0).integers(0, 4, len(labels))
    again = np.repeat(np.arange(len(labels)), weights)
    for metric in (roc.roc_auc, roc.average_precision):
        assert metric(labels, scores, weights) == pytest.approx(metric(labels[again], scores[again]), abs=1e-12)


def test_rows_without_a_class_are_nan() -> None:
    labels, scores = toy(1, 9)
    rows = np.stack([np.ones(9), labels == 1, labels == 0, np.zeros(9)]).astype(float)
    for metric in (roc.weighted_roc_auc, roc.weighted_average_precision):
        assert np.isnan(metric(labels, scores, rows)).tolist() == [False, True, True, True]


def test_delong_is_the_covariance_of_placements() -> None:
    """Against the definition: structural components by counting pairs."""
    labels, first = toy(5, 40)
    second = toy(6, 40)[1] + labels
    ones, zeros = labels == 1, labels == 0
    tables = []
    for scores in (first, second):
        difference = scores[ones][:, None] - scores[zeros][None]
        tables.append((difference > 0) + 0.5 * (difference == 0))
    by_one, by_zero = (np.stack([t.mean(axis) for t in tables]) for axis in (1, 0))
    expected = np.cov(by_one) / ones.sum() + np.cov(by_zero) / zeros.sum()
    np.testing.assert_allclose(roc.delong(labels, [first, second]).covariance, expected, atol=1e-14)


def test_a_cluster_of_its_own_for_every_sample_changes_nothing_and_copies_do_not_add_certainty() -> None:
    labels, scores = toy(2)
    alone = roc.delong(labels, scores)
    np.testing.assert_allclose(
        roc.delong(labels, scores, clusters=np.arange(60)).covariance, alone.covariance, rtol=1e-12
    )
    copies = np.repeat(np.arange(60), 3)
    naive = roc.delong(labels[copies], scores[copies]).covariance[0, 0]
    honest = roc.delong(labels[copies], scores[copies], clusters=copies).covariance[0, 0]
    assert honest == pytest.approx(alone.covariance[0, 0], rel=1e-9)
    assert naive < 0.4 * honest


def test_the_logit_interval_stays_within_0_and_1(golden: dict[str, Any]) -> None:
    found = roc.auc_interval(golden["labels"], golden["probabilities"])
    auc, deviation = golden["roc_auc"], np.sqrt(golden["delong"]["auc_variance"])
    half = 1.959963984540054 * deviation / (auc * (1 - auc))
    odds = np.log(auc / (1 - auc)) + np.array([-half, half])
    np.testing.assert_allclose([found["low"], found["high"]], 1 / (1 + np.exp(-odds)), atol=1e-9)
    assert 0 < found["low"] < auc < found["high"] < 1


def test_perfect_separation_is_not_certainty() -> None:
    """Newcombe's method 5 for 10 and 10: Hanley and McNeil's variance at the lower limit reaches up to 1."""
    labels = np.repeat([0, 1], 10)
    found = roc.auc_interval(labels, labels)
    low = found["low"]
    variance = low * (1 - low) * (1 + 9 * (1 - low) / (2 - low) + 9 * low / (1 + low)) / 100
    assert found["value"] == found["high"] == 1.0
    assert 1 - low == pytest.approx(1.959963984540054 * np.sqrt(variance), rel=1e-6)
    wider = roc.auc_interval(labels, labels, clusters=np.arange(20) // 2)
    assert wider["low"] < low
    mirrored = roc.auc_interval(labels, -labels)
    assert (mirrored["low"], mirrored["high"]) == pytest.approx((0.0, 1 - low), abs=1e-9)


def test_one_sample_of_a_class_still_has_an_interval() -> None:
    found = roc.auc_interval([1, 0, 0, 0], [0.6, 0.1, 0.7, 0.2])
    assert 0 <= found["low"] < found["value"] < found["high"] <= 1
    assert np.isnan(roc.delong([1, 0, 0, 0], [0.6, 0.1, 0.7, 0.2]).covariance).all()


def test_constant_scores_tell_nothing() -> None:
    labels = np.arange(9) % 3 == 0
    assert roc.roc_auc(labels, np.zeros(9)) == 0.5
    assert roc.average_precision(labels, np.zeros(9)) == pytest.approx(1 / 3)


def test_paired_test_of_two_that_order_alike() -> None:
    labels, scores = toy(4)
    same = roc.paired_delong(labels, scores, np.exp(scores))
    assert (same.difference, same.p) == (0.0, 1.0)
    there, back = (roc.paired_delong(labels, *pair) for pair in ((scores, -scores), (-scores, scores)))
    assert there.difference == pytest.approx(-back.difference)
    assert there.p == pytest.approx(back.p)
    assert there.low == pytest.approx(-back.high)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.3], "no sample is labelled 0"),
        ([0, 0], [0.1, 0.2], "no sample is labelled 1"),
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 0.5], [0.1, 0.2], "0 or 1"),
        ([], [], "0 or 1"),
        ([0, 1], [0.1, np.nan], "not finite"),
        ([0, 1], [0.1, np.inf], "not finite"),
    ],
)
def test_what_cannot_be_scored_says_why(labels: list[float], scores: list[float], message: str) -> None:
    for measure in (roc.roc_auc, roc.average_precision, roc.curve, roc.delong, roc.auc_interval):
        with pytest.raises(DataError, match=message):
            measure(labels, scores)


def test_wrong_shapes_weights_and_names() -> None:
    with pytest.raises(ShapeError, match="one label and one score"):
        roc.roc_auc([0, 1, 1], [0.1, 0.2])
    with pytest.raises(ShapeError, match="one weight"):
        roc.roc_auc([0, 1], [0.1, 0.2], [1])
    with pytest.raises(ShapeError, match="one cluster"):
        roc.delong([0, 1], [0.1, 0.2], clusters=[1])
    for weights in ([1, -1], [1, 0], [1, np.nan]):
        with pytest.raises(DataError, match="weights"):
            roc.roc_auc([0, 1], [0.1, 0.2], weights)
    with pytest.raises(ConfigError, match="logit or normal"):
        roc.auc_interval([0, 1], [0.1, 0.2], method="wald")


def patients(rng: np.random.Generator, count: int, frames: int, shift: float) -> tuple[np.ndarray, ...]:
    """Frames of a patient share most of their score; the labels are the patient's or the frame's."""
    who = np.repeat(np.arange(count), frames)
    labels = np.where(rng.random(count)[who] < 0.5, (rng.random(count) < 0.5)[who], rng.random(len(who)) < 0.5)
    noise = rng.normal(size=count)[who] * 0.9 + rng.normal(size=len(who)) * 0.44
    return labels.astype(int), labels * shift + noise, who


@pytest.mark.parametrize(("frames", "count"), [(1, 60), (4, 40)])
def test_intervals_hold_the_truth_as_often_as_they_promise(frames: int, count: int) -> None:
    rng = np.random.default_rng(0)
    shift, rounds, held, naive = 1.4, 400, 0, 0
    truth = float(ndtr(shift / np.sqrt(2 * (0.9**2 + 0.44**2))))
    for _ in range(rounds):
        labels, scores, who = patients(rng, count, frames, shift)
        found = roc.auc_interval(labels, scores, clusters=who)
        plain = roc.auc_interval(labels, scores)
        held += found["low"] <= truth <= found["high"]
        naive += plain["low"] <= truth <= plain["high"]
    assert 0.92 <= held / rounds <= 0.985
    assert frames == 1 or naive / rounds < held / rounds - 0.05
