"""Image AUROC, pixel AUROC and AUPRO on cases that can be worked out by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.detection import (
    Detection,
    aupro,
    detection_report,
    image_auroc,
    paired_differences,
    pixel_auroc,
)


def world(n: int = 20, noise: float = 1.0, seed: int = 0) -> Detection:
    """Half of the images have two defects of unlike size, where the map is one higher than elsewhere."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, 12, 12), dtype=bool)
    masks[n // 2 :, 1:3, 1:3] = masks[n // 2 :, 5:10, 5:10] = True
    maps = masks + noise * rng.normal(size=masks.shape)
    return Detection(maps.max((1, 2)), np.arange(n) >= n // 2, maps, masks)


def test_image_auroc_counts_ordered_pairs_and_half_of_the_ties() -> None:
    # Pairs (anomalous, normal): 3>1, 3>2, 2>1 ordered, 2=2 a tie: 3.5 of 4.
    assert image_auroc([1, 2, 2, 3], [False, False, True, True]) == pytest.approx(3.5 / 4)


def test_pixel_auroc_is_that_of_scikit_learn() -> None:
    found = world()
    expected = roc_auc_score(found.masks.ravel(), found.maps.ravel())
    assert pixel_auroc(found.maps, found.masks) == pytest.approx(expected, abs=1e-12)


def test_aupro_weighs_regions_not_pixels() -> None:
    masks = np.zeros((1, 1, 13), dtype=bool)
    masks[0, 0, 0] = masks[0, 0, 2:12:1] = True  # a region of one pixel and one of ten, two normal pixels
    maps = masks.astype(float)
    maps[0, 0, 0] = 0.0  # the small region is missed with everything normal
    # Before any false positive the overlap is (0 + 1) / 2; the last step goes on straight to (1, 1).
    assert aupro(maps, masks, limit=1.0) == pytest.approx(0.75)
    assert aupro(maps, masks, limit=0.3) == pytest.approx(0.5 + 0.3 / 4)
    assert pixel_auroc(maps, masks) == pytest.approx(10.5 / 11)


def test_diagonal_pixels_are_one_region() -> None:
    masks = np.zeros((1, 4, 4), dtype=bool)
    masks[0, 0, 0] = masks[0, 1, 1] = masks[0, 3, 3] = True
    maps = np.zeros((1, 4, 4))
    maps[0, 0, 0] = maps[0, 1, 1] = 1.0
    # Two regions, the diagonal pair found whole: overlap 1/2 at no false positive; 2/3 were they three.
    assert aupro(maps, masks, limit=1.0) == pytest.approx(0.75)


@pytest.mark.parametrize("measure", [pixel_auroc, aupro])
def test_the_ends_of_the_scale(measure: object) -> None:
    masks = world().masks
    assert measure(masks.astype(float), masks) == pytest.approx(1.0)  # type: ignore[operator]
    assert measure(-masks.astype(float), masks) == pytest.approx(0.0)  # type: ignore[operator]
    chance = 0.5 if measure is pixel_auroc else 0.15
    assert measure(np.zeros(masks.shape), masks) == pytest.approx(chance)  # type: ignore[operator]


def test_aupro_is_the_mean_recall_of_regions_integrated_by_hand() -> None:
    found = world(noise=0.7)
    small, large = found.masks.copy(), found.masks.copy()
    small[:, 4:], large[:, :4] = False, False
    normal = np.sort(found.maps[~found.masks])[::-1]
    rates = np.linspace(0, 0.3, 3001)
    limits = normal[np.minimum((rates * normal.size).astype(int), normal.size - 1)]
    recalls = [np.searchsorted(np.sort(found.maps[m]), limits) for m in (small, large)]
    overlap = 1 - (recalls[0] / small.sum() + recalls[1] / large.sum()) / 2
    assert aupro(found.maps, found.masks) == pytest.approx(overlap.mean(), abs=2e-3)


def test_the_intervals_hold_the_values_and_narrow_with_more_images() -> None:
    few, many = (detection_report(world(n), resamples=200) for n in (12, 120))
    for name in ("image_auroc", "pixel_auroc", "aupro"):
        assert few[name]["low"] <= few[name]["value"] <= few[name]["high"]
        assert many[name]["high"] - many[name]["low"] < few[name]["high"] - few[name]["low"]


def test_resampling_counts_equals_resampling_images() -> None:
    found, rng = world(40), np.random.default_rng(1)
    drawn = []
    for _ in range(300):
        rows = np.concatenate([rng.integers(0, 20, 20), rng.integers(20, 40, 20)])
        drawn.append(pixel_auroc(found.maps[rows], found.masks[rows]))
    report = detection_report(found, resamples=2000)["pixel_auroc"]
    assert report["low"] == pytest.approx(np.quantile(drawn, 0.025), abs=0.004)
    assert report["high"] == pytest.approx(np.quantile(drawn, 0.975), abs=0.004)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    better = world(60, noise=1.0)
    worse = Detection(better.score, better.anomalous, better.maps + 0.3 * world(60, seed=9).maps, better.masks)
    difference = paired_differences(better, worse, resamples=300)["pixel_auroc"]
    own = detection_report(worse, resamples=300)["pixel_auroc"]
    assert difference["high"] - difference["low"] < own["high"] - own["low"]
    same = paired_differences(better, better, resamples=50)
    assert all(v == {"value": 0.0, "low": 0.0, "high": 0.0} for v in same.values())


def test_without_masks_only_images_are_scored() -> None:
    found = world()
    assert set(detection_report(Detection(found.score, found.anomalous), resamples=10)) == {"image_auroc"}


def test_a_defect_without_a_mask_takes_no_part_in_the_pixel_measures() -> None:
    found = world()
    masks = found.masks.copy()
    masks[-1] = False
    report = detection_report(Detection(found.score, found.anomalous, found.maps, masks), resamples=10)
    assert report["pixel_auroc"]["value"] == pytest.approx(pixel_auroc(found.maps[:-1], found.masks[:-1]))


def test_resamples_that_miss_the_only_mask_leave_the_interval() -> None:
    found = world()
    masks = found.masks.copy()
    masks[11:] = False
    report = detection_report(Detection(found.score, found.anomalous, found.maps, masks), resamples=200)
    for name in ("pixel_auroc", "aupro"):
        assert 0 < report[name]["low"] <= report[name]["high"] < 1


@pytest.mark.parametrize("anomalous", [[True, True], [False, False]])
def test_one_kind_of_image_is_refused(anomalous: list[bool]) -> None:
    with pytest.raises(DataError, match=r"none is (normal|anomalous)"):
        image_auroc([0.1, 0.2], anomalous)


def test_bad_scores_and_maps_are_refused() -> None:
    found = world()
    with pytest.raises(DataError, match="image 1: an anomaly score is not finite"):
        image_auroc([0.0, np.nan, 1.0], [False, True, True])
    with pytest.raises(DataError, match="image 3: an anomaly map is not finite"):
        maps = found.maps.copy()
        maps[3, 0, 0] = np.inf
        pixel_auroc(maps, found.masks)
    with pytest.raises(ShapeError, match=r"\(20, 12, 12\).*\(20, 6, 6\)"):
        aupro(found.maps, found.masks[:, ::2, ::2])
    with pytest.raises(DataError, match="0% in defects"):
        aupro(found.maps, np.zeros_like(found.masks))
    with pytest.raises(DataError, match="same images"):
        paired_differences(found, Detection(found.score, ~found.anomalous))
