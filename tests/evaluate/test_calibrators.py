"""Calibrators: their optimum, their monotony, what they do to hard cases, and that stored ones act alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from nearfar.errors import ConfigError, DataError
from nearfar.evaluate.calibration import calibration_error, log_loss
from nearfar.evaluate.calibrators import CALIBRATORS, TEMPERATURES, Calibrator, fit_calibrator
from nearfar.evaluate.roc import roc_auc

KINDS = sorted(CALIBRATORS)


def world(seed: int, n: int = 200, slope: float = 0.4, intercept: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = 3 * rng.normal(size=n)
    labels = (rng.random(n) < expit(slope * x + intercept)).astype(int)
    labels[:2] = 0, 1
    return labels, x


def test_golden_temperature(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "spatialclip" / "metrics.json").read_text())
    expected, p = golden["temperature_scaling"], np.array(golden["probabilities"])
    found = fit_calibrator("temperature", golden["labels"], logit(p))
    assert found.parameters["temperature"] == pytest.approx(expected["T"], abs=1e-6)
    assert log_loss(golden["labels"], found.apply(logit(p))) == pytest.approx(expected["nll_after"], abs=1e-9)


def test_platt_minimises_the_cross_entropy_to_its_targets() -> None:
    labels, x = world(0)
    found = fit_calibrator("platt", labels, x).parameters
    targets = np.where(labels == 1, (labels.sum() + 1) / (labels.sum() + 2), 1 / ((1 - labels).sum() + 2))

    def loss(ab: np.ndarray) -> float:
        z = ab[0] * x + ab[1]
        return float((np.logaddexp(0, z) - targets * z).sum())

    peer = minimize(loss, [1.0, 0.0], tol=1e-12)
    np.testing.assert_allclose([found["slope"], found["intercept"]], peer.x, atol=1e-4)


def test_isotonic_is_that_of_scikit_learn_also_between_and_beyond_its_corners() -> None:
    labels, x = world(1)
    ours = fit_calibrator("isotonic", labels, x)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(x, labels)
    probe = np.linspace(-20, 20, 501)
    np.testing.assert_allclose(ours.apply(probe), theirs.predict(probe), atol=1e-12)


@given(st.integers(0, 10_000), st.sampled_from(KINDS), st.floats(-2, 2), st.integers(4, 60))
@settings(max_examples=80, deadline=None)
def test_order_is_kept_and_probabilities_are_probabilities(seed: int, kind: str, slope: float, n: int) -> None:
    labels, x = world(seed, n, slope)
    fitted = fit_calibrator(kind, labels, x)
    p = fitted.apply(np.concatenate([[-1e6], np.linspace(-30, 30, 61), [1e6]]))
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= 0).all()
    if kind in {"none", "temperature"}:
        middle = fitted.apply(np.linspace(-1, 1, 20))
        assert (np.diff(middle) > 0).all()
        assert roc_auc(labels, fitted.apply(np.clip(x, -1, 1))) == roc_auc(labels, np.clip(x, -1, 1))


@pytest.mark.parametrize("kind", ["temperature", "platt", "isotonic"])
def test_overconfidence_is_cured_on_new_data(kind: str) -> None:
    labels, x = world(2, 3000, slope=0.3, intercept=0.0)
    fresh, z = world(3, 3000, slope=0.3, intercept=0.0)
    before = calibration_error(fresh, expit(z))
    after = calibration_error(fresh, fit_calibrator(kind, labels, x).apply(z))
    assert before > 0.15
    assert after < 0.04


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_calibrator_acts_alike(kind: str) -> None:
    labels, x = world(4)
    fitted = fit_calibrator(kind, labels, x)
    again = Calibrator.from_state(json.loads(json.dumps(fitted.state())))
    np.testing.assert_array_equal(again.apply(x), fitted.apply(x))
    assert fitted.apply(x.reshape(2, 100)).shape == (2, 100)


def test_separated_validation_data_end_at_the_bound_and_platt_stays_moderate() -> None:
    labels, x = np.array([0, 0, 1, 1]), np.array([-2.0, -1, 1, 2])
    assert fit_calibrator("temperature", labels, x).parameters["temperature"] == pytest.approx(TEMPERATURES[0])
    assert fit_calibrator("temperature", labels, -x).parameters["temperature"] == pytest.approx(TEMPERATURES[1])
    p = fit_calibrator("platt", labels, x).apply(x)
    assert ((p > 0.05) & (p < 0.95)).all()


def test_a_ranking_is_never_turned_round() -> None:
    labels, x = world(5, slope=-0.5)
    p = fit_calibrator("platt", labels, x).apply(x)
    assert np.ptp(p) == 0
    assert p[0] == pytest.approx(labels.mean(), abs=0.01)


def test_constant_logits_give_the_prevalence() -> None:
    labels = np.array([0, 0, 0, 1] * 25)
    for kind in ("platt", "isotonic"):
        assert fit_calibrator(kind, labels, np.full(100, 1.5)).apply([1.5])[0] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_fitted_says_why(kind: str) -> None:
    with pytest.raises(DataError, match="no sample is labelled 0"):
        fit_calibrator(kind, [1, 1, 1], [0.1, 0.2, 0.3])
    with pytest.raises(DataError, match="not finite"):
        fit_calibrator(kind, [0, 1], [0.1, np.inf])
    with pytest.raises(DataError, match="sample 1: a logit is NaN"):
        fit_calibrator(kind, *world(6)).apply([0.0, np.nan])


def test_unknown_kinds_and_states() -> None:
    with pytest.raises(ConfigError, match="Did you mean isotonic"):
        fit_calibrator("isotonik", [0, 1], [0.1, 0.2])
    with pytest.raises(ConfigError, match="unknown calibrator"):
        Calibrator.from_state({"temperature": 1.0})
    with pytest.raises(ConfigError, match="other parameters"):
        Calibrator.from_state({"kind": "platt", "slope": 1.0})
