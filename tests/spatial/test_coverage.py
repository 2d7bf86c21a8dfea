"""Coverage of grid cells against closed forms and fine sampling, and COCO's run lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nearfar.errors import DataError
from nearfar.spatial.coverage import box_coverage, decode_runs, encode_runs, mask_coverage, polygon_coverage


def _area(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


@given(arrays(float, (3, 2), elements=st.floats(0, 20, allow_nan=False)), st.integers(1, 17))
@settings(max_examples=60, deadline=None)
def test_a_triangle_keeps_its_area_on_any_grid(corners: np.ndarray, size: int) -> None:
    covered = polygon_coverage([corners], 20.0, size)
    assert covered.sum() * (20 / size) ** 2 == pytest.approx(_area(corners), abs=1e-3)
    assert 0 <= covered.min() <= covered.max() <= 1 + 1e-6


def test_a_concave_polygon_matches_fine_sampling() -> None:
    corners = np.array([[1, 1], [11, 2], [10, 9], [6, 4], [2, 10.5]])
    n = 240
    y, x = (np.mgrid[:n, :n] + 0.5) / n * 12
    inside = np.zeros((n, n), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):  # even-odd
        inside ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0 or 1))
    expected = inside.reshape(8, 30, 8, 30).mean((1, 3))
    np.testing.assert_allclose(polygon_coverage([corners], 12, 8), expected, atol=0.01)


def test_a_box_a_rectangle_and_a_mask_agree() -> None:
    box = box_coverage((3, 2, 9, 8), 13, 7)
    rectangle = polygon_coverage([np.array([[3, 2], [9, 2], [9, 8], [3, 8]])], 13, 7)
    mask = np.zeros((20, 30), bool)
    mask[7:13, 14:20] = True
    np.testing.assert_allclose(rectangle, box, atol=1e-6)
    np.testing.assert_allclose(mask_coverage(mask, 11, 5, 13, 7), box, atol=1e-6)


def test_what_is_outside_the_grid_is_cut_off() -> None:
    np.testing.assert_allclose(box_coverage((-5, -5, 50, 5), 10, 4), [[1] * 4] * 2 + [[0] * 4] * 2)
    around = np.array([[-5, -5], [50, -5], [50, 5], [-5, 5]])
    np.testing.assert_allclose(polygon_coverage([around], 10, 4), [[1] * 4] * 2 + [[0] * 4] * 2)
    np.testing.assert_allclose(mask_coverage(np.ones((5, 60), bool), 5, 0, 10, 4), [[1] * 4] * 2 + [[0] * 4] * 2)
    assert not mask_coverage(np.zeros((4, 4), bool), 0, 0, 4, 4).any()


def test_overlapping_parts_count_once_and_opposite_turns_alike() -> None:
    square = np.array([[1, 1], [5, 1], [5, 5], [1, 5]], float)
    np.testing.assert_allclose(polygon_coverage([square, square[::-1]], 8, 8), box_coverage((1, 1, 5, 5), 8, 8))


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=60, deadline=None)
def test_runs_come_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_runs(encode_runs(mask), *mask.shape), mask)
    np.testing.assert_array_equal(decode_runs(_compress(encode_runs(mask)), *mask.shape), mask)


def _compress(runs: list[int]) -> str:
    """As pycocotools' rleToString does."""
    text = ""
    for i, run in enumerate(runs):
        value, more = run - (runs[i - 2] if i > 2 else 0), True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | (32 if more else 0)))
    return text


def test_runs_go_down_the_columns() -> None:
    expected = np.zeros((4, 5), bool)
    expected[1:3, 1] = True
    np.testing.assert_array_equal(decode_runs([5, 2, 13], 4, 5), expected)
    np.testing.assert_array_equal(decode_runs("52=", 4, 5), expected)


@pytest.mark.parametrize("counts", [[5, 2], [5, -2, 17], "52", "5 2"])
def test_runs_that_fit_no_mask_are_refused(counts: str | list[int]) -> None:
    with pytest.raises(DataError, match="run lengths"):
        decode_runs(counts, 4, 5, "annotation 7")
