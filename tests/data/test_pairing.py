"""Which pairs of objects are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from nearfar.data.pairing import box_iou, sample_pairs

BOXES = [(0, 0, 10, 10), (20, 0, 30, 10), (21, 0, 31, 10), (0, 50, 90, 90), (50, 20, 51, 21)]
AREAS = [100, 100, 100, 3600, 1]
SETTINGS = {"height": 100, "width": 100, "min_area": 0.005, "max_iou": 0.7}


def test_all_ordered_pairs_but_the_small_and_the_same() -> None:
    found = sample_pairs(BOXES, AREAS, count=99, **SETTINGS)
    assert found == [(i, j) for i in range(4) for j in range(4) if i != j and {i, j} != {1, 2}]


@pytest.mark.parametrize(
    ("setting", "value", "count"), [("min_area", 0.0, 18), ("max_iou", 1.0, 12), ("min_area", 0.1, 0)]
)
def test_the_limits_decide(setting: str, value: float, count: int) -> None:
    assert len(sample_pairs(BOXES, AREAS, count=99, **(SETTINGS | {setting: value}))) == count


def test_the_draw_depends_on_seed_and_key_alone() -> None:
    def draw(**settings: object) -> list[tuple[int, int]]:
        return sample_pairs(BOXES, AREAS, count=3, **(SETTINGS | settings))

    assert draw() == draw()
    assert len(set(draw())) == 3
    assert len({tuple(draw(seed=seed)) for seed in range(9)}) > 5
    assert len({tuple(draw(key=str(key))) for key in range(9)}) > 5


def test_every_pair_is_drawn_equally_often() -> None:
    counts = np.zeros((4, 4))
    for seed in range(600):
        for i, j in sample_pairs(BOXES[:4], AREAS[:4], count=2, seed=seed, **SETTINGS):
            counts[i, j] += 1
    drawn = counts[counts > 0]
    assert len(drawn) == 10
    assert abs(drawn - 120).max() < 45


def test_no_objects_no_pairs() -> None:
    assert sample_pairs([], [], count=4, **SETTINGS) == []


def test_intersection_over_union() -> None:
    a = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2.0]])
    b = np.array([[1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 6, 6.0]])
    np.testing.assert_allclose(box_iou(a, b), [1 / 3, 1, 0])
