"""The corrected thermal augmentation does what its names say."""

from __future__ import annotations

import pytest
import torch

from nearfar.views import thermal


@pytest.mark.parametrize("size", [(0.6, 0.2), (0.2, 0.6), (0.2, 0.2), (0.1, 0.9)])
def test_occlusion_always_happens_beside_the_centre(size: tuple[float, float]) -> None:
    image = torch.rand(400, 2, 100, 100) + 1
    covered = (thermal.occlusion(image, torch.arange(400), *size, fill=0.0) == 0)[:, 0]
    assert set(covered.flatten(1).sum(1).tolist()) == {round(size[0] * 100) * round(size[1] * 100)}
    assert not covered[:, 31:69, 31:69].any()
    assert (covered.float().mean(0) > 0).float().mean() > 0.2, "the box is not always in the same place"


def test_a_box_that_cannot_avoid_the_centre_goes_to_the_corners() -> None:
    covered = thermal.occlusion(torch.ones(100, 1, 10, 10), torch.arange(100), 0.5, 0.5, fill=0.0) == 0
    assert covered.flatten(1).sum(1).eq(25).all()
    corners = {tuple(mask[0][[0, 0, 9, 9], [0, 9, 0, 9]].tolist()) for mask in covered}
    assert len(corners) == 4 and all(sum(corner) == 1 for corner in corners)


def test_occlusion_is_as_cold_as_the_coldest_pixel() -> None:
    image = torch.rand(5, 3, 20, 20)
    image[:, 1] += 280
    out = thermal.occlusion(image, torch.arange(5))
    torch.testing.assert_close(out.amin((2, 3)), image.amin((2, 3)))
    assert ((out == image.amin((2, 3), keepdim=True)).flatten(2).sum(2) >= 48).all()


def test_brightness_contrast_is_the_identity_at_one() -> None:
    image = torch.rand(3, 1, 9, 9)
    ones = torch.ones(3)
    torch.testing.assert_close(thermal.brightness_contrast(image, ones, ones), image)


def test_brightness_contrast_follows_its_formula() -> None:
    image, gain, factor = torch.rand(3, 2, 9, 9), torch.tensor([0.8, 1.0, 1.4]), torch.tensor([0.2, 0.0, 1.2])
    mu = image.mean((2, 3), keepdim=True)
    b, c = gain[:, None, None, None], factor[:, None, None, None]
    torch.testing.assert_close(thermal.brightness_contrast(image, gain, factor), b * (c * (image - mu) + mu))
    torch.testing.assert_close(thermal.contrast(image, factor), c * (image - mu) + mu)
    torch.testing.assert_close(thermal.contrast(image, factor, gain), b * (c * (image - mu) + mu))


def test_a_gain_leaves_its_black_level_in_place() -> None:
    image = torch.full((1, 1, 4, 4), 290.0)
    image[..., 0] = 280
    out = thermal.brightness_contrast(image, torch.tensor([1.5]), torch.ones(1), black=280.0)
    torch.testing.assert_close(out, (image - 280) * 1.5 + 280)


@pytest.mark.parametrize("shape", [(1, 32, 32), (4, 24, 40)])
def test_elastic_moves_all_channels_alike(shape: tuple[int, int, int]) -> None:
    one = torch.rand(2, 1, *shape[1:])
    image = one.expand(2, *shape)
    moved = thermal.elastic(image, torch.tensor([1, 2]), 0.05)
    assert moved.shape == image.shape
    assert torch.equal(moved, moved[:, :1].expand_as(moved))
    assert not torch.allclose(moved, image, atol=0.05)


def test_elastic_moves_by_pixels_of_the_image() -> None:
    ramp = torch.arange(100.0).expand(3, 1, 100, 100)
    moved = thermal.elastic(ramp, torch.tensor([1, 2, 3]), 0.03)[:, 0, 15:85, 15:85] - ramp[:, 0, 15:85, 15:85]
    assert 0.5 < moved.square().mean().sqrt() < 5
