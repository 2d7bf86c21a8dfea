"""Views of a place over time: which date each view shows, one geometry for all bands in ground units, and its mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nearfar.config import ViewsConfig
from nearfar.data.sample import Channels
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.views import geometric, photometric
from nearfar.views.batches import Batch, with_views
from nearfar.views.random import chance, derive, uniform, view_keys


class Shot(NamedTuple):
    """What one view shows: a date of the place by number (equal numbers, equal dates), and whether it is changed."""

    date: int
    photometric: bool = True
    geometric: bool = True
    """random crop, flips and quarter turns; False: the middle, as it is"""


@dataclass(frozen=True)
class SeasonalViews:
    """Views of a time series, one a shot; what `build_views` returns for the recipe "seasonal".

    Takes `series` float [B, T, C, H, W] with `days` int [B, T], perhaps `valid` bool [B, T, H, W] and `gsd` (metres a
    pixel, [B]), and `seed` int64 [B]; or the same without B. Without a series all views are of `image` [B, C, H, W].
    Returns a new dict with `views` [B, V, C, size, size]; where there is a series `days_views` [B, V]; where there is a
    mask `valid_views` bool [B, V, size, size], True where every pixel that was used is valid.

    The number of a shot's date is drawn for each sample: different numbers are always different dates. With `halves`
    the dates are split by their order in time, and the shots are taken from the older half and again from the newer one
    (V is twice the number of shots).

    All bands of a view share one crop: `config.crop_metres` on the ground (0: `size` pixels of the data), times a
    factor from `config.zoom`. A crop of exactly `size` pixels, the default, is taken without interpolation, flips and
    quarter turns likewise. Photometric changes are one gain and one contrast for all bands (illumination, haze), a
    small gain for each (calibration), and an occluding box; strength and probability are those of the other recipes.

    Raises DataError where a series has too few dates, or metres are asked for and the pixels' size is unknown.
    """

    config: ViewsConfig
    channels: Channels
    size: int
    shots: tuple[Shot, ...]
    halves: bool = False

    def __call__(self, sample: Mapping[str, Any]) -> Batch:
        return with_views(sample, self._make)

    def _make(self, batch: Mapping[str, Any]) -> Batch:
        image = batch["image"]
        series = batch.get("series", image[:, None])
        self._check(series)
        seed = torch.as_tensor(batch["seed"], dtype=torch.int64, device=series.device)
        dates = self._dates(batch, seed, series.shape[1])
        count = dates.shape[1]
        key = view_keys(seed, count)
        rows = torch.arange(len(series), device=series.device)[:, None]
        shots = self.shots * (count // len(self.shots))
        place = self._place(key, series.shape[-2:], batch.get("gsd"), shots)
        views = place.cut(series[rows, dates].flatten(0, 1))
        changed = torch.tensor([shot.photometric for shot in shots], device=key.device).repeat(len(series))
        views = torch.where(changed[:, None, None, None], self._photometry(views, key), views)
        out: Batch = {"views": views.reshape(len(series), count, *views.shape[1:])}
        if "series" in batch and "days" in batch:
            out["days_views"] = batch["days"][rows, dates]
        if "valid" in batch:
            valid = batch["valid"].reshape(*series.shape[:2], 1, *series.shape[-2:])[rows, dates]
            seen = place.cut(valid.flatten(0, 1).to(views.dtype)) > 0.999
            out["valid_views"] = seen.reshape(len(series), count, self.size, self.size)
        return out

    def _dates(self, batch: Mapping[str, Any], seed: Tensor, available: int) -> Tensor:
        """[B, V]: the position in the series of each view's date."""
        wanted = torch.tensor([shot.date for shot in self.shots], device=seed.device)
        needed = int(wanted.max()) + 1
        if "series" not in batch:
            return wanted.mul(0).repeat(1 + self.halves).expand(len(seed), -1)
        smallest = available // 2 if self.halves else available
        if smallest < needed:
            half = " in each half of the time" if self.halves else ""
            raise DataError(
                f"the views need {needed} different dates{half}",
                where="series",
                found=f"{available} dates",
                fix="Set data.dates to 0 (all) or more, or leave out places with few dates.",
            )
        if not self.halves:
            return _shuffled(derive(seed, "dates"), available)[:, wanted]
        if "days" not in batch:
            raise DataError("halves of the time need days", where="days", found=f"keys {', '.join(batch)}")
        order: Tensor = batch["days"].to(seed.device).argsort(1)
        older = _shuffled(derive(seed, "older"), available // 2)[:, wanted]
        newer = _shuffled(derive(seed, "newer"), available - available // 2)[:, wanted] + available // 2
        return order.gather(1, torch.cat([older, newer], 1))

    def _place(self, key: Tensor, shape: Sequence[int], gsd: Any, shots: Sequence[Shot]) -> _Place:
        config, views = self.config, len(shots)
        side = torch.full((len(key),), float(self.size), dtype=torch.float64, device=key.device)
        if config.crop_metres:
            if gsd is None:
                raise DataError("a crop in metres needs the size of the pixels", where="gsd", found="none")
            metres = torch.as_tensor(gsd, dtype=torch.float64, device=key.device).repeat_interleave(views)
            side = (config.crop_metres / metres).round()
        low, high = config.zoom
        if low != high or low != 1:
            side = side * uniform(derive(key, "zoom"), (), low, high).double()
        side = side.clamp(max=min(shape))
        moved = torch.tensor([shot.geometric for shot in shots], device=key.device).repeat(len(key) // views)
        spot = uniform(derive(key, "crop_place"), (2,)).double()
        turns = (uniform(derive(key, "turn")) * 4).long() if config.turns else torch.zeros_like(key)
        return _Place(
            size=self.size,
            side=side,
            spot=torch.where(moved[:, None], spot, 0.5),
            turns=torch.where(moved, turns, 0),
            mirror=moved & chance(derive(key, "flip_x"), config.flip_horizontal),
            upset=moved & chance(derive(key, "flip_y"), config.flip_vertical),
        )

    def _photometry(self, views: Tensor, key: Tensor) -> Tensor:
        strength = self.config.strength
        views = photometric.brightness(views, _around_one(key, "brightness", 0.4 * strength))
        views = photometric.contrast(views, _around_one(key, "contrast", 0.4 * strength))
        low, high = 1 - 0.1 * strength, 1 + 0.1 * strength
        views = views * uniform(derive(key, "bands"), (views.shape[1], 1, 1), low, high).to(views.dtype)
        hit = chance(derive(key, "erase_used"), self.config.erase)
        return torch.where(hit[:, None, None, None], photometric.erase(views, key), views)

    def _check(self, series: Tensor) -> None:
        if series.ndim != 5 or series.shape[2] != len(self.channels):
            raise ShapeError(
                "the series does not have the dataset's channels",
                found=list(series.shape),
                expected=f"[batch, dates, {len(self.channels)}, height, width] for {', '.join(self.channels.names)}",
            )


@dataclass(frozen=True)
class _Place:
    """Where N views lie: side [N] in pixels, spot [N, 2] (0..1 of the free room, down and right), orientation."""

    size: int
    side: Tensor
    spot: Tensor
    turns: Tensor
    mirror: Tensor
    upset: Tensor

    def cut(self, images: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, size, size]; views of exactly `size` pixels without interpolation."""
        exact = self.side == self.size
        if bool(exact.all()):
            return self._exact(images)
        smooth = self._resampled(images)
        return torch.where(exact[:, None, None, None], self._exact(images), smooth) if bool(exact.any()) else smooth

    def _exact(self, images: Tensor) -> Tensor:
        (height, width), side = images.shape[-2:], min(self.size, *images.shape[-2:])
        line = torch.arange(side, device=images.device)
        i, j = (x.expand(len(images), side, side) for x in torch.meshgrid(line, line, indexing="ij"))
        for turn in range(1, 4):
            hit = (self.turns >= turn)[:, None, None]
            i, j = torch.where(hit, j, i), torch.where(hit, side - 1 - i, j)
        i = torch.where(self.upset[:, None, None], side - 1 - i, i)
        j = torch.where(self.mirror[:, None, None], side - 1 - j, j)
        room = torch.tensor([height - side + 1, width - side + 1], device=images.device)
        start = (self.spot * room).long()
        flat = ((i + start[:, :1, None]) * width + j + start[:, 1:, None]).flatten(1)
        taken = images.flatten(2).gather(2, flat[:, None].expand(-1, images.shape[1], -1))
        return taken.unflatten(2, (side, side))  # type: ignore[no-untyped-call,no-any-return]

    def _resampled(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        share = torch.stack([self.side / width, self.side / height], 1)
        centre = (2 * self.spot.flip(1) - 1) * (1 - share)
        sign = [1.0 - 2.0 * flag.double() for flag in (self.mirror, self.upset)]
        # The turn is applied to the square view, before it is stretched to the image's own normalised units.
        matrix = geometric.compose(
            geometric.translation(centre[:, 0], centre[:, 1]),
            geometric.scaling(share[:, 0] * sign[0], share[:, 1] * sign[1]),
            _quarter(self.turns),
        )
        return geometric.resample(images, geometric.grid(matrix, (self.size, self.size)))


def seasonal_views(
    config: ViewsConfig, channels: Channels, size: int, shots: Sequence[Shot] = (), halves: bool = False
) -> SeasonalViews:
    """`SeasonalViews` of the given shots; without any, of `config.count` views of as many dates.

    Raises ConfigError where `config.count` is not the number of views.
    """
    shots = tuple(shots) or tuple(Shot(number) for number in range(config.count))
    views = len(shots) * (1 + halves)
    if config.count != views:
        raise ConfigError(
            "the method makes another number of views", where="views.count", found=config.count, expected=views
        )
    return SeasonalViews(config, channels, size, shots, halves)


def _shuffled(key: Tensor, count: int) -> Tensor:
    """[N] keys -> random orders [N, count] of 0..count-1."""
    return uniform(key, (count,)).argsort(1)


def _quarter(turns: Tensor) -> Tensor:
    """Matrices [N, 3, 3] of 0 to 3 quarter turns, exact."""
    cos = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=torch.float64, device=turns.device)[turns]
    sin = torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=torch.float64, device=turns.device)[turns]
    zero = torch.zeros_like(cos)
    last = torch.stack([zero, zero, zero + 1], 1)
    return torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1), last], 1)


def _around_one(key: Tensor, name: str, width: float) -> Tensor:
    return uniform(derive(key, name), (), 1 - width, 1 + width)
