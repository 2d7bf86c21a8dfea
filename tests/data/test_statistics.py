"""Channel statistics are those of all pixels."""

from __future__ import annotations

import pytest
import torch

from nearfar.data import TensorDataset, channel_statistics
from nearfar.errors import DataError


def test_mean_and_std_of_all_pixels() -> None:
    images = torch.rand(20, 3, 6, 6) * torch.tensor([1.0, 10.0, 0.01])[:, None, None]
    mean, std = channel_statistics(TensorDataset(images))
    pixels = images.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, pixels.mean(1).float())
    torch.testing.assert_close(std, pixels.std(1, correction=0).float())


def test_small_variation_far_from_zero() -> None:
    images = 0.447 + 1e-5 * torch.randn(50, 1, 8, 8)
    _, std = channel_statistics(TensorDataset(images))
    assert std.item() == pytest.approx(images.double().std().item(), rel=1e-2)


def test_limit_spreads_over_the_dataset() -> None:
    images = torch.arange(100.0).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    mean, _ = channel_statistics(TensorDataset(images), limit=11)
    assert mean.item() == pytest.approx(49.5, abs=0.6)


def test_constant_channel_has_std_one() -> None:
    mean, std = channel_statistics(TensorDataset(torch.full((4, 2, 3, 3), 0.25)))
    assert mean.tolist() == [0.25, 0.25]
    assert std.tolist() == [1.0, 1.0]


def test_nothing_to_measure() -> None:
    with pytest.raises(DataError, match="no samples"):
        channel_statistics(TensorDataset(torch.zeros(0, 1, 2, 2)))
