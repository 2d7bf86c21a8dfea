"""Intervals that draw whole clusters: wider where samples of one are alike, the same where each is alone."""

from __future__ import annotations

import numpy as np

from nearfar.evaluate.bootstrap import bootstrap_mean
from nearfar.evaluate.metrics import classification_report, paired_difference

RNG = np.random.default_rng(0)
IMAGES = np.repeat(np.arange(40), 5)
RIGHT = np.repeat(RNG.random(40) < 0.6, 5)  # all pairs of an image are right, or none is
TRUTH = RNG.integers(0, 3, 200)
GUESS = np.where(RIGHT, TRUTH, (TRUTH + 1) % 3)


def width(interval: dict[str, float]) -> float:
    return interval["high"] - interval["low"]


def test_alike_samples_count_as_one() -> None:
    alone, together = bootstrap_mean(RIGHT), bootstrap_mean(RIGHT, clusters=IMAGES)
    assert together["value"] == alone["value"]
    assert 1.9 < width(together) / width(alone) < 2.6  # sqrt(5) = 2.24


def test_clusters_of_one_sample_change_nothing_but_the_draw() -> None:
    alone, single = bootstrap_mean(RIGHT), bootstrap_mean(RIGHT, clusters=np.arange(200))
    np.testing.assert_allclose(list(single.values()), list(alone.values()), atol=0.02)


def test_a_report_and_a_paired_difference_draw_clusters() -> None:
    names = ("a", "b", "c")
    alone = classification_report(TRUTH, GUESS, names)
    together = classification_report(TRUTH, GUESS, names, clusters=IMAGES)
    assert together["confusion"] == alone["confusion"]
    assert together["accuracy"]["value"] == RIGHT.mean()
    assert 1.9 < width(together["accuracy"]) / width(alone["accuracy"]) < 2.6
    same = bootstrap_mean(RIGHT, clusters=IMAGES)
    np.testing.assert_allclose(width(together["accuracy"]), width(same), rtol=0.1)
    difference = paired_difference(TRUTH, TRUTH, GUESS, 3, metric="accuracy", clusters=IMAGES)
    np.testing.assert_allclose(difference["value"], 1 - RIGHT.mean())
    np.testing.assert_allclose(width(difference), width(same), rtol=0.1)
