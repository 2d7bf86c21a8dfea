"""Recipes: one sample or batch in, several views out. `ViewsConfig.recipe` names the recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor

from nearfar.config import ViewsConfig
from nearfar.data.sample import Channels
from nearfar.errors import ConfigError, DataError, ShapeError, did_you_mean
from nearfar.views import geometric, legacy, photometric, thermal
from nearfar.views.batches import Batch, sample_seeds, with_views
from nearfar.views.random import chance, derive, uniform, view_keys
from nearfar.views.seasonal import Shot, seasonal_views

_THERMAL = {"thermal", "ir", "tir", "lwir", "mwir", "infrared"}
_DEPTH = {"depth", "disparity"}
_COLOUR = {"rgb", "color", "colour", "image"}


def build_views(
    config: ViewsConfig, channels: Channels, size: int, shots: Sequence[Shot] = (), halves: bool = False
) -> Callable[[Mapping[str, Any]], Batch]:
    """What makes `config.count` views of `size` x `size` pixels of a sample or of a collated batch.

    The result takes a mapping with `image` float [B, C, H, W] and `seed` int64 [B], perhaps `mask` bool [B, H, W] and
    `boxes` [B, K, 4] (x0, y0, x1, y1 in pixels), or one sample without the leading B and with an int as seed. It
    returns a new dict with `views` [B, V, C, size, size] in the image's dtype, not normalised, and where there were
    masks and boxes `mask_views` [B, V, size, size] and `boxes_views` [B, V, K, 4] (pixels of the view). Views of a
    sample are a function of its image, its seed and the view's number alone, on the device of the image.

    The recipe "seasonal" takes a time series, see `nearfar.views.seasonal.SeasonalViews`; it alone heeds `shots`, what
    each view shows, and `halves`. The recipe "pairs" takes pairs of objects, see `nearfar.views.pairs.PairViews`,
    and "study" pictures with any number of boxes, see `nearfar.views.study.StudyViews`.

    Raises ConfigError for values out of range, and for a thermal recipe without a thermal modality among several.
    """
    _check(config, channels, size)
    if config.recipe == "seasonal":
        return seasonal_views(config, channels, size, shots, halves)
    if config.recipe == "pairs":
        from nearfar.views.pairs import PairViews  # which changes values as the recipes here do

        return PairViews(config, channels, size)
    if config.recipe == "study":
        from nearfar.views.study import StudyViews  # for the same reason

        return StudyViews(config, channels, size)
    return Views(config, channels, size)


@dataclass(frozen=True)
class Views:
    """The callable that `build_views` returns; plain data, so loader workers can receive it."""

    config: ViewsConfig
    channels: Channels
    size: int

    def __call__(self, sample: Mapping[str, Any]) -> Batch:
        return with_views(sample, self._make)

    def _make(self, batch: Mapping[str, Any]) -> Batch:
        image, mask, boxes = batch["image"], batch.get("mask"), batch.get("boxes")
        seed = sample_seeds(batch, image)
        self.check_image(image)
        work = image if image.dtype == torch.float64 else image.float()
        count, shape = self.config.count, (image.shape[2], image.shape[3])
        key = view_keys(seed, count)
        matrix, field = self._geometry(key, shape[1] / shape[0])
        positions = geometric.grid(matrix, (self.size, self.size), field)
        smallest = self.config.crop_scale[0] if self.config.recipe == "standard" else 1.0
        views = geometric.resample(geometric.shrink(work, self.size, smallest), positions)
        views = self._photometry(views, key)
        out = {"views": views.to(image.dtype).reshape(len(image), count, *views.shape[1:])}
        if mask is not None:
            seen = geometric.resample(mask[:, None].to(torch.float32), positions, "nearest")[:, 0] > 0.5
            out["mask_views"] = seen.reshape(len(image), count, self.size, self.size)
        if boxes is not None:
            seen = geometric.transform_boxes(boxes.repeat_interleave(count, 0), matrix, shape, self.size)
            out["boxes_views"] = seen.reshape(len(image), count, -1, 4)
        return out

    def check_image(self, image: Tensor) -> None:
        """Raise ShapeError or DataError unless it is float [B, C, H, W] of the channels."""
        if image.ndim != 4 or image.shape[1] != len(self.channels):
            raise ShapeError(
                "The images do not have the dataset's channels",
                found=list(image.shape),
                expected=f"[batch, {len(self.channels)}, height, width] for {', '.join(self.channels.names)}",
            )
        if not image.is_floating_point():
            raise DataError(
                "Views need float images",
                found=image.dtype,
                fix="Divide by the value that is to become 1, e.g. image.float() / 65535 for 16 bit.",
            )

    def _geometry(self, key: Tensor, aspect: float) -> tuple[Tensor, Tensor | None]:
        config, identity = self.config, torch.eye(3, dtype=torch.float64, device=key.device).expand(len(key), 3, 3)
        mirror = geometric.flips(key, config.flip_horizontal, config.flip_vertical)
        match config.recipe:
            case "none":
                return identity, None
            case "weak":
                place = uniform(derive(key, "weak_shift"), (2,), -0.125, 0.125).double()
                return geometric.compose(geometric.translation(place[:, 0], place[:, 1]), mirror), None
            case "thermal_legacy":
                return geometric.compose(legacy.random_geometry(key, aspect), mirror), None
        crop = geometric.resized_crop(key, config.crop_scale)
        angle = uniform(derive(key, "rotate"), (), -config.rotate, config.rotate).double()
        matrix = geometric.compose(crop, geometric.rotation(angle, aspect), mirror)
        if config.recipe == "standard":
            return matrix, None
        field = geometric.elastic_field(key, (self.size, self.size), 0.03)
        used = chance(derive(key, "elastic_used"), config.strength).to(field.dtype)
        return matrix, field * used[:, None, None, None]

    def _photometry(self, views: Tensor, key: Tensor) -> Tensor:
        if self.config.recipe in ("none", "weak"):
            return views
        parts = []
        for name, positions in self.channels.modalities.items():
            part = views[:, positions[0] : positions[-1] + 1].contiguous()
            parts.append(self.modality(name, part, derive(key, name)))
        views = torch.cat(parts, 1)
        if self.config.recipe != "standard":
            return views
        hit = chance(derive(key, "erase_used"), self.config.erase)
        return _where(hit, views, photometric.erase(views, key))

    def modality(self, name: str, part: Tensor, key: Tensor) -> Tensor:
        """The photometric changes of one modality: images [N, C, H, W] with keys [N], by what its name says it is."""
        strength = self.config.strength
        if self.config.recipe != "standard" and _acts_as_thermal(name, self.channels):
            if self.config.recipe == "thermal":
                return _thermal(part, key, strength, self.config.erase)
            return legacy.random_occlusion(part, key)
        if self.config.recipe == "thermal_legacy":
            return part
        if _words(name) & _DEPTH:
            return _depth(part, key, strength)
        if part.shape[1] == 3 and _words(name) & _COLOUR:
            part = _colour(part, key, strength)
        else:
            part = photometric.contrast(part, _around_one(key, "contrast", 0.4 * strength))
            part = photometric.shift(part, uniform(derive(key, "shift"), (), -0.4 * strength, 0.4 * strength))
        return _grain(part, key, strength)


def _colour(part: Tensor, key: Tensor, strength: float) -> Tensor:
    part = photometric.brightness(part, _around_one(key, "brightness", 0.6 * strength))
    part = photometric.contrast(part, _around_one(key, "contrast", 0.6 * strength))
    part = photometric.gamma(part, 2.0 ** uniform(derive(key, "gamma"), (), -0.7 * strength, 0.7 * strength).double())
    tint = _around_one(key, "saturation", 0.8 * strength)
    part = photometric.saturation(part, torch.where(chance(derive(key, "grey"), 0.3 * strength), 0.0, tint))
    which = (uniform(derive(key, "drop_which")) * 3).long()
    return photometric.drop_channel(part, torch.where(chance(derive(key, "drop"), 0.1 * strength), which, -1))


def _depth(part: Tensor, key: Tensor, strength: float) -> Tensor:
    """Scale and noise; a zero means "not measured" and stays zero."""
    changed = photometric.brightness(part, _around_one(key, "brightness", 0.2 * strength))
    changed = photometric.noise(changed, key, uniform(derive(key, "noise_amount"), (), 0.0, 0.1 * strength))
    return torch.where(part == 0, part, changed)


def _thermal(part: Tensor, key: Tensor, strength: float, occlude: float) -> Tensor:
    coldest = part.amin((1, 2, 3), keepdim=True)
    gain, factor = _around_one(key, "brightness", 0.4 * strength), _around_one(key, "contrast", 0.6 * strength)
    part = _grain(thermal.brightness_contrast(part, gain, factor, coldest), key, strength)
    hit = chance(derive(key, "occlusion_used"), occlude)
    return _where(hit, part, thermal.occlusion(part, key))


def _grain(part: Tensor, key: Tensor, strength: float) -> Tensor:
    hit = chance(derive(key, "blur_used"), 0.4 * strength)
    part = _where(hit, part, photometric.blur(part, uniform(derive(key, "blur"), (), 0.3, 1.2)))
    return photometric.noise(part, key, uniform(derive(key, "noise_amount"), (), 0.0, 0.2 * strength))


def _around_one(key: Tensor, name: str, width: float) -> Tensor:
    return uniform(derive(key, name), (), 1 - width, 1 + width)


def _where(hit: Tensor, kept: Tensor, changed: Tensor) -> Tensor:
    return torch.where(hit[:, None, None, None], changed, kept)


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))


def _acts_as_thermal(name: str, channels: Channels) -> bool:
    return len(channels.modalities) == 1 or bool(_words(name) & _THERMAL)


def _check(config: ViewsConfig, channels: Channels, size: int) -> None:
    recipes = get_args(get_type_hints(ViewsConfig)["recipe"])
    if config.recipe not in recipes:
        fix = did_you_mean(config.recipe, recipes, quote="'")
        raise ConfigError(
            "Unknown recipe", where="views.recipe", found=repr(config.recipe), expected=", ".join(recipes), fix=fix
        )
    low, high = config.crop_scale
    limits: dict[str, tuple[object, str, bool]] = {
        "count": (config.count, "at least 1", config.count >= 1),
        "crop_scale": (config.crop_scale, "0 < smallest <= largest <= 1", 0 < low <= high <= 1),
        "crop_metres": (config.crop_metres, "0 or more", config.crop_metres >= 0),
        "zoom": (config.zoom, "0 < smallest <= largest", 0 < config.zoom[0] <= config.zoom[1]),
        "shift": (config.shift, "0 to 0.5", 0 <= config.shift <= 0.5),
        "rotate": (config.rotate, "0 to 180 degrees", 0 <= config.rotate <= 180),
    }
    for name in ("flip_horizontal", "flip_vertical", "strength", "erase"):
        value = getattr(config, name)
        limits[name] = (value, "0 to 1", 0 <= value <= 1)
    for name, (found, expected, fits) in limits.items():
        if not fits:
            raise ConfigError("Value out of range", where=f"views.{name}", found=found, expected=expected)
    if size < 1:
        raise ConfigError("Value out of range", where="size of the views", found=size, expected="at least 1 pixel")
    if config.recipe.startswith("thermal") and not any(_acts_as_thermal(m, channels) for m in channels.modalities):
        raise ConfigError(
            f"The recipe {config.recipe!r} needs a thermal modality",
            where="views.recipe",
            found=", ".join(channels.modalities),
            expected=f"a name with one of {', '.join(sorted(_THERMAL))}",
            fix="Rename the modality, or use views.recipe=standard.",
        )
