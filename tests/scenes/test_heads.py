"""Heads: the published size, any picture size, rays of several pictures."""

from __future__ import annotations

import pytest
import torch

from nearfar.errors import ShapeError
from nearfar.scenes.heads import PictureHead, PixelHead, UNet
from nearfar.scenes.point_options import PAPER


def test_published_size() -> None:
    unet = UNet(PAPER.value_dim, PAPER.head_width)
    assert sum(p.numel() for p in unet.parameters()) == 3_643_395


@pytest.mark.parametrize("size", [(8, 12), (7, 5), (1, 1)])
def test_pictures_of_any_size(size: tuple[int, int]) -> None:
    assert UNet(3, 4)(torch.randn(2, 3, *size)).shape == (2, 3, *size)


def test_rays_stand_row_by_row() -> None:
    head = PictureHead(3, 4)
    maps = torch.randn(2, 3, 6, 8)
    rays = maps.permute(0, 2, 3, 1).reshape(-1, 3)
    expected = head.unet(maps).permute(0, 2, 3, 1).reshape(-1, 3)
    assert torch.allclose(head(rays, (6, 8)), expected)
    assert torch.allclose(head(rays[:48], (6, 8)), expected[:48], atol=1e-6)


def test_rays_that_form_no_picture() -> None:
    for count, shape in ((10, None), (10, (3, 4)), (0, (3, 4))):
        with pytest.raises(ShapeError, match="whole pictures"):
            PictureHead(3, 4)(torch.randn(count, 3), shape)


def test_pixel_head_reads_each_ray_alone() -> None:
    head, rays = PixelHead(5, 7), torch.randn(9, 5)
    assert torch.allclose(head(rays)[4:5], head(rays[4:5]), atol=1e-6)
