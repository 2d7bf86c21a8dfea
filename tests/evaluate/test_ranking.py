"""Rankings by graded and binary relevance, against plain loops and random orders."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from nearfar.errors import ShapeError
from nearfar.evaluate.ranking import average_precision, ndcg


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 30)), rng.random((7, 30))


def test_ndcg_is_that_of_scikit_learn(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    scores, relevance = drawn
    found, _ = ndcg(scores, relevance, np.ones(scores.shape, bool), (1, 5, 30))
    for column, k in enumerate((1, 5, 30)):
        for row in range(len(scores)):
            expected = ndcg_score(relevance[row : row + 1], scores[row : row + 1], k=k)
            assert math.isclose(found[row, column], expected)


def test_what_is_not_allowed_plays_no_part(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    scores, relevance = drawn
    allowed = np.arange(30)[None] % 3 != np.arange(7)[:, None] % 3
    found, chance = ndcg(scores, relevance, allowed, (1, 5, 25))
    for row, keep in enumerate(allowed):
        alone = ndcg(
            scores[row : row + 1, keep], relevance[row : row + 1, keep], np.ones((1, keep.sum()), bool), (1, 5, 25)
        )
        np.testing.assert_allclose(found[row], alone[0][0])
        np.testing.assert_allclose(chance[row], alone[1][0])


def test_the_order_by_relevance_has_ndcg_1_and_random_orders_the_chance(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    relevance = np.repeat(drawn[1][:1], 20000, 0)
    allowed = np.ones(relevance.shape, bool)
    np.testing.assert_allclose(ndcg(relevance[:1], relevance[:1], allowed[:1])[0], 1)
    found, chance = ndcg(np.random.default_rng(1).random(relevance.shape), relevance, allowed)
    np.testing.assert_allclose(found.mean(0), chance[0], atol=0.01)


def test_average_precision_is_that_of_scikit_learn_and_its_chance_that_of_random_orders() -> None:
    rng = np.random.default_rng(0)
    relevant = np.repeat(np.arange(12)[None] < 4, 20000, 0)
    scores, allowed = rng.random(relevant.shape), np.ones(relevant.shape, bool)
    allowed[:, 0] = False
    found, chance = average_precision(scores, relevant, allowed)
    for row in range(20):
        assert math.isclose(found[row], average_precision_score(relevant[row, 1:], scores[row, 1:]))
    assert math.isclose(found.mean(), chance[0], abs_tol=0.005)


def test_queries_without_anything_to_find_have_no_value() -> None:
    scores, none = np.ones((1, 3)), np.zeros((1, 3), bool)
    assert np.isnan(ndcg(scores, scores, none)[0]).all()
    assert np.isnan(average_precision(scores, none, ~none)[0]).all()
    with pytest.raises(ShapeError, match=r"scores, relevance and candidates differ"):
        ndcg(scores, scores[:, :2], none)
