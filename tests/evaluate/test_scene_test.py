"""Judging a predictor on scenes: every pixel once, what does not count left out, pictures of one size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nearfar.data.scenes import SceneSet
from nearfar.evaluate import scene_test
from nearfar.evaluate.heads import Predictor
from nearfar.evaluate.scene_test import judge, pictures


def bright(task: str = "segment") -> Predictor:
    """Class 1 where B08 of the last date exceeds 0.35: right on the scenes in memory."""

    def maps(pixels: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        p = (pixels[-1, 0] > 0.35).float()
        return torch.stack([1 - p, p])

    classes = ("a", "b")
    return Predictor(task, classes, 2 if task == "change" else 1, ("B08",), "sentinel2_l2a", 1, maps)


@pytest.mark.parametrize(("task", "dates"), [("segment", 1), ("segment", 3), ("change", 2)])
def test_windows_count_every_pixel_once(
    labelled: Callable[..., SceneSet], monkeypatch: pytest.MonkeyPatch, task: Any, dates: int
) -> None:
    monkeypatch.setattr(scene_test, "WINDOW", 24)
    monkeypatch.setattr(scene_test, "OVERLAP", 8)
    scene = labelled(task, dates).of_split("test")[1]
    _, valid, target = scene.read(slice(0, 41), slice(0, 64))
    found = judge(bright(task), scene, (1,))
    counted = valid.any(0) & (target != 255)
    assert found.confusion.sum() == counted.sum()
    assert found.confusion.tolist() == [[int((target[counted] == 0).sum()), 0], [0, int((target[counted] == 1).sum())]]
    assert np.array_equal(found.true, np.where(counted, target, 255))
    assert (found.predicted[~valid.any(0)] == 255).all()
    assert np.array_equal(found.predicted[counted], target[counted])


def test_a_change_counts_only_where_both_dates_have_data(labelled: Callable[..., SceneSet]) -> None:
    scene = labelled("change", 2).of_split("test")[0]
    scene.source.scenes[scene.id][1][0, 20:30] = False  # type: ignore[attr-defined]
    found = judge(bright("change"), scene, (1,))
    assert (found.true[20:30] == 255).all() and (found.predicted[20:30] == 255).all()


def test_pictures_are_cut_alike_around_the_middle(labelled: Callable[..., SceneSet]) -> None:
    scenes = labelled("change", 2)
    results = [judge(bright("change"), scene, (1,)) for scene in scenes.of_split("test")]
    made = pictures(results, scenes, ("B04", "B03", "B02", "B08")[:2])
    assert made["true"].shape == made["predicted"].shape == (2, 41, 50)
    assert np.array_equal(made["true"][0], results[0].true[2:43]) and np.array_equal(
        made["true"][1], results[1].true[:, 7:57]
    )
    assert made["id"].tolist() == ["test0", "test1"] and "colour" not in made, "two bands make no colours"
