"""From land to light in the Sentinel-2 world: texture, relief, clouds, shadows, optics and noise of the sensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from nearfar.data.synthetic.sentinel_land import ROOFS, Land, fractal
from nearfar.data.synthetic.sentinel_spectra import (
    BANDS,
    CLASS_ID,
    CLASSES,
    CLOUD,
    RESOLUTION,
    Array,
    endmember,
    haze_residual,
    surface_spectra,
    top_of_atmosphere,
)

_LENGTHS = (0.0, 0.7, 1.4, 3.0, 7.0)  # pixels; a texture mixes noises of these correlation lengths
_COARSER = {"sea": 3.0, "river": 2.0, "meadow": 1.5, "wheat": 1.5, "bare": 1.5}
_STRONGER = {"broadleaf": 1.5, "conifer": 1.6, "orchard": 1.3, "vineyard": 1.2, "grass": 1.2, "sea": 0.5, "road": 0.6}
_ROWS = {"vineyard": 0.7, "orchard": 0.6, "corn": 0.3, "sunflower": 0.3, "wheat": 0.25, "rapeseed": 0.2, "bare": 0.3}
_INFRARED = slice(BANDS.index("B05"), BANDS.index("B09") + 1)
_WATERS = (CLASS_ID["sea"], CLASS_ID["river"])
_PAD = 64  # pixels of sky beyond a scene, whose clouds can throw shadows into it


@dataclass(frozen=True)
class Texture:
    """Relative brightness of one place's pixels, drawn once: the same on every date."""

    common: Array  # float32 [n, n], all bands
    infrared: Array  # float32 [n, n], red edge and near infrared on top of it


@dataclass(frozen=True)
class Ground:
    """What is fixed for a place beside its land: its climate, its plants' habits, its texture."""

    delay: Array  # days by which each unit's plants are late, [U]
    wetness: Array  # [U]
    gain: Array  # [U]
    tint: Array  # [class, band], factors: no two places have the same wheat
    texture: Texture


def draw_ground(rng: np.random.Generator, climate: np.random.Generator, land: Land) -> Ground:
    """Draw a place's `Ground`; what a whole region shares (season, soil, half of the tints) comes from `climate`."""
    delay, wetness = climate.normal(0, 8), climate.uniform(0.1, 0.55)
    shape = (len(CLASSES), len(BANDS))
    tint = climate.normal(0, 0.05, (len(CLASSES), 1)) + climate.normal(0, 0.03, shape)
    tint = tint + rng.normal(0, 0.05, (len(CLASSES), 1)) + rng.normal(0, 0.02, shape)
    return Ground(
        delay=delay + rng.normal(0, 7, land.units),
        wetness=np.clip(wetness + rng.normal(0, 0.15, land.units), 0, 1),
        gain=np.exp(rng.normal(0, 0.07, land.units)).astype(np.float32),
        tint=np.exp(tint),
        texture=draw_texture(rng, land),
    )


def draw_texture(rng: np.random.Generator, land: Land) -> Texture:
    """Texture whose statistics differ more between two places than between two classes of one place.

    Drawn anew for every place: the amplitude of every class (log-normal, a factor of 1.7), the mixture of correlation
    lengths of every class (Dirichlet, with weak tendencies), sowing rows (in any kind of field, of any period and
    direction), and a grain common to all classes. Local binary patterns see exactly these, so their histograms tell a
    class only by its tendency.
    """
    n = len(land.cover)
    noise = np.stack([_unit_variance(gaussian_filter(rng.normal(size=(n, n)), s)) for s in _LENGTHS])
    coarse = np.array([_COARSER.get(name, 0.8) for name in CLASSES])[:, None]
    tendency = 0.55 * coarse ** (np.arange(len(_LENGTHS)) / 2 - 1)
    weights = np.sqrt(rng.standard_gamma(tendency) + 1e-3)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    strong = np.array([_STRONGER.get(name, 1.0) for name in CLASSES])
    amplitude = 0.055 * strong * np.exp(np.clip(rng.normal(0, 0.55, len(CLASSES)), -1.1, 0.9))
    by_unit = np.exp(np.clip(rng.normal(0, 0.3, land.units), -0.6, 0.5))[land.unit]
    grain = rng.uniform(0.0, 0.05) * noise[int(rng.integers(0, 3))]
    mixed = np.einsum("knm,nmk->nm", noise, weights[land.cover])
    common = amplitude[land.cover] * by_unit * mixed + _rows(rng, land) + grain
    infrared = 0.5 * amplitude[land.cover] * np.roll(mixed, (n // 2, n // 3), (0, 1))
    return Texture(common.astype(np.float32), infrared.astype(np.float32))


def _unit_variance(values: Array) -> Array:
    return np.asarray(values / values.std())


def _rows(rng: np.random.Generator, land: Land) -> Array:
    """Parallel rows in some of the fields: direction, period and strength of each are its own."""
    n, units = len(land.cover), land.units
    chance = np.array([_ROWS.get(name, 0.0) for name in CLASSES])
    angle, phase, draw = rng.uniform(0, np.pi, units), rng.uniform(0, 2 * np.pi, units), rng.random(units)
    frequency = 2 * np.pi / rng.uniform(2.1, 6.0, units)
    strength = rng.uniform(0.02, 0.13, units)
    row, col = np.mgrid[:n, :n]
    u = land.unit
    waves = np.sin((np.cos(angle)[u] * col + np.sin(angle)[u] * row) * frequency[u] + phase[u])
    return np.asarray(np.where(draw[u] < chance[land.cover], strength[u] * waves, 0.0))


def surface(land: Land, ground: Ground, cover: Array, day: float) -> Array:
    """Surface reflectance of the place with land cover `cover` [n, n] on a day of the year, float32 [band, n, n]."""
    table = surface_spectra(day - ground.delay, ground.wetness) * ground.tint
    image = table.astype(np.float32)[land.unit, cover].transpose(2, 0, 1)
    fields = ~np.isin(cover, [CLASS_ID[name] for name in ("broadleaf", "conifer", "residential", "industrial", "road")])
    meadow = table[:, CLASS_ID["grass"]].mean(0).astype(np.float32)[:, None, None]
    share = (0.45 * (land.margin & fields & ~np.isin(cover, _WATERS))).astype(np.float32)
    image = _with_buildings(image * (1 - share) + share * meadow, land, cover)
    gain = np.where(np.isin(cover, _WATERS), np.float32(1), ground.gain[land.unit])
    image *= np.clip(gain * (1 + ground.texture.common), 0.25, 2.2)
    image[_INFRARED] *= np.clip(1 + ground.texture.infrared, 0.4, 1.8)
    return np.asarray(np.clip(image, 0, 1.2))


def _with_buildings(image: Array, land: Land, cover: Array) -> Array:
    spectra = np.stack([endmember(name) for name in ROOFS]).astype(np.float32)
    asphalt = spectra[ROOFS.index("asphalt")][:, None, None]
    houses = (("residential", 0.85 * land.roof, 1.0), ("industrial", 0.92 * land.hall, 0.5))
    for kinds, (name, roof, street) in zip(land.roof_kind, houses, strict=True):
        here = (cover == CLASS_ID[name]).astype(np.float32)
        if here.any():
            covered = (here * roof).astype(np.float32)
            paved = here * street * land.street
            image = image * (1 - covered) + covered * spectra[kinds].transpose(2, 0, 1)
            image = image * (1 - paved) + paved * asphalt
    return image


def sun(day: float) -> tuple[float, tuple[float, float]]:
    """(elevation in degrees, direction to the sun as (rows, columns)) at 10:30 in the middle latitudes."""
    elevation = 42 + 21 * np.sin(2 * np.pi * (day - 81) / 365)
    azimuth = np.deg2rad(160)
    return float(elevation), (float(-np.cos(azimuth)), float(np.sin(azimuth)))


def relief(height: Array, steepness: float, day: float) -> Array:
    """Brightness of sloping ground, a factor about 1, float32 [n, n]."""
    elevation, (down, right) = sun(day)
    slope_down, slope_right = np.gradient(gaussian_filter(height, 1.0))
    facing = -(slope_down * down + slope_right * right) / np.tan(np.deg2rad(elevation))
    return np.asarray(np.clip(1 + steepness * facing, 0.6, 1.35), dtype=np.float32)


def clouds(rng: np.random.Generator, n: int, cover: float, day: float) -> tuple[Array, Array]:
    """(opacity of the clouds, darkness of their shadows), both float32 [n, n] in 0..1; `cover` is the share of sky."""
    if cover <= 0:
        return np.zeros((n, n), np.float32), np.zeros((n, n), np.float32)
    sky = fractal(rng, n + _PAD, 2.7)
    threshold = np.quantile(sky[_PAD // 2 : _PAD // 2 + n, _PAD // 2 : _PAD // 2 + n], 1 - min(cover, 0.95))
    opacity = np.clip((gaussian_filter(sky, 0.6) - threshold) / 0.3, 0, 1)
    opacity = opacity * opacity * (3 - 2 * opacity)
    elevation, (down, right) = sun(day)
    reach = min(rng.uniform(120, 300) / 10 / np.tan(np.deg2rad(elevation)), _PAD / 2 - 1)
    # A shadow lies away from the sun: what shades a pixel stands `reach` towards the sun from it.
    top, left = (_PAD // 2 + round(reach * step) for step in (down, right))
    here = opacity[_PAD // 2 : _PAD // 2 + n, _PAD // 2 : _PAD // 2 + n]
    shadow = gaussian_filter(opacity[top : top + n, left : left + n], 1.0) * (1 - here)
    return here.astype(np.float32), shadow.astype(np.float32)


@dataclass(frozen=True)
class Sky:
    """The weather of one date."""

    haze: float  # optical thickness relative to a clear day
    brightness: float
    opacity: Array  # [n, n]
    shadow: Array  # [n, n]
    cirrus: Array  # [n, n], reflectance


def draw_sky(rng: np.random.Generator, n: int, cloud: float, day: float) -> Sky:
    """Draw the weather of a date with the given share of clouds."""
    opacity, shadow = clouds(rng, n, cloud, day)
    thin = np.clip(fractal(rng, n, 3.4) - 0.8, 0, None) * rng.exponential(0.004) * (rng.random() < 0.5)
    return Sky(
        haze=float(np.exp(rng.normal(0, 0.10))),
        brightness=float(1 + rng.normal(0, 0.015)),
        opacity=opacity,
        shadow=shadow,
        cirrus=thin.astype(np.float32),
    )


def through(reflectance: Array, sky: Sky, level: str) -> Array:
    """What a satellite sees of surface `reflectance` [band, n, n]: L1C, or L2A corrected for the atmosphere."""
    lit = reflectance * (sky.brightness * (1 - 0.55 * sky.shadow)).astype(np.float32)
    if level == "L1C":
        offset = top_of_atmosphere(np.zeros(len(BANDS)), sky.haze)
        slope, cloud = top_of_atmosphere(np.ones(len(BANDS)), sky.haze) - offset, top_of_atmosphere(CLOUD)
        cloud[BANDS.index("B10")] = 0.014
    else:
        offset, slope, cloud = haze_residual(sky.haze), np.ones(len(BANDS)), CLOUD
    columns = (x.astype(np.float32)[:, None, None] for x in (offset, slope, cloud))
    offset, slope, cloud = columns
    seen = offset + slope * lit + sky.cirrus
    white = cloud * (0.82 + 0.25 * gaussian_filter(sky.opacity, 2.5))
    return np.asarray(seen * (1 - sky.opacity) + white * sky.opacity)


def sense(rng: np.random.Generator, seen: Array, blur: float, noise: float) -> dict[str, Array]:
    """Each band at its own resolution, float32: point-spread function, mean over 20 or 60 m, sensor noise.

    `seen` [band, n, n] with n a multiple of 6; `blur` in pixels of 10 m, `noise` in reflectance.
    """
    n = seen.shape[1]
    bands = {}
    for name, image in zip(BANDS, seen, strict=True):
        k = RESOLUTION[name] // 10
        smooth = gaussian_filter(image, blur * (1 if k == 1 else 0.6 * k), truncate=3.0)
        smooth = smooth.reshape(n // k, k, n // k, k).mean((1, 3))
        fixed, relative = (0.2 * noise, 0.002) if name == "B10" else (noise, 0.005)
        # The constant part of the noise also keeps dark water from being perfectly flat.
        sigma = fixed + relative * np.abs(smooth)
        bands[name] = (smooth + sigma * rng.standard_normal(smooth.shape, dtype=np.float32)).astype(np.float32)
    return bands
