"""An encoder and a decoder as one model of dated pixels."""

from __future__ import annotations

import pytest
import torch

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ShapeError
from nearfar.evaluate.decoders import build_decoder
from nearfar.evaluate.dense import Dated, DenseModel, Kind, layout, padded


def model(kind: Kind = "segment", finetune: bool = False, name: str = "nano_cnn") -> DenseModel:
    config = EncoderConfig(name, {"width": 8, "depth": 1} if name == "nano_cnn" else {}, size=32)
    encoder = ImageEncoder(config, Channels.of({"s2": ["B02", "B03"]}), torch.full((2,), 0.3), torch.full((2,), 0.1))
    return DenseModel(encoder, build_decoder("unet", layout(encoder)[0], 3, 8), kind, finetune)


def place(dates: int, size: int = 32) -> Dated:
    return torch.rand(dates, 2, size, size), torch.ones(dates, size, size, dtype=torch.bool)


def test_places_with_different_numbers_of_dates_go_together() -> None:
    made, places = model().eval(), [place(3), place(1), place(2)]
    together = made(places)
    assert together.shape == (3, 3, 32, 32)
    for row, alone in enumerate(places):
        assert torch.allclose(together[row], made([alone])[0], atol=1e-5)


def test_pixels_without_data_play_no_part_whatever_their_value() -> None:
    made, (pixels, valid) = model().eval(), place(2)
    valid[:, 8:16, 8:16] = False
    other = torch.where(valid[:, None], pixels, torch.nan)
    assert torch.equal(made([(pixels, valid)]), made([(other, valid)]))
    assert not torch.equal(made([(pixels, valid)]), made([(pixels, torch.ones_like(valid))]))


def test_a_frozen_encoder_gets_no_gradient_and_keeps_its_mode() -> None:
    for finetune in (False, True):
        made = model(finetune=finetune).train()
        made([place(1), place(1)]).square().sum().backward()
        grads = [p.grad is not None for p in made.encoder.parameters()]
        assert all(grads) if finetune else not any(grads)
        assert all(p.grad is not None for p in made.decoder.parameters())
        assert made.decoder.training and not made.encoder.training


def test_where_nothing_changed_the_place_does_not_matter() -> None:
    made = model("change").eval()
    twice = [(pixels.expand(2, -1, -1, -1), valid.expand(2, -1, -1)) for pixels, valid in (place(1), place(1))]
    first, second = made(twice)
    assert torch.allclose(first, second, atol=1e-6)
    assert not torch.allclose(made([place(2)]), made([place(2)]), atol=1e-3)
    with pytest.raises(ShapeError, match="between two dates"):
        made([place(3)])


def test_layout_names_widths_and_the_coarsest_cell() -> None:
    assert layout(model().encoder) == ((4, 8, 16, 32), 16)
    widths, cell = layout(model(name="resnet18").encoder)
    assert widths == (64, 64, 128, 256, 512) and cell == 32


def test_small_places_are_padded_with_pixels_that_do_not_count() -> None:
    pixels, valid = place(1, 20)
    wide, known = padded(pixels, valid, 32, 24)
    assert wide.shape == (1, 2, 32, 24) and known.shape == (1, 32, 24)
    assert torch.equal(wide[..., :20, :20], pixels) and int(known.sum()) == 400
    assert torch.equal(wide[..., 31, 23], pixels[..., 19, 19])
    assert padded(pixels, valid, 16, 20)[0] is pixels
