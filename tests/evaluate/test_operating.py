"""Thresholds, bands, decision curves, Wilson and McNemar against the goldens, libraries and exhaustive search."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate import operating
from nearfar.evaluate.operating import ABSTAIN, OperatingPoint


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, Any]:
    return json.loads((golden_dir / "spatialclip" / "metrics.json").read_text())


def toy(seed: int, n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    return labels, np.round(np.clip(0.4 + 0.25 * labels + 0.25 * rng.normal(size=n), 0, 1), 2)


def shares(labels: np.ndarray, p: np.ndarray, threshold: float) -> tuple[float, float]:
    called = p >= threshold
    return float(called[labels == 1].mean()), float((~called[labels == 0]).mean())


def candidates(p: np.ndarray) -> list[float]:
    return [*np.unique(p), 2.0]


def test_goldens(golden: dict[str, Any]) -> None:
    labels, p = np.array(golden["labels"]), np.array(golden["probabilities"])
    found = operating.rates(labels, OperatingPoint(0.5, "half").decide(p))
    (tn, fp), (fn, tp) = golden["confusion_matrix_rows_true_cols_pred"]
    assert found["counts"] == {"tp": tp, "fp": fp, "fn": fn, "tn": tn, "abstained": 0}
    for ours, theirs in (("accuracy",) * 2, ("ppv", "precision"), ("sensitivity",) * 2, ("specificity",) * 2):
        assert found[ours]["value"] == pytest.approx(golden[theirs], abs=1e-9)
    for name, ends in golden["wilson_95"].items():
        np.testing.assert_allclose([found[name]["low"], found[name]["high"]], ends, atol=1e-9)
    assert operating.youden(labels, p).threshold == golden["youden"]["threshold"]
    expected = golden["net_benefit"]
    assert operating.net_benefit(labels, p, expected["pt"]) == pytest.approx(expected["value"], abs=1e-9)


@given(st.integers(0, 10_000), st.integers(4, 60))
@settings(max_examples=40, deadline=None)
def test_youden_is_the_best_of_all_and_the_highest_of_the_best(seed: int, n: int) -> None:
    labels, p = toy(seed, n)
    gains = {t: sum(shares(labels, p, t)) - 1 for t in np.unique(p)}
    best = max(gains.values())
    assert operating.youden(labels, p).threshold == max(t for t, gain in gains.items() if gain > best - 1e-12)


@given(st.integers(0, 10_000), st.integers(4, 60), st.sampled_from([0.0, 0.5, 0.8, 0.9, 0.95, 1.0]))
@settings(max_examples=60, deadline=None)
def test_fixed_rates_hold_and_give_nothing_away(seed: int, n: int, target: float) -> None:
    labels, p = toy(seed, n)
    sensitivity, specificity = shares(labels, p, operating.at_sensitivity(labels, p, target).threshold)
    assert sensitivity >= target - 1e-9
    others = [shares(labels, p, t) for t in candidates(p)]
    assert specificity == max(other for found, other in others if found >= target - 1e-9)
    sensitivity, specificity = shares(labels, p, operating.at_specificity(labels, p, target).threshold)
    assert specificity >= target - 1e-9
    assert sensitivity == max(found for found, other in others if other >= target - 1e-9)


@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(0.1, 10))
@settings(max_examples=40, deadline=None)
def test_least_cost_is_least(seed: int, missed: float, alarm: float) -> None:
    labels, p = toy(seed)

    def cost(threshold: float) -> float:
        called = p >= threshold
        return missed * float((~called & (labels == 1)).sum()) + alarm * float((called & (labels == 0)).sum())

    point = operating.at_cost(labels, p, false_negative=missed, false_positive=alarm)
    assert cost(point.threshold) == pytest.approx(min(map(cost, candidates(p))))
    same = operating.at_cost(labels, p, false_negative=missed, false_positive=alarm, prevalence=float(labels.mean()))
    assert same == point


def test_calibrated_probabilities_have_their_least_cost_at_the_ratio_of_costs() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    labels = (rng.random(20_000) < p).astype(int)
    point = operating.at_cost(labels, p, false_negative=4, false_positive=1)
    assert point.threshold == pytest.approx(0.2, abs=0.05)
    rare = operating.at_cost(labels, p, false_negative=4, false_positive=1, prevalence=0.05)
    assert rare.threshold > point.threshold + 0.3


def test_nothing_is_called_where_the_highest_are_zeros() -> None:
    point = operating.at_specificity([1, 0, 0], [0.2, 0.5, 1.0], 1.0)
    assert point.decide([0.2, 0.5, 1.0]).tolist() == [0, 0, 0]
    assert 1.0 < point.threshold < 1.0 + 1e-9


def test_constant_probabilities_have_a_threshold_that_calls_all() -> None:
    assert operating.youden([0, 1], [0.4, 0.4]).decide([0.4, 0.3]).tolist() == [1, 0]
    assert operating.at_sensitivity([0, 1], [0.4, 0.4], 0.9).threshold == 0.4


@given(st.integers(0, 10_000), st.integers(1, 60), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_the_band_leaves_open_the_nearest_and_no_more_than_its_share(
    seed: int, n: int, share: float, threshold: float
) -> None:
    p = np.random.default_rng(seed).random(n)
    point = operating.with_band(OperatingPoint(threshold, "given"), p, share)
    assert point.threshold == threshold
    decisions = point.decide(p)
    assert (decisions == ABSTAIN).sum() == int(share * n + 1e-9)
    decided = decisions != ABSTAIN
    np.testing.assert_array_equal(decisions[decided], p[decided] >= threshold)
    odds = np.abs(np.log(p / (1 - p)) - np.log(np.clip(threshold, 1e-7, 1 - 1e-7) / np.clip(1 - threshold, 1e-7, 1)))
    if decided.any() and not decided.all():
        assert odds[~decided].max() <= odds[decided].min() + 1e-6


def test_ties_are_decided_and_no_share_leaves_nothing_open() -> None:
    point = operating.with_band(OperatingPoint(0.5, "given"), [0.4, 0.4, 0.6, 0.9], 0.25)
    assert ABSTAIN not in point.decide([0.4, 0.6, 0.9])
    everything = operating.with_band(OperatingPoint(0.5, "given"), [0.4, 0.6], 1.0)
    assert everything.decide([0.4, 0.6]).tolist() == [ABSTAIN, ABSTAIN]


def test_a_stored_point_decides_alike() -> None:
    labels, p = toy(0)
    for point in (operating.youden(labels, p), operating.with_band(operating.youden(labels, p), p, 0.2)):
        assert OperatingPoint.from_state(json.loads(json.dumps(point.state()))) == point


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_is_that_of_scipy(confidence: float) -> None:
    for successes, total in ((0, 5), (5, 5), (3, 17), (499, 500)):
        peer = binomtest(successes, total).proportion_ci(confidence, method="wilson")
        ours = operating.wilson(successes, total, confidence)
        assert (ours["low"], ours["high"]) == pytest.approx((peer.low, peer.high), abs=1e-12)
    nothing = operating.wilson(0, 0, confidence)
    assert np.isnan(nothing["value"])
    assert (nothing["low"], nothing["high"]) == pytest.approx((0, 1))


def test_rates_are_of_the_decided() -> None:
    found = operating.rates([1, 1, 1, 0, 0, 0], [1, 0, -1, 0, -1, 0])
    assert found["counts"] == {"tp": 1, "fp": 0, "fn": 1, "tn": 2, "abstained": 2}
    assert (found["sensitivity"]["value"], found["accuracy"]["value"]) == (0.5, 0.75)
    assert found["abstained"]["value"] == pytest.approx(1 / 3)
    assert np.isnan(operating.rates([1, 1], [0, 0])["ppv"]["value"])


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_decision_curve_is_its_formula_between_the_two_defaults(seed: int) -> None:
    labels, p = toy(seed)
    drawn = operating.decision_curve(labels, p)
    for k in (0, 20, 49, 98):
        t, called = drawn.threshold[k], p >= drawn.threshold[k]
        net = ((called & (labels == 1)).sum() - (called & (labels == 0)).sum() * t / (1 - t)) / len(p)
        assert drawn.model[k] == pytest.approx(net, abs=1e-12)
        everyone = operating.net_benefit(labels, np.ones(len(p)), t)
        assert drawn.treat_all[k] == pytest.approx(everyone, abs=1e-12)
    assert (drawn.treat_none == 0).all()
    perfect = operating.decision_curve(labels, labels)
    assert (perfect.model >= np.maximum(drawn.model, np.maximum(drawn.treat_all, 0)) - 1e-12).all()
    np.testing.assert_allclose(perfect.model, labels.mean())
    assert all(later < earlier for earlier, later in pairwise(drawn.treat_all))


def test_mcnemar_counts_and_is_exact() -> None:
    truth = np.array([1] * 10 + [0] * 10)
    first, second = truth.copy(), truth.copy()
    first[:2] = 0
    second[3:11] = 1 - second[3:11]
    found = operating.mcnemar(truth, first, second)
    assert (found.only_first, found.only_second) == (8, 2)
    assert found.p == pytest.approx(2 * sum([1, 10, 45]) / 2**10)
    back = operating.mcnemar(truth, second, first)
    assert (back.only_first, back.only_second, back.p) == (2, 8, found.p)
    assert operating.mcnemar(truth, first, first).p == 1.0


def test_wrong_use_says_what_to_do() -> None:
    labels, p = toy(1)
    for call in (operating.at_sensitivity, operating.at_specificity):
        with pytest.raises(ConfigError, match=r"0\.\.1"):
            call(labels, p, 95)
    with pytest.raises(ConfigError, match="costs"):
        operating.at_cost(labels, p, false_negative=0, false_positive=0)
    with pytest.raises(ConfigError, match="holds the threshold"):
        OperatingPoint(0.5, "given", (0.6, 0.7))
    with pytest.raises(ConfigError, match="needs a threshold"):
        OperatingPoint.from_state({"rule": "none"})
    with pytest.raises(ConfigError, match="0 <= t < 1"):
        operating.net_benefit(labels, p, 1.0)
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        OperatingPoint(0.5, "given").decide([0.2, np.nan])
    with pytest.raises(DataError, match="left open"):
        operating.rates([0, 1], [0, 2])
    with pytest.raises(DataError, match="no sample is labelled 1"):
        operating.youden([0, 0], [0.1, 0.2])
    with pytest.raises(ShapeError):
        operating.mcnemar([0, 1], [0, 1], [1])
