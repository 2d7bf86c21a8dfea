"""An encoder on data that it was not trained on: its bands found by name, its normalisation fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.data.sample import band_names
from nearfar.encoders.bands import sensor_of
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.spatial.bands import BandPlan, Sensor, resolve, sensor


@dataclass(frozen=True)
class BandChoice:
    """Which bands of the data an encoder sees.

    bands: names of the data's bands in use, each once. sensor: whose. index: for every channel of the encoder, its
    position in `bands`. channels: for every one of `bands`, its position in the data.
    """

    bands: tuple[str, ...]
    sensor: str
    index: tuple[int, ...]
    channels: tuple[int, ...]

    def of(self, pixels: Tensor) -> Tensor:
        """Pixels [..., C, H, W] of the data -> of the encoder's channels."""
        return pixels[..., [self.channels[i] for i in self.index], :, :]


def choose_bands(encoder: ImageEncoder, available: Sequence[str], of: str = "") -> BandChoice:
    """The bands of data with the bands `available` (of that sensor; empty: guessed) that fill the encoder's channels.

    Bands of the same names are taken as they are, and otherwise found as `nearfar.spatial.bands.resolve` does, with
    substitutes and a BandWarning. Raises ConfigError where a band and its substitutes are missing.
    """
    wanted = band_names(encoder.channels)
    named = of or _guessed(available)
    if set(wanted) <= set(available) and len(set(available)) == len(available):
        plan = BandPlan(tuple(available.index(name) for name in wanted), wanted)
    else:
        plan = resolve(wanted, available, named or sensor_of(available), wanted_sensor=encoder_sensor(encoder))
    channels = tuple(dict.fromkeys(plan.indices))
    names = dict(zip(plan.indices, plan.names, strict=True))
    bands = tuple(names[position] for position in channels)
    return BandChoice(bands, named, tuple(channels.index(i) for i in plan.indices), channels)


def encoder_sensor(encoder: ImageEncoder) -> Sensor:
    """The sensor whose bands the encoder's channels are. ConfigError where none is named and none has them all."""
    named = encoder.config.sensor
    return sensor(named) if named else sensor_of(band_names(encoder.channels))


def set_statistics(encoder: ImageEncoder, mean: Tensor, std: Tensor) -> None:
    """Let the encoder normalise by these (each [C], of its own channels); a band that does not vary gets std 1.

    Raises ShapeError, or DataError where they are not finite.
    """
    if mean.shape != encoder.mean.shape or std.shape != encoder.std.shape:
        found = (tuple(mean.shape), tuple(std.shape))
        raise ShapeError("statistics do not fit the encoder", found=found, expected=tuple(encoder.mean.shape))
    if not bool((mean.isfinite() & std.isfinite()).all()):
        raise DataError("the pixels' statistics are not finite", fix="Look for NaN with `nearfar data check`.")
    with torch.no_grad():
        encoder.mean.copy_(mean)
        encoder.std.copy_(torch.where(std < 1e-7, torch.ones_like(std), std))


def _guessed(available: Sequence[str]) -> str:
    """The sensor that has these bands by name; empty where none has: bands of equal names need no sensor."""
    try:
        return sensor_of(available).name
    except ConfigError:
        return ""


class PixelStatistics:
    """Mean and standard deviation of bands over pixels with data, added part by part."""

    def __init__(self, bands: int) -> None:
        self._sums = torch.zeros(2, bands, dtype=torch.float64)
        self._count = 0

    def add(self, pixels: Tensor, valid: Tensor) -> None:
        """Pixels [T, C, H, W] where valid [T, H, W]."""
        seen = pixels.transpose(0, 1)[:, valid].double()
        self._sums += torch.stack([seen.sum(1), seen.square().sum(1)])
        self._count += seen.shape[1]

    def result(self) -> tuple[Tensor, Tensor]:
        """(mean [C], standard deviation [C]), float32. Raises DataError where nothing was seen."""
        if not self._count:
            raise DataError("no training pixel has data", fix="Check the scenes' masks and nodata values.")
        mean, square = self._sums / self._count
        return mean.float(), (square - mean.square()).clamp_min(0).sqrt().float()
