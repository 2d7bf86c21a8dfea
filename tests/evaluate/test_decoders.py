"""Decoders on pyramids of any shape, and dates joined before them."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nearfar.errors import ConfigError, ShapeError
from nearfar.evaluate.decoders import DECODERS, build_decoder, difference, pool_dates

WIDTHS = (6, 8, 12)
needs_smp = pytest.mark.skipif(
    importlib.util.find_spec("segmentation_models_pytorch") is None, reason="segmentation-models-pytorch is missing"
)
NAMES = [pytest.param(name, marks=needs_smp if name == "smp" else ()) for name in DECODERS]


def pyramid(batch: int = 2, size: int = 32, widths: tuple[int, ...] = WIDTHS) -> list[Tensor]:
    return [torch.randn(batch, d, size // 2**i // 2, size // 2**i // 2) for i, d in enumerate(widths)]


@pytest.mark.parametrize("name", NAMES)
def test_scores_have_the_asked_size_and_reach_every_level(name: str) -> None:
    maps = [m.requires_grad_() for m in pyramid()]
    scores = build_decoder(name, WIDTHS, 5, 8)(maps, (32, 32))
    assert scores.shape == (2, 5, 32, 32)
    scores.square().sum().backward()
    assert all(m.grad is not None and float(m.grad.abs().sum()) > 0 for m in maps)


@pytest.mark.parametrize("name", NAMES)
def test_a_decoder_learns_where_things_are(name: str) -> None:
    torch.manual_seed(0)
    target = torch.zeros(4, 32, 32, dtype=torch.int64)
    for i in range(4):
        target[i, 4 * i : 4 * i + 12, 6 : 6 + 4 * i + 4] = 1
    seen = F.avg_pool2d(target[:, None].float(), 2)
    maps = [torch.cat([F.avg_pool2d(seen, 2**i)] * d, 1) for i, d in enumerate(WIDTHS)]
    decoder = build_decoder(name, WIDTHS, 2, 8)
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(decoder(maps, (32, 32)), target).backward()
        optimizer.step()
    found = decoder.eval()(maps, (32, 32)).argmax(1)
    assert float((found == target).float().mean()) > 0.97


def test_maps_of_one_size_and_odd_sizes_serve() -> None:
    tokens = [torch.randn(2, 6, 5, 5) for _ in range(3)]
    assert build_decoder("unet", (6, 6, 6), 3, 8)(tokens, (40, 40)).shape == (2, 3, 40, 40)
    odd = [torch.randn(1, 4, 17, 13), torch.randn(1, 8, 9, 7)]
    assert build_decoder("unet", (4, 8), 3, 8).eval()(odd, (33, 25)).shape == (1, 3, 33, 25)


def test_an_image_does_not_see_its_batch_in_evaluation() -> None:
    decoder = build_decoder("unet", WIDTHS, 3, 8).eval()
    maps = pyramid(4)
    whole, alone = decoder(maps, (32, 32))[1:2], decoder([m[1:2] for m in maps], (32, 32))
    assert torch.allclose(whole, alone, atol=1e-5)


def test_dates_are_weighed_by_what_is_seen_of_them() -> None:
    maps = torch.tensor([1.0, 3.0, 8.0]).view(1, 3, 1, 1, 1).expand(1, 3, 2, 4, 4)
    valid = torch.ones(1, 3, 16, 16, dtype=torch.bool)
    assert torch.allclose(pool_dates([maps], valid)[0], torch.tensor(4.0))
    valid[:, 2] = False
    assert torch.allclose(pool_dates([maps], valid)[0], torch.tensor(2.0))
    valid[:, 1, :4] = False
    pooled = pool_dates([maps], valid)[0]
    assert torch.allclose(pooled[..., 0, :], torch.tensor(1.0)) and torch.allclose(
        pooled[..., 1:, :], torch.tensor(2.0)
    )
    assert torch.allclose(pool_dates([maps], torch.zeros_like(valid))[0], torch.tensor(4.0)), "no date has data"


def test_the_order_of_dates_does_not_matter() -> None:
    maps, valid = torch.randn(2, 4, 3, 8, 8), torch.rand(2, 4, 16, 16) > 0.3
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(pool_dates([maps], valid)[0], pool_dates([maps[:, order]], valid[:, order])[0], atol=1e-6)
    pair = maps[:, :2]
    assert torch.equal(difference([pair])[0], difference([pair.flip(1)])[0])


def test_a_difference_needs_two_dates() -> None:
    with pytest.raises(
        ShapeError, match=r"between two dates \(found \[\(2, 3, 4, 8, 8\)\], expected \[B, 2, D, h, w\]"
    ):
        difference([torch.zeros(2, 3, 4, 8, 8)])


def test_wrong_names_packages_and_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="unknown decoder"):
        build_decoder("fpn", WIDTHS, 2)
    with pytest.raises(ShapeError, match="another number of maps"):
        build_decoder("unet", WIDTHS, 2)(pyramid()[:2], (32, 32))
    missing: Any = None
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", missing)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch.decoders.unet.decoder", missing)
    with pytest.raises(ConfigError, match="needs segmentation-models-pytorch: pip install"):
        build_decoder("smp", WIDTHS, 2)
