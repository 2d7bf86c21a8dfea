"""Synthetic defects: only inside their region, where the image really changed, and from the key alone."""

import pytest
import torch

from nearfar.views.defects import add_defects

KEYS = torch.arange(64) * 7919 + 5


def pictures(n: int = 64, channels: int = 3, size: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    image = 0.5 + 0.1 * torch.randn(n, channels, size, size, generator=generator)
    image[:, :, 10:30, 12:36] += 0.4
    return image


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_nothing_changes_far_from_the_defect_that_is_reported(channels: int) -> None:
    image = pictures(channels=channels)
    spoiled, where = add_defects(image, KEYS)
    assert spoiled.shape == image.shape and where.dtype == torch.bool and where.shape == (64, 48, 48)
    assert spoiled.isfinite().all()
    changed = (spoiled - image).abs().mean(1)
    deviation = image.std((1, 2, 3))[:, None]
    # What is left unreported inside a region changed less than the threshold on average around the pixel.
    assert (changed.flatten(1)[:, :] * ~where.flatten(1)).mean(1).max() < 0.15 * deviation.max()
    assert changed[where].mean() > 5 * changed[~where].mean()


def test_defects_differ_in_size_and_most_images_have_one() -> None:
    shares = add_defects(pictures(), KEYS)[1].float().mean((1, 2))
    assert (shares > 0).float().mean() > 0.8
    assert shares.max() > 0.2 and shares[shares > 0].min() < 0.02 and shares.max() < 0.7


def test_a_defect_depends_on_its_own_image_and_key_alone() -> None:
    image = pictures()
    spoiled, where = add_defects(image, KEYS)
    some = torch.tensor([3, 17, 40])
    again, there = add_defects(image[some], KEYS[some])
    assert torch.equal(there, where[some]) and torch.equal(again, spoiled[some])
    other = add_defects(image, KEYS + 1)[1]
    assert (other != where).flatten(1).any(1).float().mean() > 0.9


def test_an_image_without_structure_has_no_defect_from_its_own_parts() -> None:
    flat = torch.full((64, 3, 32, 32), 0.25)
    spoiled, where = add_defects(flat, KEYS)
    untinted = (spoiled - flat).abs().amax((1, 2, 3)) < 1e-5
    assert untinted.sum() > 20 and not where[untinted].any()


def test_the_units_of_the_image_do_not_matter() -> None:
    image = pictures().double()
    where = add_defects(image, KEYS)[1]
    assert (add_defects(image * 40.0, KEYS)[1] == where).float().mean() > 0.9999
