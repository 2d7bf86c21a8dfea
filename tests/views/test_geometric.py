"""Geometry: matrices do what they say, image, mask and boxes go together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nearfar.views import geometric


def view(image: Tensor, matrix: Tensor, size: int) -> Tensor:
    return geometric.resample(image, geometric.grid(matrix, (size, size)))


def full(*values: float) -> list[Tensor]:
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def test_identity_is_exact() -> None:
    image = torch.rand(2, 3, 8, 8)
    identity = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    torch.testing.assert_close(view(image, identity, 8), image, atol=1e-6, rtol=0)


def test_mirror_quarter_turn_and_shift() -> None:
    image = torch.rand(1, 2, 8, 8)
    close = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(view(image, geometric.scaling(*full(-1, 1)), 8), image.flip(3), **close)
    torch.testing.assert_close(view(image, geometric.rotation(*full(90)), 8), image.rot90(1, (2, 3)), **close)
    moved = view(image, geometric.translation(*full(0.5, 0)), 8)
    torch.testing.assert_close(moved[..., :6], image[..., 2:], **close)


def test_rotation_of_an_oblong_image_keeps_angles() -> None:
    corner = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64) / torch.tensor([30.0, 20.0])  # one pixel each
    turned = (geometric.rotation(*full(33), aspect=1.5)[0, :2, :2] @ corner.T) * torch.tensor([[30.0], [20.0]])
    torch.testing.assert_close(turned.T @ turned, torch.eye(2, dtype=torch.float64))


def test_compose_applies_the_last_first() -> None:
    shift, scale = geometric.translation(*full(0.3, 0.1)), geometric.scaling(*full(0.5, 0.25))
    torch.testing.assert_close(geometric.compose(shift, scale), shift @ scale)


def test_crop_has_its_area_and_stays_inside() -> None:
    matrix = geometric.resized_crop(torch.arange(3000), (0.2, 0.7))
    width, height = matrix[:, 0, 0], matrix[:, 1, 1]
    area = width * height
    assert area.max() <= 0.7 + 1e-6 and area.min() < 0.25
    assert (width / height).max() < 4 / 3 + 1e-6 and (width / height).min() > 3 / 4 - 1e-6
    assert ((matrix[:, :2, 2].abs() + torch.stack([width, height], 1)) <= 1 + 1e-6).all()


def test_the_whole_image_is_a_crop_of_scale_one() -> None:
    matrix = geometric.resized_crop(torch.arange(5), (1.0, 1.0), (1.0, 1.0))
    torch.testing.assert_close(matrix, torch.eye(3, dtype=torch.float64).expand(5, 3, 3))


@pytest.mark.parametrize("size", [32, 128])
def test_elastic_displacement_is_a_share_of_the_image(size: int) -> None:
    field = geometric.elastic_field(torch.arange(6), (size, size), 0.03)
    pixels = field * size / 2
    rms = pixels.square().sum(1).mean((1, 2)).sqrt()
    torch.testing.assert_close(rms, torch.full((6,), 0.03 * size), rtol=1e-4, atol=0)
    jump = (pixels[..., 1:] - pixels[..., :-1]).abs().max()
    assert jump < 0.6, "neighbouring pixels move together"


def test_two_views_of_a_batch_come_in_order() -> None:
    image = torch.arange(3.0)[:, None, None, None].expand(3, 1, 4, 4)
    matrix = torch.eye(3, dtype=torch.float64).expand(6, 3, 3)
    assert view(image, matrix, 4)[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_boxes_follow_a_mirror_and_a_crop() -> None:
    boxes = torch.tensor([[[10.0, 20.0, 30.0, 60.0], [float("nan")] * 4]])
    mirrored = geometric.transform_boxes(boxes, geometric.scaling(*full(-1, 1)), (80, 40), 80)
    torch.testing.assert_close(mirrored[0, 0], torch.tensor([20.0, 20.0, 60.0, 60.0]))
    assert mirrored[0, 1].isnan().all()
    quarter = geometric.compose(geometric.translation(*full(-0.5, -0.5)), geometric.scaling(*full(0.5, 0.5)))
    cropped = geometric.transform_boxes(boxes[:, :1], quarter, (80, 40), 80)
    torch.testing.assert_close(cropped[0, 0], torch.tensor([40.0, 40.0, 80.0, 80.0]))


def test_large_images_are_averaged_before_they_are_sampled() -> None:
    checker = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    small = geometric.shrink(checker.float().expand(1, 1, 64, 64), 8, 0.25)
    assert small.shape[-1] == 16
    assert torch.equal(small, torch.full_like(small, 0.5))
