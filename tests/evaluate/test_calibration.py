"""Calibration measures against the goldens, scikit-learn and known truths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate import calibration


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, Any]:
    return json.loads((golden_dir / "spatialclip" / "metrics.json").read_text())


def world(seed: int = 0, n: int = 300, slope: float = 1.0, intercept: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn with log odds slope * x + intercept, and the probabilities sigma(x) that claim slope 1."""
    rng = np.random.default_rng(seed)
    x = 1.5 * rng.normal(size=n)
    return (rng.random(n) < expit(slope * x + intercept)).astype(int), expit(x)


def test_goldens(golden: dict[str, Any]) -> None:
    labels, p = golden["labels"], golden["probabilities"]
    assert calibration.brier(labels, p) == pytest.approx(golden["brier"], abs=1e-9)
    assert calibration.log_loss(labels, p) == pytest.approx(golden["log_loss"], abs=1e-9)
    assert calibration.log_loss(labels, p) == pytest.approx(golden["temperature_scaling"]["nll_before"], abs=1e-9)
    for bins, name in ((5, "ece_5"), (10, "ece_10_equal_width"), (15, "ece_15")):
        assert calibration.calibration_error(labels, p, bins=bins) == pytest.approx(golden[name], abs=1e-9)
    assert calibration.calibration_error(labels, p, worst=True) == pytest.approx(golden["mce_10"], abs=1e-9)


@given(st.integers(0, 10_000), st.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_scores_are_those_of_scikit_learn(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    labels, p = rng.integers(0, 2, n), rng.choice([0, 0.01, 0.3, 0.5, 0.99, 1], n)
    assert calibration.brier(labels, p) == pytest.approx(sk.brier_score_loss(labels, p, pos_label=1), abs=1e-12)
    assert calibration.log_loss(labels, p) == pytest.approx(sk.log_loss(labels, p, labels=[0, 1]), rel=1e-9, abs=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 50), st.integers(1, 20), st.sampled_from(["width", "mass"]))
@settings(max_examples=50, deadline=None)
def test_the_error_is_the_mean_gap_of_the_diagram(seed: int, n: int, bins: int, binning: str) -> None:
    rng = np.random.default_rng(seed)
    labels, p = rng.integers(0, 2, n), rng.integers(0, 21, n) / 20
    drawn = calibration.reliability(labels, p, bins=bins, binning=binning)
    gap = np.nan_to_num(np.abs(drawn.observed - drawn.predicted))
    assert drawn.count.sum() == n
    error = calibration.calibration_error(labels, p, bins=bins, binning=binning)
    assert error == pytest.approx((gap * drawn.count).sum() / n, abs=1e-12)
    worst = calibration.calibration_error(labels, p, bins=bins, binning=binning, worst=True)
    assert error - 1e-12 <= worst == pytest.approx(gap.max(), abs=1e-12)
    full = drawn.count > 0
    assert (drawn.predicted[full] >= drawn.low[full] - 1e-12).all()
    assert (drawn.predicted[full] <= drawn.high[full] + 1e-12).all()
    assert ((drawn.observed_low <= drawn.observed_high) & (drawn.observed_low >= 0)).all()


def test_bins_close_on_the_left_and_the_last_on_both_sides() -> None:
    p = np.array([0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 0.9, 1.0])  # 0.3 and 0.7 are edges that sums of 0.1 miss
    drawn = calibration.reliability(np.zeros(8), p)
    assert drawn.count.tolist() == [1, 1, 1, 1, 0, 0, 1, 1, 0, 2]


def test_bins_of_equal_mass_hold_equal_counts_and_keep_ties_together() -> None:
    labels, p = world(n=1000)
    assert calibration.reliability(labels, p, binning="mass").count.tolist() == pytest.approx([100] * 10, abs=1)
    drawn = calibration.reliability([0, 1] * 50, np.repeat([0.2, 0.8], 50), binning="mass")
    assert sorted(drawn.count[drawn.count > 0]) == [50, 50]


def test_perfect_probabilities_keep_the_error_of_finite_samples() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((50, 1000))
    errors = [calibration.calibration_error(rng.random(1000) < q, q) for q in p]
    assert np.mean(errors) == pytest.approx(np.sqrt(10 / 1000) / 3, rel=0.15)


def test_weights_count_samples() -> None:
    labels, p = world(n=40)
    weights = np.random.default_rng(0).integers(0, 4, 40)
    again = np.repeat(np.arange(40), weights)
    pairs = [
        (calibration.brier, calibration.weighted_brier),
        (calibration.log_loss, calibration.weighted_log_loss),
        (calibration.calibration_error, calibration.weighted_calibration_error),
        (lambda y, q: calibration.calibration_slope(y, q).slope, calibration.weighted_slope),
        (lambda y, q: calibration.calibration_slope(y, q).in_the_large, calibration.weighted_intercept),
    ]
    for plain, weighted in pairs:
        rows = np.stack([np.ones(40), weights.astype(float)])
        found = weighted(labels, p, rows)
        np.testing.assert_allclose(found, [plain(labels, p), plain(labels[again], p[again])], atol=1e-9)


def test_slope_is_that_of_an_unpenalised_logistic_regression() -> None:
    labels, p = world(slope=0.6, intercept=-0.5)
    found = calibration.calibration_slope(labels, p)
    peer = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(logit(p)[:, None], labels)
    assert (found.slope, found.intercept) == pytest.approx((peer.coef_[0, 0], peer.intercept_[0]), abs=1e-4)
    # In the large: the likelihood equation of the intercept says that probabilities sum to the ones.
    assert expit(logit(p) + found.in_the_large).sum() == pytest.approx(labels.sum(), abs=1e-8)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, 0.0), (2.0, 0.7)])
def test_slope_and_intercept_find_what_was_put_in(slope: float, intercept: float) -> None:
    labels, p = world(n=40_000, slope=slope, intercept=intercept)
    found = calibration.calibration_slope(labels, p)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), abs=0.06)


def test_what_has_no_slope() -> None:
    separated = calibration.calibration_slope([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9])
    touching = calibration.calibration_slope([0, 0, 1, 1], [0.1, 0.6, 0.6, 0.9])
    constant = calibration.calibration_slope([0, 0, 1, 1], [0.3] * 4)
    assert all(np.isnan([s.slope, s.intercept]).all() for s in (separated, touching, constant))
    assert constant.in_the_large == pytest.approx(-logit(0.3), abs=1e-9)


def test_rows_that_lost_a_class_or_an_overlap_are_nan() -> None:
    labels, p = np.array([0, 1, 0, 1]), np.array([0.2, 0.3, 0.6, 0.8])
    rows = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 1]], dtype=float)
    assert np.isnan(calibration.weighted_slope(labels, p, rows)).tolist() == [False, True, True]
    assert np.isnan(calibration.weighted_intercept(labels, p, rows)).tolist() == [False, True, False]


def test_certain_probabilities_have_finite_numbers() -> None:
    labels, p = [0, 1, 1, 0, 1], [0.0, 1.0, 0.0, 0.4, 0.7]
    assert np.isfinite(calibration.log_loss(labels, p))
    found = calibration.calibration_slope(labels, p)
    assert np.isfinite([found.slope, found.intercept, found.in_the_large]).all()


def test_one_class_has_a_brier_score_and_no_slope() -> None:
    assert calibration.brier([1, 1], [0.5, 1.0]) == 0.125
    with pytest.raises(DataError, match="no sample is labelled 0"):
        calibration.calibration_slope([1, 1], [0.5, 0.9])


def test_logits_and_bad_bins_are_refused() -> None:
    with pytest.raises(DataError, match=r"outside 0\.\.1.*-2"):
        calibration.brier([0, 1], [-2.0, 1.0])
    with pytest.raises(DataError, match="not finite"):
        calibration.brier([0, 1], [np.nan, 1.0])
    with pytest.raises(ShapeError):
        calibration.brier([0, 1], [0.5])
    for options in ({"bins": 0}, {"binning": "size"}):
        with pytest.raises(ConfigError, match="width or mass"):
            calibration.calibration_error([0, 1], [0.1, 0.9], **options)  # type: ignore[arg-type]
