"""kNN against the brute-force definition."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.knn import knn_predict, knn_scores, neighbours, normalise


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(50, 6)), rng.integers(0, 3, 50), rng.normal(size=(17, 6))


def brute_force(train: np.ndarray, y: np.ndarray, test: np.ndarray, k: int, temperature: float | None) -> np.ndarray:
    votes = np.zeros((len(test), 3))
    for i, query in enumerate(test):
        cosine = np.array([query @ x / np.linalg.norm(query) / np.linalg.norm(x) for x in train])
        for j in np.argsort(-cosine)[:k]:
            votes[i, y[j]] += 1 if temperature is None else np.exp(cosine[j] / temperature)
    return votes / votes.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 5, 50])
def test_weighted_votes_equal_brute_force(k: int) -> None:
    train, y, test = data()
    np.testing.assert_allclose(knn_scores(train, y, test, 3, k=k), brute_force(train, y, test, k, 0.07), atol=1e-5)


def test_majority_equals_brute_force_where_there_is_no_tie() -> None:
    train, y, test = data(1)
    expected = brute_force(train, y, test, 7, None)
    clear = np.sort(expected, axis=1)[:, -1] > np.sort(expected, axis=1)[:, -2]
    ours = knn_predict(train, y, test, 3, k=7, weighting="majority")
    assert clear.sum() > 8
    np.testing.assert_array_equal(ours[clear], expected.argmax(axis=1)[clear])


def test_a_tie_goes_to_the_nearer_neighbours() -> None:
    train = np.array([[1.0, 0.0], [1.0, 1.0]])
    assert knn_predict(train, [0, 1], [[0.4, 1.0]], 2, k=2, weighting="majority").tolist() == [1]
    assert knn_predict(train, [1, 0], [[0.4, 1.0]], 2, k=2, weighting="majority").tolist() == [0]


def test_tiles_change_nothing() -> None:
    train, _, test = data(2)
    whole, tiled = neighbours(test, train, 9), neighbours(test, train, 9, cells=120)
    np.testing.assert_array_equal(whole[1], tiled[1])
    np.testing.assert_allclose(whole[0], tiled[0], atol=1e-6)


def test_self_is_left_out_in_every_tile() -> None:
    train, _, _ = data(3)
    similarity, position = neighbours(train, train, 49, exclude_self=True, cells=150)
    assert not (position == np.arange(50)[:, None]).any()
    assert np.isfinite(similarity).all() and (np.diff(similarity, axis=1) <= 0).all()


def test_k_beyond_the_training_set_takes_all_of_it() -> None:
    train, y, test = data(4)
    np.testing.assert_allclose(knn_scores(train, y, test, 3, k=999), knn_scores(train, y, test, 3, k=50))


def test_constant_embeddings_vote_as_the_classes_are_distributed() -> None:
    votes = knn_scores(np.ones((10, 4)), [0] * 7 + [1] * 3, np.ones((2, 4)), 2, k=10)
    np.testing.assert_allclose(votes, [[0.7, 0.3], [0.7, 0.3]], atol=1e-6)


def test_bad_input_is_named() -> None:
    train, y, test = data(5)
    spoiled = train.copy()
    spoiled[3, 2] = np.nan
    with pytest.raises(DataError, match=r"NaN or infinity in 1 of 50 rows.*first row 3"):
        knn_scores(spoiled, y, test, 3)
    with pytest.raises(ShapeError, match=r"\(17, 5\) and \(50, 6\)"):
        neighbours(test[:, :5], train, 3)
    with pytest.raises(ShapeError, match="50 and 49"):
        knn_scores(train, y[:49], test, 3)
    with pytest.raises(ConfigError, match="at least 1"):
        neighbours(test, train, 0)
    with pytest.raises(DataError, match="no neighbours"):
        neighbours(train[:1], train[:1], 1, exclude_self=True)
    with pytest.raises(ShapeError, match="two axes"):
        normalise(train[0])
