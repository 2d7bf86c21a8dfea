"""The ranked list of doubted labels, its file and its score."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.embed import run_embeddings
from nearfar.evaluate.noise_task import average_precision, noise_task, suggested_labels
from nearfar.train.run import Run


@pytest.mark.parametrize("decimals", [1, 8])
def test_average_precision_is_scikit_learns_also_with_ties(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    wrong = rng.random(200) < 0.2
    score = (rng.normal(size=200) + wrong).round(decimals)
    found = average_precision(score, wrong, resamples=200)
    assert found["value"] == pytest.approx(average_precision_score(wrong, score))
    assert found["low"] < found["value"] < found["high"]
    assert found["high"] - found["low"] < 0.4


def test_average_precision_of_a_perfect_ranking_has_no_spread() -> None:
    found = average_precision([3, 2, 1, 0], [True, True, False, False], resamples=50)
    assert found == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_neighbours_suggest_the_label_and_doubted_ones_count_less() -> None:
    z = [[1.0, 0.0], [1.0, 0.01], [1.0, 0.02], [0.0, 1.0], [0.01, 1.0]]
    assert suggested_labels(z, [1, 0, 0, 1, 1], np.zeros(5), 2, k=2).tolist()[0] == 0
    assert suggested_labels(z, [0, 1, 0, 1, 1], [0, 0, 0.9, 0, 0], 2, k=2).tolist()[0] == 1


def test_a_run_gets_a_list_and_a_score(run: Run) -> None:
    found = noise_task(run, run.config.eval)
    with (run.path / "noise.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    doubts = [float(row["doubt"]) for row in rows]
    assert found["labels"] == len(rows) and doubts == sorted(doubts, reverse=True)
    assert found["wrong_labels"] == sum(row["given"] != row["true"] for row in rows) > 0
    assert {row["split"] for row in rows} == {"train", "val"} and rows[0]["rank"] == "1"
    assert found["precision_at_10"] == np.mean([row["given"] != row["true"] for row in rows[:10]])
    assert found["average_precision"]["value"] > 0


def test_without_truth_there_is_a_list_and_no_score(run: Run) -> None:
    known = run_embeddings(run)
    replace(known, true_label=np.full(len(known), -1)).save(run.arrays / "embeddings.npz")
    found = noise_task(run, run.config.eval)
    assert set(found) == {"labels", "doubted"}
    assert (run.path / "noise.csv").read_text(encoding="utf-8").splitlines()[1].endswith(",")


def test_what_cannot_be_ranked_is_named(run: Run) -> None:
    known = run_embeddings(run)
    replace(known, label=np.zeros_like(known.label)).save(run.arrays / "embeddings.npz")
    with pytest.raises(DataError, match="two classes"):
        noise_task(run, run.config.eval)
    with pytest.raises(DataError, match="0 of 3 positive"):
        average_precision([1, 2, 3], [False] * 3)
    with pytest.raises(ShapeError, match=r"\(3,\) and \(2,\)"):
        average_precision([1, 2, 3], [True, False])
