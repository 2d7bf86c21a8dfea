"""Bands by name on data of other bands, and statistics of those data."""

from __future__ import annotations

import pytest
import torch

from nearfar.config import EncoderConfig
from nearfar.data.sample import Channels
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.evaluate.transfer import PixelStatistics, choose_bands, set_statistics
from nearfar.spatial.bands import BandWarning


def encoder(*bands: str) -> ImageEncoder:
    return ImageEncoder(EncoderConfig("nano_cnn", {"width": 8, "depth": 1}, size=16), Channels.of({"s2": bands}))


def test_bands_are_found_by_name_whatever_the_order() -> None:
    choice = choose_bands(encoder("B04", "B03", "B02"), ("B01", "B02", "B03", "B04"), "sentinel2_l2a")
    assert choice.bands == ("B04", "B03", "B02") and choice.channels == (3, 2, 1) and choice.index == (0, 1, 2)
    pixels = torch.arange(4.0).view(1, 4, 1, 1).expand(2, 4, 3, 3)
    assert choice.of(pixels)[0, :, 0, 0].tolist() == [3, 2, 1]


def test_a_missing_band_gets_its_substitute_and_is_read_once() -> None:
    with pytest.warns(BandWarning, match="B09"):
        choice = choose_bands(encoder("B8A", "B09", "B04"), ("B04", "B08", "B8A"), "sentinel2_l2a")
    assert choice.bands == ("B8A", "B04") and choice.index == (0, 0, 1) and choice.channels == (2, 0)
    pixels = torch.tensor([4.0, 8.0, 8.5]).view(3, 1, 1)
    assert choice.of(pixels).flatten().tolist() == [8.5, 8.5, 4.0]


def test_another_sensor_is_matched_by_wavelength() -> None:
    choice = choose_bands(encoder("B04", "B03", "B02"), ("B1", "B2", "B3", "B4", "B5"), "landsat8")
    assert choice.bands == ("B4", "B3", "B2") and choice.sensor == "landsat8"


def test_the_sensor_is_guessed_from_the_names() -> None:
    assert choose_bands(encoder("B04"), ("B02", "B04", "B8A")).sensor.startswith("sentinel2")
    assert choose_bands(encoder("x"), ("x", "y")).sensor == ""
    with pytest.raises(ConfigError, match="no built-in sensor has these bands"):
        choose_bands(encoder("B04"), ("x", "y"))


def test_a_band_without_substitute_is_an_error() -> None:
    with pytest.raises(ConfigError, match="lacks B02"):
        choose_bands(encoder("B04", "B02"), ("B04", "B08"), "sentinel2_l2a")


def test_statistics_are_those_of_the_pixels_with_data() -> None:
    torch.manual_seed(0)
    pixels, valid = torch.rand(3, 2, 5, 5), torch.rand(3, 5, 5) > 0.3
    pixels[:, 1] += 4
    sums = PixelStatistics(2)
    for date, known in zip(pixels, valid, strict=True):
        sums.add(torch.where(known, date, 1e9)[None], known[None])
    mean, std = sums.result()
    seen = pixels.transpose(0, 1)[:, valid]
    assert torch.allclose(mean, seen.mean(1), atol=1e-5)
    assert torch.allclose(std, seen.std(1, correction=0), atol=1e-4)
    with pytest.raises(DataError, match="no training pixel has data"):
        PixelStatistics(2).result()


def test_the_encoder_takes_statistics_that_fit_and_no_others() -> None:
    made = encoder("B04", "B03")
    set_statistics(made, torch.tensor([0.2, 0.3]), torch.tensor([0.1, 0.0]))
    assert made.mean.tolist() == pytest.approx([0.2, 0.3]) and made.std.tolist() == pytest.approx([0.1, 1.0])
    with pytest.raises(ShapeError, match="do not fit the encoder"):
        set_statistics(made, torch.zeros(3), torch.ones(3))
    with pytest.raises(DataError, match="not finite"):
        set_statistics(made, torch.tensor([0.2, torch.nan]), torch.ones(2))
