"""The Sentinel-2 world: places with 16 kinds of land cover, seen on any date in 13 bands, with real change.

A scene is drawn once from its seed and then rendered for any number of dates; a date's weather and noise depend on
(seed, date number) alone, so the order of rendering does not matter. The published layouts are written by
`sentinel_layouts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, uniform_filter

from nearfar.data.synthetic.sentinel_land import Land, Recipe, lay_out, parcels, top
from nearfar.data.synthetic.sentinel_render import Ground, draw_ground, draw_sky, relief, sense, surface, through
from nearfar.data.synthetic.sentinel_spectra import BANDS, CLASS_ID, CLASSES, RESOLUTION, Array
from nearfar.errors import ConfigError

CHANGES = ("build", "clearcut", "flood")
_NOT_BUILDABLE = ("sea", "river", "residential", "industrial", "road")
_WATERS = [CLASS_ID["sea"], CLASS_ID["river"]]
_FORESTS = [CLASS_ID["broadleaf"], CLASS_ID["conifer"]]


@dataclass(frozen=True)
class View:
    """One date of a scene."""

    bands: dict[str, Array]
    """reflectance by band name, float32 [ceil6(size) / k, ceil6(size) / k] with k = resolution / 10 m"""
    cloud: Array
    """bool [size, size], True under clouds"""
    shadow: Array
    """bool [size, size], True in the shadow of clouds"""
    size: int

    def stack(self, order: Sequence[str] = BANDS) -> Array:
        """The named bands at 10 m, float32 [C, size, size]; 20 and 60 m bands interpolated linearly."""
        return np.stack(
            [_enlarge(self.bands[name], RESOLUTION[name] // 10)[: self.size, : self.size] for name in order]
        )


@dataclass(frozen=True)
class Change:
    """What happened at a place between two dates."""

    kind: str
    mask: Array
    """bool [size, size], True where the land cover is another one now; all False where nothing could happen"""
    cover: Array
    """int8 [size, size], the land cover afterwards"""


class Scene:
    """One place of `size` x `size` pixels at 10 m; `render` gives any date of it.

    `recipe`: what the place contains (default: drawn). `region`: places of the same (`climate`, `region`) share their
    season's delay, their soil and half of their plants' colours, which is why a split by region is harder than a
    split at random. The same arguments give the same arrays.

    Attributes: `cover` int8 [size, size], index in `CLASSES`; `unit` int32 [size, size], the field, stand or district.
    Raises ConfigError for a size below 32 pixels.
    """

    def __init__(self, seed: int, size: int = 264, *, recipe: Recipe | None = None, climate: int = 0, region: int = -1):
        if size < 32:
            raise ConfigError("A scene is too small", where="size", found=size, expected="at least 32 pixels")
        self.seed, self.size = seed, size
        rng = np.random.default_rng([seed, 0])
        self.recipe = recipe or Recipe.draw(rng)
        shared = np.random.default_rng([climate, 1, region] if region >= 0 else [seed, 1])
        self.land: Land = lay_out(rng, -(-size // 6) * 6, self.recipe)
        self.ground: Ground = draw_ground(rng, shared, self.land)
        self.steepness = float(rng.uniform(0.0, 0.5))
        self.blur = float(rng.uniform(0.4, 0.75))

    @property
    def cover(self) -> Array:
        """Land cover before any change."""
        return self._crop(self.land.cover)

    @property
    def unit(self) -> Array:
        """Number of the field, stand or district."""
        return self._crop(self.land.unit)

    def render(
        self, day: float, date: int = 0, *, cover: Array | None = None, level: str = "L2A", cloud: float = 0.0
    ) -> View:
        """The place on a day of the year.

        `date`: number of the acquisition, from which weather and noise are drawn; `cover` [size, size]: land cover
        after a change; `level`: "L1C" (top of atmosphere) or "L2A" (surface); `cloud`: share of the sky.
        Raises ConfigError for another level.
        """
        if level not in ("L1C", "L2A"):
            raise ConfigError("Unknown processing level", where="level", found=level, expected="L1C or L2A")
        rng = np.random.default_rng([self.seed, 2, date])
        n = len(self.land.cover)
        sky = draw_sky(rng, n, cloud, day)
        image = surface(self.land, self.ground, self._whole(cover), day)
        image *= relief(self.land.height, self.steepness, day)
        bands = sense(rng, through(image, sky, level), self.blur, rng.uniform(0.0005, 0.003))
        return View(bands, self._crop(sky.opacity > 0.25), self._crop(sky.shadow > 0.3), self.size)

    def change(self, kind: str, number: int = 0) -> Change:
        """Something that happens to the place: "build" (fields become town), "clearcut" (forest becomes bare soil in
        straight blocks) or "flood" (the lowest ground, first that near water, becomes river).

        `number` draws another change of the same kind. Raises ConfigError for another kind.
        """
        if kind not in CHANGES:
            raise ConfigError("Unknown kind of change", where="kind", found=kind, expected=", ".join(CHANGES))
        rng = np.random.default_rng([self.seed, 3 + CHANGES.index(kind), number])
        act = {"build": self._build, "clearcut": self._clearcut, "flood": self._flood}[kind]
        mask, name = act(rng)
        after = np.where(mask, CLASS_ID[name], self.land.cover).astype(np.int8)
        return Change(kind, self._crop(mask), self._crop(after))

    def _build(self, rng: np.random.Generator) -> tuple[Array, str]:
        open_land = ~np.isin(self.land.cover, [CLASS_ID[name] for name in _NOT_BUILDABLE] + _FORESTS)
        return _some(rng, self.land.unit, open_land), "industrial" if rng.random() < 0.5 else "residential"

    def _clearcut(self, rng: np.random.Generator) -> tuple[Array, str]:
        blocks = parcels(rng, len(self.land.cover), rng.uniform(11, 20), bend=0.3)
        return _some(rng, blocks, np.isin(self.land.cover, _FORESTS)), "bare"

    def _flood(self, rng: np.random.Generator) -> tuple[Array, str]:
        dry = ~np.isin(self.land.cover, _WATERS)
        level = gaussian_filter(self.land.height, 1.5) + rng.normal(0, 0.1)
        if not dry.all():
            level = level + 0.08 * distance_transform_edt(dry)
        return top(-np.where(dry, level, np.inf), rng.uniform(0.03, 0.09)) & dry, "river"

    def _crop(self, array: Array) -> Array:
        return array[: self.size, : self.size]

    def _whole(self, cover: Array | None) -> Array:
        whole = self.land.cover.copy()
        if cover is not None:
            whole[: self.size, : self.size] = cover
        return whole


def _some(rng: np.random.Generator, blocks: Array, allowed: Array) -> Array:
    """One to four of the blocks with at least 20 allowed pixels; none where there is no such block."""
    counts = np.bincount(blocks[allowed], minlength=int(blocks.max()) + 1)
    candidates = np.flatnonzero(counts >= 20)
    chosen = rng.permutation(candidates)[: int(rng.integers(1, 5))]
    return np.asarray(np.isin(blocks, chosen) & allowed)


def _enlarge(image: Array, k: int) -> Array:
    if k == 1:
        return image
    return np.asarray(uniform_filter(image.repeat(k, 0).repeat(k, 1), k, mode="nearest"))


def digital_numbers(reflectance: Array) -> Array:
    """Reflectance as Sentinel-2 stores it: uint16, reflectance x 10000; 0 is kept for "no data"."""
    return np.clip(np.round(reflectance * 10000), 1, 65535).astype(np.uint16)


__all__ = ["BANDS", "CHANGES", "CLASSES", "CLASS_ID", "Change", "Recipe", "Scene", "View", "digital_numbers"]
