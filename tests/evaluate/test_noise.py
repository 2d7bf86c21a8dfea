"""Doubt in labels: clusters with some wrong labels, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.noise import label_doubt, ranking


def clusters(noise: float = 0.3, n: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    source = np.random.default_rng(0)
    truth = np.arange(n) % 4
    z = 4 * np.eye(8)[truth] + source.normal(size=(n, 8))
    wrong = source.random(n) < noise
    return z, np.where(wrong, (truth + source.integers(1, 4, n)) % 4, truth), wrong


def test_wrong_labels_rank_first() -> None:
    z, labels, wrong = clusters()
    doubt = label_doubt(z, labels)
    assert doubt.shape == (200,) and (doubt >= 0).all() and (doubt <= 1).all()
    found = ranking(doubt, wrong, ks=(10, 1000))
    assert found["average_precision"] > 0.95 and found["precision_at_10"] == 1 and "precision_at_1000" not in found
    order = np.random.default_rng(1).permutation(200)
    np.testing.assert_allclose(label_doubt(z[order], labels[order]), doubt[order], atol=1e-12)


def test_unknown_labels_neither_speak_nor_are_doubted() -> None:
    z, labels, _ = clusters()
    some = np.concatenate([labels, np.full(50, -1)])
    more = np.concatenate([z, z[:50]])
    assert (label_doubt(more, some)[200:] == 0).all()


def test_bad_input() -> None:
    z, labels, wrong = clusters()
    with pytest.raises(ShapeError, match=r"\(199,\)"):
        label_doubt(z, labels[:-1])
    z[3, 0] = np.nan
    with pytest.raises(DataError, match="row 3"):
        label_doubt(z, labels)
    with pytest.raises(ConfigError, match="neighbours 0"):
        label_doubt(np.eye(3), np.zeros(3, int), neighbours=0)
    with pytest.raises(DataError, match="0 labelled"):
        label_doubt(np.eye(3), np.full(3, -1))
    with pytest.raises(DataError, match="no label is wrong"):
        ranking(np.zeros(3), np.zeros(3, bool))
    with pytest.raises(ShapeError):
        ranking(np.zeros(3), wrong)
