"""Cosines and retrieval of several modalities' embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.errors import ShapeError
from nearfar.evaluate.alignment import alignment_health, retrieval, separation

RNG = np.random.default_rng(0)


def test_equal_embeddings_are_aligned_and_found_first() -> None:
    z = RNG.normal(size=(40, 8))
    found = alignment_health({"image": z, "boxes": 3 * z})["image-boxes"]
    assert found["matched"]["min"] == pytest.approx(1) and found["separation"] == 1
    assert found["gap"] == pytest.approx(0, abs=1e-9)
    for way in ("image to boxes", "boxes to image"):
        assert found["retrieval"][way]["all"]["recall_1"] == 1
        assert found["retrieval"][way]["all"]["chance_5"] == pytest.approx(5 / 40)


def test_embeddings_of_the_view_alone_are_found_across_views_and_not_within() -> None:
    views = np.repeat(np.arange(4), 50)
    one, two = (np.eye(4)[views] + 0.01 * RNG.normal(size=(200, 4)) for _ in range(2))
    found = alignment_health({"image": one, "boxes": two}, views=views)["image-boxes"]["retrieval"]["image to boxes"]
    assert found["all"]["recall_5"] > 2 * found["all"]["chance_5"]
    assert found["within_view"]["recall_5"] < 2 * found["within_view"]["chance_5"]
    assert found["within_view"]["chance_5"] == pytest.approx(0.1) and found["within_view"]["gallery"] == 50


def test_samples_with_the_same_caption_are_all_right() -> None:
    captions = np.array(["a", "a", "b", "b"])
    text = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    found = alignment_health({"image": text, "text": text}, captions=captions)["image-text"]
    assert found["retrieval"]["image to text"]["all"]["recall_1"] == 1
    assert found["other"]["max"] == 0
    assert found["retrieval"]["text to image"]["all"]["chance_1"] == pytest.approx(0.5)


def test_ties_count_half_and_constant_embeddings_are_at_chance() -> None:
    same = np.ones((11, 3))
    found = alignment_health({"image": same, "boxes": same})["image-boxes"]
    assert found["separation"] == 0.5
    assert found["retrieval"]["image to boxes"]["all"]["recall_5"] == 0  # rank 6 of 11
    assert found["retrieval"]["image to boxes"]["all"]["median_rank"] == 6


def test_missing_modalities_are_left_out() -> None:
    z = RNG.normal(size=(6, 3))
    present = {"image": np.ones(6, bool), "text": np.array([1, 1, 1, 0, 0, 0], bool), "boxes": np.zeros(6, bool)}
    found = alignment_health({"image": z, "text": z, "boxes": z}, present=present)
    assert found["image-text"]["samples"] == 3 and found["image-boxes"] == {"samples": 0}


def test_chance_is_the_hypergeometric_one() -> None:
    similarity, right = RNG.random((3000, 12)), np.zeros((3000, 12), bool)
    right[:, :3] = True
    found = retrieval(similarity, right, levels=(1, 4, 12))
    assert found["chance_1"] == pytest.approx(3 / 12) and found["chance_12"] == 1
    assert found["recall_4"] == pytest.approx(found["chance_4"], abs=0.03)


def test_separation_without_pairs_is_unknown_and_wrong_lengths_are_refused() -> None:
    assert separation(np.array([]), np.array([1.0])) is None
    with pytest.raises(ShapeError, match="different numbers"):
        alignment_health({"image": np.ones((2, 2)), "text": np.ones((3, 2))})
    with pytest.raises(ShapeError, match="another number"):
        alignment_health({"image": np.ones((2, 2))}, views=["a"])
