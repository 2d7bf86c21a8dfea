"""Satellite images of the Sentinel-2 world as labelled scenes (GID, and one's own GeoTIFFs) and as plain time series.

Needs rasterio: `pip install 'nearfar[geo]'`.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np

from nearfar.data.geotiff import write_geotiff
from nearfar.data.readers.gid import COLOURS_5, COLOURS_15
from nearfar.data.scenes import IGNORED
from nearfar.data.synthetic.sentinel import Scene, digital_numbers
from nearfar.data.synthetic.sentinel_land import Recipe
from nearfar.data.synthetic.sentinel_layouts import new_folder, utm_grid, write_table
from nearfar.data.synthetic.sentinel_spectra import CLASSES, Array
from nearfar.errors import ConfigError

_BLACK = (0, 0, 0)
_METRES = 4
_BANDS = ("B02", "B03", "B04", "B08")
_IN_5 = {
    **dict.fromkeys(("sea", "river"), "water"),
    **dict.fromkeys(("broadleaf", "conifer"), "forest"),
    **dict.fromkeys(("meadow", "grass"), "meadow"),
    **dict.fromkeys(("wheat", "corn", "rapeseed", "sunflower", "bare"), "farmland"),
    **dict.fromkeys(("residential", "industrial"), "built-up"),
}
_IN_15 = {
    **{"sea": "lake", "river": "river", "broadleaf": "arbor woodland", "conifer": "arbor woodland"},
    **{
        "meadow": "artificial grassland",
        "grass": "natural grassland",
        "wheat": "irrigated land",
        "corn": "irrigated land",
    },
    **{"rapeseed": "dry cropland", "sunflower": "dry cropland", "bare": "dry cropland", "orchard": "garden plot"},
    **{"vineyard": "garden plot", "residential": "urban residential", "industrial": "industrial land"},
    **{"road": "traffic land"},
}


def write_gid(root: Path, *, classes: int = 5, scenes: int = 5, size: int = 256, seed: int = 0) -> Path:
    """`image_RGB/NAME.tif` uint8 [3, size, size] and `label_5classes/NAME_label.tif` (or `label_15classes/
    NAME_15label.tif`) in colours, black where the set has no class for it.

    A pixel of the world is written as one of 4 m, so its shapes are smaller than real ones. Raises ConfigError.
    """
    if classes not in (5, 15):
        raise ConfigError("GID has two sets of classes", where="classes", found=classes, expected="5 or 15")
    mark = "_label" if classes == 5 else "_15label"
    with new_folder(Path(root)) as folder:
        (folder / "image_RGB").mkdir()
        (folder / f"label_{classes}classes").mkdir()
        for k in range(scenes):
            colour, cover = gid_scene(int(np.random.default_rng([seed, k]).integers(2**31)), size, classes)
            grid = utm_grid(size, 500_000 + 2 * _METRES * size * k, metres=_METRES)
            write_geotiff(folder / f"image_RGB/GF2_PMS1__{k:04d}-MSS1.tif", colour, grid)
            write_geotiff(folder / f"label_{classes}classes/GF2_PMS1__{k:04d}-MSS1{mark}.tif", cover, grid)
    return Path(root)


def gid_scene(seed: int, size: int, classes: int) -> tuple[Array, Array]:
    """(colour image uint8 [3, size, size], colours of the classes uint8 [3, size, size])"""
    rng = np.random.default_rng(seed)
    scene = Scene(int(rng.integers(2**31)), size, recipe=Recipe.draw(rng))
    view = scene.render(float(rng.uniform(130, 250)))
    colour = np.clip(np.round(view.stack(("B04", "B03", "B02")) * 255 / 0.3), 0, 255).astype(np.uint8)
    names, palette = (_IN_5, COLOURS_5) if classes == 5 else (_IN_15, COLOURS_15)
    table = np.array([palette[names[name]] if name in names else _BLACK for name in CLASSES], np.uint8)
    return colour, np.moveaxis(table[scene.cover], -1, 0)


def write_labelled(root: Path, *, scenes: int = 5, size: int = 128, seed: int = 0) -> Path:
    """One's own layout: `images/NAME.tif` uint16 with described bands, `labels/NAME.tif` uint8 and `classes.csv`.

    Classes are those of the world; 255 is a rim that does not count. Raises ConfigError.
    """
    with new_folder(Path(root)) as folder:
        (folder / "images").mkdir()
        (folder / "labels").mkdir()
        rows = [(str(k), name) for k, name in enumerate(CLASSES)]
        write_table(folder / "classes.csv", ("value", "name"), rows)
        for k in range(scenes):
            scene = Scene(int(np.random.default_rng([seed, k]).integers(2**31)), size)
            pixels = digital_numbers(scene.render(180.0).stack(_BANDS))
            cover = scene.cover.astype(np.uint8)
            cover[:2] = IGNORED
            grid = utm_grid(size, 500_000 + 20 * size * k)
            write_geotiff(folder / f"images/scene{k}.tif", pixels, grid, bands=_BANDS)
            write_geotiff(folder / f"labels/scene{k}.tif", cover, grid)
    return Path(root)


def write_series(root: Path, *, places: int = 5, dates: int = 3, size: int = 96, seed: int = 0) -> Path:
    """One's own series: `PLACE/DATE.tif` uint16 with described bands, 0 under clouds. Raises ConfigError."""
    with new_folder(Path(root)) as folder:
        for k in range(places):
            scene = Scene(int(np.random.default_rng([seed, k]).integers(2**31)), size)
            (folder / f"place{k}").mkdir()
            for number in range(dates):
                day = date(2021, 1, 1) + timedelta(days=100 + 60 * number + k)
                view = scene.render(day.timetuple().tm_yday, number, cloud=0.1 * (number % 2))
                path = folder / f"place{k}/{day:%Y-%m-%d}.tif"
                grid = utm_grid(size, 500_000 + 20 * size * k)
                pixels = digital_numbers(view.stack(_BANDS))
                write_geotiff(path, pixels, grid, bands=_BANDS, valid=~view.cloud, nodata=0)
    return Path(root)
