"""Pixel features of points: read where they appear, averaged over the views that see them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearfar.errors import ShapeError
from nearfar.scenes.fusion import pixel_features, stacked, standardised
from nearfar.spatial.cameras import look_at, orbit
from nearfar.spatial.pinhole import Camera

FRONT = Camera(look_at((0, -4, 0)), 50, 50, 32, 32, 64, 64)
"""a point (x, 0, z) appears at (32 + 12.5 x, 32 - 12.5 z)"""


def ramps(height: int, width: int) -> torch.Tensor:
    """Column and row of each cell's centre, in pixels of 64 x 64."""
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([columns * 64 / width, rows * 64 / height])


@pytest.mark.parametrize("size", [64, 16])
def test_a_point_reads_where_it_appears(size: int) -> None:
    points = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [-1.3, 0.0, 1.1]])
    read = pixel_features(points, [FRONT], ramps(size, size)[None])
    expected = torch.tensor([[32.0, 32.0], [44.5, 25.75], [15.75, 18.25]])
    assert torch.allclose(read, expected, atol=1e-3)


def test_only_views_that_see_a_point_count() -> None:
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, -9.0, 0.0], [50.0, 0.0, 0.0]])
    back = Camera(look_at((0, 4, 0)), 50, 50, 32, 32, 64, 64)
    maps = torch.stack([torch.ones(2, 8, 8), 5 * torch.ones(2, 8, 8)])
    read = pixel_features(points, [FRONT, back], maps)
    assert torch.allclose(read[:, 0], torch.tensor([3.0, 5.0, 0.0]))  # both; behind the first camera; beside both


def test_gradients_reach_the_maps() -> None:
    cameras, maps = orbit(3, 4.0), torch.randn(3, 4, 8, 8, requires_grad=True)
    pixel_features(torch.rand(20, 3) - 0.5, cameras, maps).square().sum().backward()
    assert maps.grad is not None and (maps.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_a_map_a_camera() -> None:
    with pytest.raises(ShapeError, match="a map a camera"):
        pixel_features(torch.rand(5, 3), [FRONT], torch.rand(2, 3, 8, 8))
    assert np.isfinite(pixel_features(torch.rand(5, 3), [FRONT], torch.rand(1, 3, 8, 8)).numpy()).all()


def test_stages_are_read_at_the_resolution_of_the_finest() -> None:
    fine, coarse = torch.rand(2, 3, 8, 8), torch.ones(2, 5, 2, 2)
    both = stacked([fine, coarse])
    assert both.shape == (2, 8, 8, 8)
    assert torch.equal(both[:, :3], fine)
    assert (both[:, 3:] == 1).all()


def test_channels_are_standardised_over_all_views() -> None:
    maps = torch.randn(4, 3, 5, 6) * torch.tensor([1e-3, 1.0, 50.0])[:, None, None] + 7
    maps[:, 1] = 2  # a dead channel
    made = standardised(maps).transpose(0, 1).flatten(1)
    assert torch.allclose(made.mean(1), torch.zeros(3), atol=1e-3)
    assert torch.allclose(made.std(1), torch.tensor([1.0, 0.0, 1.0]), atol=1e-3)
