"""Where things are in the Sentinel-2 world: fields, forests, towns, roads, rivers and coasts of one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from nearfar.data.synthetic.sentinel_spectra import CLASS_ID, Array

FIELDS = {
    **{"meadow": 2.0, "grass": 1.0, "wheat": 2.0, "corn": 1.5, "rapeseed": 1.0},
    **{"sunflower": 0.7, "orchard": 0.6, "vineyard": 0.6, "bare": 0.3},
}
ROOFS = ("tile", "concrete", "metal", "asphalt")
_ROOF_SHARES = {"residential": (0.62, 0.2, 0.03, 0.15), "industrial": (0.05, 0.33, 0.30, 0.32)}


@dataclass(frozen=True)
class Recipe:
    """What a place contains: shares of its area, or chances. Everything else is drawn."""

    forest: float = 0.2
    conifer: float = 0.4  # share of the forest
    town: float = 0.1
    industry: float = 0.03
    roads: int = 1
    road_width: float = 1.4  # pixels
    river: float = 0.0  # width in pixels, 0: none
    sea: float = 0.0
    parcel: float = 15.0  # pixels
    crops: Mapping[str, float] = field(default_factory=lambda: dict(FIELDS))

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Recipe:
        """A place of any kind."""
        return cls(
            forest=rng.beta(1.2, 2.5),
            conifer=rng.random(),
            town=rng.beta(0.8, 4),
            industry=rng.beta(0.6, 9),
            roads=int(rng.integers(0, 3)),
            road_width=rng.uniform(0.9, 1.8),
            river=rng.uniform(2, 7) * (rng.random() < 0.35),
            sea=rng.uniform(0.2, 0.6) * (rng.random() < 0.08),
            parcel=rng.uniform(9, 24),
            crops=dict(zip(FIELDS, rng.dirichlet(list(FIELDS.values())), strict=True)),
        )


@dataclass(frozen=True)
class Land:
    """One place, all arrays [n, n] at 10 m."""

    cover: Array  # int8, index in CLASSES
    unit: Array  # int32, the field, stand or district a pixel belongs to
    units: int
    height: Array  # float32, terrain, zero mean, unit variance
    margin: Array  # bool, field edges
    roof: Array  # float32, share of the pixel under a roof, were it built
    roof_kind: Array  # int8 [2, n, n], index in ROOFS, in residential and in industrial areas
    hall: Array  # bool, large roofs, were the area industrial
    street: Array  # float32, share of the pixel under a street, were it built


def fractal(rng: np.random.Generator, n: int, beta: float) -> Array:
    """Noise with a power spectrum of 1/f^beta, [n, n], zero mean, unit variance."""
    rows, cols = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None]
    frequency = np.hypot(rows, cols)
    frequency[0, 0] = np.inf
    spectrum = (rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)) * frequency ** (-beta / 2)
    noise = np.fft.irfft2(spectrum, s=(n, n))
    return np.asarray((noise - noise.mean()) / noise.std())


def parcels(rng: np.random.Generator, n: int, size: float, *, bend: float = 0.4) -> Array:
    """Field parcels, int [n, n] numbered from 0: nearest seed of a thinned, jittered, rotated grid in the maximum norm.

    The cells are nearly rectangular, `size` pixels wide and up to twice as long; `bend` pixels of warp soften edges.
    """
    angle, aspect = rng.uniform(0, np.pi), rng.uniform(1.0, 2.1)
    row, col = np.mgrid[:n, :n] + bend * np.stack([fractal(rng, n, 3.0), fractal(rng, n, 3.0)])
    along = (np.cos(angle) * col + np.sin(angle) * row) / aspect
    across = -np.sin(angle) * col + np.cos(angle) * row
    reach = 1.5 * n + 2 * size
    axis = np.arange(-reach, reach, size)
    seeds = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    seeds = seeds[rng.random(len(seeds)) < 0.88]
    seeds = seeds + rng.uniform(-0.27, 0.27, seeds.shape) * size
    nearest = cKDTree(seeds).query(np.stack([along.ravel(), across.ravel()], 1), p=np.inf)[1]
    return np.asarray(np.unique(nearest, return_inverse=True)[1].reshape(n, n))


def edges(labels: Array) -> Array:
    """Pixels whose right or lower neighbour has another label, bool [n, n]."""
    found = np.zeros(labels.shape, bool)
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    found[:-1] |= labels[:-1] != labels[1:]
    return found


def top(values: Array, share: float) -> Array:
    """The given share of pixels with the largest values, bool."""
    return np.asarray(values > np.quantile(values, 1 - min(share, 1.0))) if share < 1 else np.ones(values.shape, bool)


def lay_out(rng: np.random.Generator, n: int, recipe: Recipe) -> Land:
    """Draw a place of n x n pixels."""
    field_of, stand_of, district_of = (
        parcels(rng, n, size) for size in (recipe.parcel, rng.uniform(18, 34), rng.uniform(22, 40))
    )
    height = fractal(rng, n, 3.2)
    names = list(recipe.crops)
    weights = np.array([recipe.crops[name] for name in names])
    crop = rng.choice([CLASS_ID[name] for name in names], int(field_of.max()) + 1, p=weights / weights.sum())
    cover = crop[field_of].astype(np.int8)
    wooded = _forest(rng, cover, field_of, stand_of, height, recipe)
    middle = _towns(rng, cover, recipe)
    built = (cover == CLASS_ID["residential"]) | (cover == CLASS_ID["industrial"])
    _roads(rng, cover, middle, recipe)
    _waters(rng, cover, height, recipe)
    unit = np.where(built, district_of, np.where(wooded, stand_of, field_of))
    offset = np.where(built, 2, np.where(wooded, 1, 0)) * (unit.max() + 1)
    _, numbered = np.unique(unit + offset, return_inverse=True)
    return _build(rng, cover, numbered.reshape(n, n).astype(np.int32), district_of, height)


def _forest(
    rng: np.random.Generator, cover: Array, field_of: Array, stand_of: Array, height: Array, recipe: Recipe
) -> Array:
    n = len(cover)
    if recipe.forest < 0.02:
        return np.zeros((n, n), bool)
    wish = gaussian_filter(0.7 * height + fractal(rng, n, 2.6), 0.7)
    # Half of a forest's edge follows the fields beside it.
    owned = (np.bincount(field_of.ravel(), wish.ravel()) / np.bincount(field_of.ravel()))[field_of]
    wooded = top(wish + owned, recipe.forest)
    needles = rng.random(int(stand_of.max()) + 1)[stand_of] + 0.3 * fractal(rng, n, 3.0)
    conifer = top(needles, recipe.conifer) if recipe.conifer > 0 else np.zeros((n, n), bool)
    cover[wooded] = np.where(conifer, CLASS_ID["conifer"], CLASS_ID["broadleaf"])[wooded]
    return wooded


def _towns(rng: np.random.Generator, cover: Array, recipe: Recipe) -> Array:
    """Write towns into `cover`; returns the middle of the residential one, (row, column)."""
    n = len(cover)
    row, col = np.mgrid[:n, :n] / n
    middle: Array = np.array([0.5, 0.5])
    for name, share in (("industrial", recipe.industry), ("residential", recipe.town)):
        middle = rng.uniform(0.15, 0.85, 2)
        if share > 0.01:
            wish = 0.45 * gaussian_filter(fractal(rng, n, 2.7), 0.8) - 4 * np.hypot(row - middle[0], col - middle[1])
            cover[top(wish, share)] = CLASS_ID[name]
    return middle * n


def _roads(rng: np.random.Generator, cover: Array, middle: Array, recipe: Recipe) -> None:
    n = len(cover)
    row, col = np.mgrid[:n, :n].astype(float)
    for _ in range(recipe.roads):
        angle, bend, phase = rng.uniform(0, np.pi), rng.uniform(0.01, 0.05) * n, rng.uniform(0, 2 * np.pi)
        along = (col - middle[1]) * np.cos(angle) + (row - middle[0]) * np.sin(angle)
        across = -(col - middle[1]) * np.sin(angle) + (row - middle[0]) * np.cos(angle)
        path = bend * (np.sin(along / n * 5 + phase) - np.sin(phase))
        cover[np.abs(across - path) < recipe.road_width / 2] = CLASS_ID["road"]


def _waters(rng: np.random.Generator, cover: Array, height: Array, recipe: Recipe) -> None:
    n = len(cover)
    row, col = np.mgrid[:n, :n].astype(float)
    if recipe.river > 0:
        angle, phases = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi, 3)
        middle = rng.uniform(0.3, 0.7, 2) * n
        along = ((col - middle[1]) * np.cos(angle) + (row - middle[0]) * np.sin(angle)) / n
        across = -(col - middle[1]) * np.sin(angle) + (row - middle[0]) * np.cos(angle)
        waves = zip((0.09, 0.035, 0.012), (5, 12, 31), phases, strict=True)
        distance = np.abs(across - n * sum(a * np.sin(f * along + p) for a, f, p in waves))
        width = recipe.river * (1 + 0.2 * np.sin(9 * along + phases[0]))
        wooded_bank = (distance < width / 2 + 2.5) & (fractal(rng, n, 2.5) > 0)
        cover[wooded_bank & (cover != CLASS_ID["road"])] = CLASS_ID["broadleaf"]
        cover[distance < width / 2] = CLASS_ID["river"]
    if recipe.sea > 0:
        toward = rng.normal(size=2)
        depth = 3 * (row * toward[0] + col * toward[1]) / n / np.hypot(*toward) - 0.45 * gaussian_filter(height, 0.8)
        cover[top(depth, recipe.sea)] = CLASS_ID["sea"]


def _build(rng: np.random.Generator, cover: Array, unit: Array, district_of: Array, height: Array) -> Land:
    """Streets and roofs of the whole place, seen only where it is, or becomes, built."""
    n = len(cover)
    block_of = parcels(rng, n, rng.uniform(7, 12), bend=1.0)
    site_of = parcels(rng, n, rng.uniform(6, 11), bend=0.2)
    house_of = parcels(rng, n, rng.uniform(2.0, 3.0), bend=0.4)
    street = np.maximum(0.62 * edges(block_of), 0.85 * edges(district_of))
    houses = rng.beta(1.5, 1.6, int(house_of.max()) + 1)[house_of]
    density = np.clip(0.5 + 0.18 * fractal(rng, n, 3.0), 0.15, 0.9)
    kinds = np.stack(
        [
            rng.choice(len(ROOFS), int(of.max()) + 1, p=_ROOF_SHARES[name])[of]
            for name, of in (("residential", house_of), ("industrial", site_of))
        ]
    )
    hall = (rng.random(int(site_of.max()) + 1) < 0.6)[site_of] & ~edges(site_of)
    return Land(
        cover=cover,
        unit=unit,
        units=int(unit.max()) + 1,
        height=height.astype(np.float32),
        margin=edges(unit),
        roof=(density * houses).astype(np.float32),
        roof_kind=kinds.astype(np.int8),
        hall=hall,
        street=street.astype(np.float32),
    )
