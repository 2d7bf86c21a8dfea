"""Opinions about pairs: who is paired, and whether wrong pairs are believed less."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.opinions import opinions_task, pair_opinions, sample_pairs
from nearfar.train.run import Run


def test_pairs_are_distinct_and_of_the_kind_asked() -> None:
    labels = np.array([0, 0, 1, 1, 1, -1])
    for same in (True, False):
        pairs = sample_pairs(labels, 400, same=same)
        a, b = labels[pairs[:, 0]], labels[pairs[:, 1]]
        assert pairs.shape == (400, 2) and ((a == b) == same).all() and (pairs[:, 0] != pairs[:, 1]).all()
        assert 5 not in pairs
    # 2 ordered pairs of label 0 and 6 of label 1
    assert (labels[sample_pairs(labels, 4000, same=True)[:, 0]] == 0).mean() == pytest.approx(0.25, abs=0.03)


def test_no_such_pair_is_said() -> None:
    with pytest.raises(DataError, match="no two samples share a label"):
        sample_pairs([0, 1, 2, -1, -1], 5, same=True)
    with pytest.raises(DataError, match="no two samples have different labels"):
        sample_pairs([0, 0, -1], 5, same=False)
    with pytest.raises(ShapeError, match="3 and 2"):
        pair_opinions(np.ones((3, 2)), [0, 1])


def test_wrong_pairs_are_believed_less() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, 200)
    given = np.where(rng.random(200) < 0.2, 1 - true, true)
    z = np.eye(2, 5)[true] * 3 + rng.normal(0, 0.5, (200, 5)) + 10
    found = pair_opinions(z, given, true)
    np.testing.assert_allclose(found["b"] + found["d"] + found["u"], 1, atol=1e-5)
    right, wrong = found["agree"] == 1, found["agree"] == 0
    assert right.sum() + wrong.sum() == 2000
    assert found["b"][right].mean() > 0.3 > found["b"][wrong].mean()
    assert found["d"][wrong].mean() > 0.3 > found["d"][right].mean()


def test_constant_embeddings_are_all_uncertainty() -> None:
    found = pair_opinions(np.ones((6, 3)), [0, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(found["u"], 1)
    assert (found["agree"] == -1).all()


def test_of_a_run(run: Run) -> None:
    found = opinions_task(run, run.config.eval)
    assert found["belief"] + found["disbelief"] + found["uncertainty"] == pytest.approx(1, abs=1e-5)
    assert 0 <= found["agreement_auroc"] <= 1 and 0.5 < found["truly_agreeing"] < 1
    with np.load(run.arrays / "opinions.npz") as arrays:
        assert arrays["b"].shape == arrays["epoch"].shape == arrays["agree"].shape == (2000,)
