"""Pooled metrics of maps: against the golden numbers, and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.confusion import (
    best_threshold,
    binary_report,
    iou,
    map_report,
    pixel_confusion,
    scene_interval,
    without_truth,
)
from nearfar.evaluate.metrics import accuracy, macro


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, Any]:
    return dict(json.loads((golden_dir / "saco/metrics.json").read_text(encoding="utf-8")))


def same_numbers(found: dict[str, Any], expected: dict[str, Any], names: list[str]) -> None:
    assert found["overall_accuracy"]["value"] == pytest.approx(expected["OA"], abs=1e-12)
    assert found["mean_iou"]["value"] == pytest.approx(expected["mIoU_present"], abs=1e-12)
    for name in names:
        if expected["IoU"].get(name) is None:
            assert name not in found["per_class"]
        else:
            assert found["per_class"][name]["iou"] == pytest.approx(expected["IoU"][name], abs=1e-12)


@pytest.mark.parametrize(("part", "ignored"), [("all", []), ("ignore_0", [0])])
def test_golden_confusion(golden: dict[str, Any], part: str, ignored: list[int]) -> None:
    counts, names = without_truth(golden["confusion"], ignored), ["0", "1", "2", "3"]
    found = map_report(counts[None], names, resamples=0)
    same_numbers(found, golden[part], names)
    if not ignored:
        assert found["mean_iou_absent_as_0"] == pytest.approx(golden[part]["mIoU_absent_as_0"], abs=1e-12)


def test_golden_pastis_map(golden: dict[str, Any]) -> None:
    case, names = golden["pastis"], [str(c) for c in range(20)]
    target = np.array(case["target"])
    counts = pixel_confusion(np.where(np.isin(target, case["ignore"]), 255, target), case["prediction"], 20)
    same_numbers(map_report(counts[None], names, resamples=0), case["confusion_metrics"], names)
    kept = without_truth(pixel_confusion(target, case["prediction"], 20), case["ignore"])
    assert np.array_equal(kept, counts)


def test_golden_binary(golden: dict[str, Any]) -> None:
    for name in ("binary", "binary_no_positive_prediction"):
        case = golden[name]
        found = binary_report([[[case["tn"], case["fp"]], [case["fn"], case["tp"]]]], resamples=0)
        for metric in ("precision", "recall", "f1", "iou"):
            if isinstance(case.get(metric), float):
                assert found[metric]["value"] == pytest.approx(case[metric], abs=1e-12)
        assert "accuracy" not in case or found["overall_accuracy"]["value"] == pytest.approx(case["accuracy"])
    assert found["precision"]["value"] == 0


def test_golden_pooling_is_not_the_mean_of_images(golden: dict[str, Any]) -> None:
    case = golden["pooled_vs_mean_of_images"]
    scenes = [[[100, fp], [fn, tp]] for tp, fp, fn in case["images (tp, fp, fn)"]]
    found = binary_report(scenes, resamples=200)["f1"]
    assert found["value"] == pytest.approx(case["pooled_f1"], abs=1e-12)
    assert found["low"] < found["value"] < found["high"], "the scenes differ widely"
    assert abs(found["value"] - case["mean_of_image_f1"]) > 0.05


def test_pixels_that_do_not_count() -> None:
    target = np.array([[0, 1], [255, 1]])
    predicted = np.array([[0, 0], [1, 1]])
    assert pixel_confusion(target, predicted, 2).tolist() == [[1, 0], [1, 1]]
    valid = np.array([[True, False], [True, True]])
    assert pixel_confusion(target, predicted, 2, valid).tolist() == [[1, 0], [0, 1]]


def test_labels_and_shapes_are_checked() -> None:
    with pytest.raises(DataError, match=r"the target holds labels of no class \(found 0 to 7, expected 0 to 1, or 255"):
        pixel_confusion([0, 7], [0, 1], 2)
    with pytest.raises(DataError, match="the prediction holds labels of no class"):
        pixel_confusion([0, 1], [0, 2], 2)
    with pytest.raises(ShapeError, match="do not cover the same pixels"):
        pixel_confusion([0, 1], [[0, 1]], 2)
    with pytest.raises(ShapeError, match=r"expected \[scenes, 3, 3\]"):
        map_report(np.ones((2, 2)), ["a", "b", "c"])
    with pytest.raises(DataError, match="no pixel can be scored"):
        map_report(np.zeros((2, 2, 2)), ["a", "b"])
    with pytest.raises(ConfigError, match="differ in length"):
        best_threshold([0.1, 0.2], [True])


def test_a_class_without_truth_leaves_the_mean_and_is_named() -> None:
    found = map_report([[[6, 2, 0], [1, 7, 0], [0, 0, 0]]], ["crop", "water", "snow"], resamples=10)
    assert found["averaged_over"] == ["crop", "water"] and set(found["per_class"]) == {"crop", "water"}
    assert found["mean_iou"]["value"] == pytest.approx((6 / 9 + 7 / 10) / 2)
    assert found["mean_iou_absent_as_0"] == pytest.approx((6 / 9 + 7 / 10) / 3)
    assert found["mean_iou"]["low"] == found["mean_iou"]["high"], "one scene cannot be resampled"
    assert found["pixels"] == 16 and found["per_class"]["crop"]["support"] == 8


def test_the_interval_covers_what_other_scenes_would_give() -> None:
    rng = np.random.default_rng(0)

    def scenes(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        hits = rng.beta(8, 4, count) * 100
        return np.stack([[[h, 100 - h], [0, 0]] for h in hits])

    truth, inside = 8 / 12, 0
    for trial in range(100):
        found = scene_interval(scenes(30), accuracy, resamples=200, seed=trial)
        inside += found["low"] <= truth <= found["high"]
    assert 85 <= inside <= 100


def test_best_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(200) < 0.2
    p = np.round(np.clip(0.3 * truth + rng.normal(0.3, 0.2, 200), 0, 1), 2)
    threshold, score = best_threshold(p, truth)

    def f1(t: float) -> float:
        return float(2 * ((p > t) & truth).sum() / ((p > t).sum() + truth.sum()))

    assert score == pytest.approx(max(f1(t) for t in np.linspace(-0.005, 1.005, 203)))
    assert f1(threshold) == pytest.approx(score)
    assert best_threshold(p, np.zeros(200, bool)) == (0.5, 0.0)


def test_iou_and_macro_take_stacks() -> None:
    counts = np.random.default_rng(2).integers(0, 9, (4, 5, 3, 3))
    assert iou(counts).shape == (4, 5, 3)
    assert macro(iou, counts)[1, 2] == pytest.approx(iou(counts[1, 2]).mean())
