"""Banner encoders: a turn of the objects is a turn of the features; the published network layer by layer."""

import math

import pytest
import torch
from torch import Tensor

from nearfar.encoders.banner import BannerEncoder, PublishedBannerCNN
from nearfar.errors import ConfigError, ShapeError


def banners(count: int = 3, rows: int = 24, directions: int = 180) -> Tensor:
    return torch.rand(count, rows, directions, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rows", [3, 24, 101])
def test_shapes(rows: int) -> None:
    encoder = BannerEncoder(rows, 36, width=8, dim=20)
    x = banners(rows=rows, directions=36)
    assert encoder(x).shape == (3, 20)
    assert encoder.feature_dim == 20
    assert encoder.dense(x).shape == (3, 32, math.ceil(rows / 8), 9)


@pytest.mark.parametrize("cells", [1, 7, 22])
def test_a_turn_of_the_directions_is_a_turn_of_the_map(cells: int) -> None:
    encoder, x = BannerEncoder(24, 180, width=8), banners()
    turned = encoder.dense(x.roll(4 * cells, -1))
    torch.testing.assert_close(turned, encoder.dense(x).roll(cells, -1), atol=1e-5, rtol=1e-5)


def test_without_circular_padding_it_is_not() -> None:
    encoder, x = BannerEncoder(24, 180, width=8, padding="zeros"), banners()
    difference = encoder.dense(x.roll(40, -1)) - encoder.dense(x).roll(10, -1)
    assert difference.abs().max() > 0.1


def test_harmonics_keep_the_direction_and_their_length_forgets_it() -> None:
    encoder, x = BannerEncoder(24, 180, width=8, harmonics=2), banners()
    here, there = (encoder.dense(b).mean(2) @ encoder.basis for b in (x, x.roll(36, -1)))
    torch.testing.assert_close(here[..., 0], there[..., 0], atol=1e-5, rtol=1e-5)
    angle = 2 * math.pi * 9 / 45
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    torch.testing.assert_close(here[..., 1:3] @ turn, there[..., 1:3], atol=1e-5, rtol=1e-4)
    assert (encoder(x) - encoder(x.roll(36, -1))).norm() > 1e-3


def test_forces_have_ends() -> None:
    encoder, x = BannerEncoder(24, 180, width=8), banners()
    assert (encoder.dense(x.flip(1)) - encoder.dense(x)).abs().max() > 1e-2


def test_a_banner_does_not_depend_on_its_batch() -> None:
    encoder, x = BannerEncoder(24, 180, width=8), banners(5)
    torch.testing.assert_close(encoder(x)[1:2], encoder(x[1:2]), atol=1e-6, rtol=1e-5)


def test_the_published_network_has_the_published_number_of_weights() -> None:
    encoder = PublishedBannerCNN(101, 180)
    last = torch.nn.Linear(encoder.feature_dim, 256)
    assert sum(p.numel() for m in (encoder, last) for p in m.parameters()) == 3_051_360
    assert encoder(banners(2, 101)).shape == (2, 1024)


def test_wrong_use() -> None:
    with pytest.raises(ConfigError, match=r"multiple of 4 above 32.*176"):
        BannerEncoder(24, 90)
    with pytest.raises(ConfigError, match="circular or zeros"):
        BannerEncoder(24, 180, padding="reflect")  # type: ignore[arg-type]
    for encoder in (BannerEncoder(24, 180, width=8), PublishedBannerCNN(24, 180)):
        with pytest.raises(ShapeError, match=r"\[B, 24, 180\] \(forces, directions\)"):
            encoder(banners(rows=25))
