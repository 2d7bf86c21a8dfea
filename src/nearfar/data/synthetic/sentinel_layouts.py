"""The Sentinel-2 world in the layouts in which data sets of Sentinel-2 images are published.

Each writer fills a new folder that appears whole or not at all, takes a seed, and gives the same pixels for the same
arguments. Truth that a published data set does not have lies aside in `truth/`. PASTIS is in `sentinel_pastis`.
Needs rasterio: `pip install 'nearfar[geo]'`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from nearfar.data.geogrid import Grid
from nearfar.data.geotiff import band_name, write_geotiff
from nearfar.data.rasterfile import rasterio
from nearfar.data.synthetic.folders import whole_folder
from nearfar.data.synthetic.sentinel import Change, Scene, View, digital_numbers
from nearfar.data.synthetic.sentinel_land import Recipe
from nearfar.data.synthetic.sentinel_spectra import BANDS, RESOLUTION, Array
from nearfar.errors import ConfigError

SECO_BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
EUROSAT_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
EUROSAT_FOLDER = Path("ds/images/remote_sensing/otherDatasets/sentinel_2/tif")
_EMPTY = Recipe(forest=0.0, town=0.0, industry=0.0, roads=0, river=0.0, sea=0.0)
_CROPS = {"wheat": 0.35, "corn": 0.3, "rapeseed": 0.15, "sunflower": 0.1, "bare": 0.1}
EUROSAT_RECIPES: Mapping[str, Recipe] = {
    "AnnualCrop": replace(_EMPTY, crops=_CROPS),
    "Forest": replace(_EMPTY, forest=1.0),
    "HerbaceousVegetation": replace(_EMPTY, forest=0.08, crops={"grass": 0.8, "meadow": 0.1, "bare": 0.1}),
    "Highway": replace(_EMPTY, forest=0.15, town=0.08, roads=1, road_width=2.6),
    "Industrial": replace(_EMPTY, industry=0.9, town=0.05, roads=1),
    "Pasture": replace(_EMPTY, forest=0.06, crops={"meadow": 0.95, "grass": 0.05}),
    "PermanentCrop": replace(_EMPTY, forest=0.03, crops={"orchard": 0.5, "vineyard": 0.5}),
    "Residential": replace(_EMPTY, town=0.95, roads=1, road_width=1.2),
    "River": replace(_EMPTY, forest=0.2, town=0.05, river=8.0),
    "SeaLake": replace(_EMPTY, forest=0.1, sea=0.98),
}
_SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
_DEGREES = 8.983e-6  # of latitude, a metre


def new_folder(root: Path) -> AbstractContextManager[Path]:
    """`whole_folder`, for rasters. Raises ConfigError where `root` exists and is not empty, or rasterio is missing."""
    rasterio()
    return whole_folder(root)


def utm_grid(size: int, east: float, *, metres: float = 10, north: float = 5_400_000, zone: int = 31) -> Grid:
    """A square grid in UTM, its upper left corner at (east, north)."""
    crs = rasterio().crs.CRS.from_epsg(32600 + zone).to_wkt()
    return Grid((size, size), (metres, 0.0, float(east), 0.0, -metres, float(north)), crs)


def write_seco(
    root: Path, *, places: int = 4, dates: int = 5, size: int = 264, seed: int = 0, compress: str = "jpeg"
) -> Path:
    """The layout of SeCo (5 dates in a year) and CACo (10 dates: 5 in 2016, 5 in 2020), read by folder and file names.

    `{place:06d}/{date}/{band}.tif`, one uint8 band a file (L2A reflectance * 255) at its own resolution, so `size` is a
    multiple of 6, and `metadata.json`. JPEG is what is published; "deflate" keeps the texture. A third of the places
    changes: after the third date of SeCo, between the two years of CACo. `truth/{place:06d}/cover_{0,1}.png` (index
    in CLASSES before and after) and `truth/changes.csv` (place, kind, share). Raises ConfigError.
    """
    if dates not in (5, 10):
        raise ConfigError("Dates of a place", where="dates", found=dates, expected="5 (SeCo) or 10 (CACo)")
    if size % 6:
        raise ConfigError("60 m pixels do not fit the scene", where="size", found=size, expected="a multiple of 6")
    with new_folder(Path(root)) as folder:
        rows = [_seco_place(folder, place, dates, size, seed, compress) for place in range(places)]
        write_table(folder / "truth/changes.csv", ("place", "kind", "share"), rows)
    return Path(root)


def _seco_place(root: Path, place: int, dates: int, size: int, seed: int, compress: str) -> tuple[str, str, str]:
    rng = np.random.default_rng([seed, place])
    scene = Scene(int(rng.integers(2**31)), size)
    change = scene.change(str(rng.choice(["build", "clearcut", "flood"]))) if rng.random() < 1 / 3 else None
    covers = scene.cover, change.cover if change else scene.cover
    name = f"{place:06d}"
    folder = root / "truth" / name
    folder.mkdir(parents=True)
    for k, cover in enumerate(covers):
        Image.fromarray(cover.astype(np.uint8)).save(folder / f"cover_{k}.png")
    for i, day in enumerate(_seco_days(rng, dates)):
        late = i >= (5 if dates == 10 else 3)
        cloud = float(rng.choice([0.0, 0.0, 0.0, 0.06]))
        view = scene.render(day.timetuple().tm_yday, i, cover=covers[late], cloud=cloud)
        _seco_date(root / name, day, view, place, compress)
    return name, change.kind if change and change.mask.any() else "", f"{change.mask.mean() if change else 0:.4f}"


def _seco_days(rng: np.random.Generator, dates: int) -> list[date]:
    years = (2019,) if dates == 5 else (2016, 2020)
    start = int(rng.integers(5, 60))
    offsets = [start + 70 * k + int(rng.integers(0, 21)) for k in range(5)]
    return [date(year, 1, 1) + timedelta(days=min(offset, 364)) for year in years for offset in offsets]


def _seco_date(place_folder: Path, day: date, view: View, place: int, compress: str) -> None:
    stamp = f"{day:%Y%m%d}"
    name = f"{stamp}T103021_{stamp}T103024_T31UDQ"
    folder = place_folder / name
    folder.mkdir(parents=True)
    crs = rasterio().crs.CRS.from_string("+proj=latlong").to_wkt()
    for short in SECO_BANDS:
        band = band_name(short)
        pixels = np.clip(np.round(view.bands[band] * 255), 0, 255).astype(np.uint8)
        step = RESOLUTION[band] * _DEGREES
        grid = Grid(pixels.shape, (step, 0.0, 2.0 + 0.05 * place, 0.0, -step, 48.8), crs)
        write_geotiff(folder / f"{short}.tif", pixels, grid, compress=compress)
    about = {"system:index": name, "CLOUDY_PIXEL_PERCENTAGE": round(100 * float(view.cloud.mean()), 2)}
    (folder / "metadata.json").write_text(json.dumps({**about, "synthetic": True}), encoding="utf-8")


def eurosat_patch(name: str, number: int, *, seed: int = 0, region: int = -1, size: int = 64) -> Array:
    """One L1C patch of a EuroSAT class, uint16 [13, size, size] in the order EUROSAT_BANDS, March to October."""
    rng = np.random.default_rng([seed, list(EUROSAT_RECIPES).index(name), number])
    recipe = replace(EUROSAT_RECIPES[name], parcel=rng.uniform(9, 24), conifer=float(rng.random()))
    if recipe.river:
        recipe = replace(recipe, river=rng.uniform(4, 14))
    scene = Scene(int(rng.integers(2**31)), size, recipe=recipe, climate=seed, region=region)
    return digital_numbers(scene.render(float(rng.uniform(75, 300)), level="L1C").stack(EUROSAT_BANDS))


def write_eurosat(root: Path, *, per_class: int = 10, regions: int = 10, seed: int = 0) -> Path:
    """The layout of EuroSAT MS: 13-band uint16 files of 64 x 64 pixels, L1C, in one folder a class.

    Lists of names: `eurosat-{train,val,test}.txt` at random within a class, `eurosat-spatial-{train,val,test}.txt` by
    longitude; both 60/20/20. Patches lie in `regions` regions from west to east, each with a climate of its own.
    Raises ConfigError.
    """
    splits: dict[str, list[str]] = {f"{kind}{split}": [] for kind in ("", "spatial-") for split in _SHARES}
    with new_folder(Path(root)) as folder:
        for c, name in enumerate(EUROSAT_RECIPES):
            rng = np.random.default_rng([seed, c])
            parts = _shared(per_class)
            order = rng.permutation(per_class)
            (folder / EUROSAT_FOLDER / name).mkdir(parents=True)
            for i in range(per_class):
                region = i * regions // per_class
                pixels = eurosat_patch(name, i, seed=seed, region=region)
                east = 300_000 + 30_000 * region + 700 * (i + per_class * c) % 29_000
                path = folder / EUROSAT_FOLDER / name / f"{name}_{i + 1}.tif"
                write_geotiff(path, pixels, utm_grid(64, east))
                splits[parts[order[i]]].append(f"{name}_{i + 1}.jpg")
                splits["spatial-" + _shared(regions)[region]].append(f"{name}_{i + 1}.jpg")
        for split, names in splits.items():
            (folder / f"eurosat-{split}.txt").write_text("".join(f"{n}\n" for n in names), encoding="utf-8")
    return Path(root)


def _shared(count: int) -> list[str]:
    """The split of each of `count` things in a row, 60/20/20."""
    bounds = np.cumsum([round(share * count) for share in _SHARES.values()])
    return [list(_SHARES)[min(int(np.searchsorted(bounds, i, side="right")), 2)] for i in range(count)]


def change_pair(seed: int, size: int = 192) -> tuple[View, View, Array]:
    """(before, after, changed bool [size, size]): L1C, two seasons and weathers, a town that grows."""
    rng = np.random.default_rng(seed)
    recipe = replace(Recipe.draw(rng), town=rng.uniform(0.1, 0.3), industry=0.04, forest=0.15, sea=0.0)
    scene = Scene(int(rng.integers(2**31)), size, recipe=recipe)
    changes: list[Change] = [scene.change("build", k) for k in range(int(rng.integers(2, 4)))]
    cover, mask = scene.cover, np.zeros((size, size), bool)
    for change in changes:
        cover = np.where(change.mask, change.cover, cover)
        mask |= change.mask
    day = float(rng.uniform(110, 260))
    before = scene.render(day, 0, level="L1C")
    after = scene.render(day + float(rng.uniform(-40, 40)), 1, cover=cover, level="L1C")
    return before, after, mask


def write_oscd(root: Path, *, train: int = 3, test: int = 2, size: int = 192, seed: int = 0) -> Path:
    """The layout of OSCD: pairs of L1C images with a mask of what was built between them.

    `Onera Satellite Change Detection dataset - Images/{city}/`: `imgs_{1,2}` with every band at its own resolution,
    `imgs_{1,2}_rect` with all at 10 m (20 and 60 m bands interpolated), `dates.txt`; `train.txt`, `test.txt`. Labels in
    `... - {Train,Test} Labels/{city}/cm/`: `cm.png` 0/255, `{city}-cm.tif` 1 no change, 2 change. Raises ConfigError.
    """
    base = "Onera Satellite Change Detection dataset"
    cities = {"train": [f"city{k}" for k in range(train)], "test": [f"town{k}" for k in range(test)]}
    with new_folder(Path(root)) as folder:
        for k, (split, city) in enumerate((split, city) for split, names in cities.items() for city in names):
            before, after, mask = change_pair(int(np.random.default_rng([seed, k]).integers(2**31)), size)
            images = folder / f"{base} - Images" / city
            for number, view in ((1, before), (2, after)):
                _oscd_date(images, number, view, 400_000 + 10_000 * k)
            (images / "dates.txt").write_text("date_1: 20160406\ndate_2: 20180420\n", encoding="utf-8")
            labels = folder / f"{base} - {split.capitalize()} Labels" / city / "cm"
            labels.mkdir(parents=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(labels / "cm.png")
            write_geotiff(labels / f"{city}-cm.tif", mask.astype(np.uint8) + 1, utm_grid(size, 400_000 + 10_000 * k))
        for split, names in cities.items():
            (folder / f"{base} - Images" / f"{split}.txt").write_text(",".join(names), encoding="utf-8")
    return Path(root)


def _oscd_date(images: Path, number: int, view: View, east: float) -> None:
    for part, rect in (("", False), ("_rect", True)):
        folder = images / f"imgs_{number}{part}"
        folder.mkdir(parents=True)
        for band in BANDS:
            reflectance = view.stack([band])[0] if rect else view.bands[band]
            metres = 10 if rect else RESOLUTION[band]
            name = f"{band}.tif" if rect else f"S2A_OPER_MSI_L1C_T31UDQ_{band}.tif"
            grid = utm_grid(len(reflectance), east, metres=metres)
            write_geotiff(folder / name, digital_numbers(reflectance), grid)


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A CSV file with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
