"""Histograms of codes: every code counted, each plane for itself, masked pixels left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar.errors import ConfigError, DataError, NearfarError, ShapeError
from nearfar.spatial.texture import code_count, lbp_histogram, local_binary_pattern


def test_golden_counts(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "saco" / "lbp.npz")
    names = [key.split("/")[1] for key in golden.files if key.startswith("hist18/")]
    assert names
    for name in names:
        counts = golden[f"hist18/{name}"]
        histogram = lbp_histogram(local_binary_pattern(golden[f"img/{name}"]))
        np.testing.assert_allclose(histogram, counts / counts.sum(), rtol=1e-7)


def test_codes_that_the_published_histogram_drops_are_most_of_water() -> None:
    random = np.random.default_rng(0)
    water = (30 + (random.random((64, 64)) < 0.02)).astype(np.uint8)
    noise = random.integers(10, 14, (64, 64)).astype(np.uint8)
    histogram = lbp_histogram(local_binary_pattern(np.stack([water, noise])))
    np.testing.assert_allclose(histogram.sum(-1), 1, rtol=1e-6)
    kept = [np.histogram(local_binary_pattern(x), bins=16, range=(0, 15))[0].sum() / x.size for x in (water, noise)]
    np.testing.assert_allclose(1 - histogram[:, 16:].sum(-1), kept, rtol=1e-6)
    assert (histogram[:, 16:].sum(-1) > [0.8, 0.6]).all()


def test_a_plane_has_the_same_histogram_in_any_batch() -> None:
    codes = local_binary_pattern(np.random.default_rng(0).integers(0, 255, (4, 3, 16, 16)))
    together = lbp_histogram(codes)
    assert together.shape == (4, 3, 18)
    assert together.dtype == np.float32
    for index in np.ndindex(4, 3):
        np.testing.assert_array_equal(together[index], lbp_histogram(codes[index]))


def test_masked_pixels_do_not_count() -> None:
    codes = np.zeros((2, 3, 4, 4), np.uint8)
    codes[..., :2, :] = 5
    mask = np.zeros((2, 1, 4, 4), bool)
    mask[0, :, 1:3, 0] = True
    histogram = lbp_histogram(codes, mask=mask)
    expected = np.zeros((2, 3, 18))
    expected[0, :, [0, 5]] = 0.5
    np.testing.assert_array_equal(histogram, expected)
    tensors = lbp_histogram(torch.from_numpy(codes), mask=torch.from_numpy(mask))
    np.testing.assert_array_equal(tensors.numpy(), expected)


def test_tensors_and_arrays_agree() -> None:
    codes = torch.randint(0, 243, (3, 7, 9), dtype=torch.uint8)
    histogram = lbp_histogram(codes, bins=code_count(16, "nri_uniform"))
    assert histogram.dtype == torch.float32
    np.testing.assert_array_equal(histogram.numpy(), lbp_histogram(codes.numpy(), bins=243))


def test_codes_kept_as_floats_and_empty_batches() -> None:
    codes = local_binary_pattern(np.eye(6))
    np.testing.assert_array_equal(lbp_histogram(codes.astype(float)), lbp_histogram(codes))
    assert lbp_histogram(np.zeros((0, 5, 5), np.uint8), points=8).shape == (0, 10)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"codes": np.zeros(4)}, ShapeError, r"expected \[..., H, W\]"),
        ({"codes": np.full((2, 2), 18)}, DataError, r"found 18 to 18, expected 0 to 17.*bins=code_count"),
        ({"codes": np.full((2, 2), -1)}, DataError, "codes do not fit the bins"),
        ({"codes": np.full((2, 2), 0.5)}, DataError, "not whole numbers"),
        ({"codes": torch.full((2, 2), 0.5)}, DataError, "not whole numbers"),
        ({"codes": np.full((2, 2), np.nan)}, DataError, "4 values that are NaN"),
        ({"bins": 0}, ConfigError, "bins is not valid"),
        ({"bins": 18.0}, ConfigError, "bins is not valid"),
        ({"points": 0}, ConfigError, "points is not valid"),
        ({"mask": np.ones((3, 2), bool)}, ShapeError, r"found shape \(3, 2\), expected broadcasts to \(2, 2\)"),
        ({"codes": torch.zeros(2, 2), "mask": torch.ones(3, 2)}, ShapeError, "mask does not fit"),
    ],
)
def test_wrong_use_is_named(change: dict[str, object], error: type[NearfarError], message: str) -> None:
    with pytest.raises(error, match=message):
        lbp_histogram(**{"codes": np.zeros((2, 2), int), **change})  # type: ignore[call-overload]
