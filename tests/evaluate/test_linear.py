"""The linear probe: what it separates, how it chooses, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.linear import linear_probe


def blobs(seed: int, n: int = 90, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return np.eye(3, 8)[y] * 3 + rng.normal(0, spread, (n, 8)) * np.linspace(0.1, 20, 8), y


def test_equals_logistic_regression_on_standardised_features() -> None:
    (x, y), (m, _) = blobs(0), blobs(1)
    scaler = StandardScaler().fit(x)
    expected = LogisticRegression(C=0.1, max_iter=1000).fit(scaler.transform(x), y)
    probe = linear_probe(x, y, m, 3, strengths=(0.1,))
    np.testing.assert_allclose(probe.probabilities, expected.predict_proba(scaler.transform(m)), atol=5e-3)
    np.testing.assert_array_equal(probe.predicted, probe.probabilities.argmax(axis=1))


def test_validation_data_choose_the_strength() -> None:
    x, y = blobs(0, 30, spread=3.0)
    held, truth = blobs(7, 300, spread=3.0)
    chosen = linear_probe(x, y, held, 3, validation=(held, truth), strengths=(1e-3, 1e-1, 100.0))
    scores = [np.mean(linear_probe(x, y, held, 3, strengths=(c,)).predicted == truth) for c in (1e-3, 1e-1, 100.0)]
    assert chosen.strength == (1e-3, 1e-1, 100.0)[int(np.argmax(scores))]
    assert len(set(scores)) > 1


def test_balanced_weights_lift_the_rare_class() -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(400) < 20).astype(int)
    x = rng.normal(size=(400, 2)) + y[:, None]
    plain = linear_probe(x, y, x, 2, strengths=(1.0,)).predicted
    balanced = linear_probe(x, y, x, 2, strengths=(1.0,), class_weight="balanced").predicted
    assert balanced[y == 1].mean() > plain[y == 1].mean() + 0.3


def test_constant_features_and_a_missing_class_are_no_obstacle() -> None:
    probe = linear_probe(np.ones((6, 3)), [0, 0, 0, 2, 2, 2], np.ones((2, 3)), 4)
    np.testing.assert_allclose(probe.probabilities, [[0.5, 0, 0.5, 0]] * 2, atol=1e-6)


def test_a_class_with_one_sample_does_without_cross_validation() -> None:
    probe = linear_probe(np.eye(4), [0, 0, 0, 1], np.eye(4), 2)
    assert probe.strength == 0.1 and probe.predicted.shape == (4,)


def test_bad_input_is_named() -> None:
    x, y = blobs(0)
    with pytest.raises(DataError, match=r"two classes.*class 1"):
        linear_probe(x, np.ones(90, int), x, 3)
    with pytest.raises(DataError, match="training embeddings hold NaN"):
        linear_probe(np.where(x == x[0, 0], np.nan, x), y, x, 3)
    with pytest.raises(ShapeError, match=r"\(90, 8\), \(80,\)"):
        linear_probe(x, y[:80], x, 3)


@pytest.mark.parametrize("present", [(0, 1), (0, 2, 3)])
def test_weight_and_bias_give_the_probabilities(present: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    y = rng.choice(present, 120)
    x = rng.normal(size=(120, 5)) * [1, 2, 3, 4, 5] + y[:, None] + 3
    probe = linear_probe(x, y, x, 4 if 3 in present else 2)
    scores = np.exp(x @ probe.weight.T + probe.bias)
    np.testing.assert_allclose(scores / scores.sum(1, keepdims=True), probe.probabilities, atol=1e-12)
