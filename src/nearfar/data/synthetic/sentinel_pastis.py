"""The Sentinel-2 world in the layout of PASTIS: series of a whole season as NumPy files, with parcels and crops."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.data.synthetic.sentinel import Scene, digital_numbers
from nearfar.data.synthetic.sentinel_land import Recipe, edges
from nearfar.data.synthetic.sentinel_layouts import new_folder
from nearfar.data.synthetic.sentinel_spectra import CLASS_ID, CLASSES, Array

PASTIS_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
PASTIS_CLASSES = {
    **{"meadow": 1, "wheat": 2, "corn": 3, "rapeseed": 5, "sunflower": 7, "vineyard": 8, "orchard": 16},
}
"""index in PASTIS by class of the world; every other class is background, 0"""
VOID = 19
_START = date(2018, 9, 17)
_MARGIN = 24  # pixels around a patch, in which its parcels go on
_SIZE = 128


def pastis_patch(seed: int, dates: int) -> tuple[Array, Array, Array, list[date]]:
    """(series int16 [T, 10, 128, 128] L2A, classes uint8 [128, 128], parcels int32 [128, 128] from 1, days).

    As published: parcels' edges and everything that is no parcel is background (0), parcels of which less than half
    lies in the patch are void (19), neither has a parcel's number, and dates with clouds are in the series.
    """
    rng = np.random.default_rng(seed)
    recipe = replace(Recipe.draw(rng), forest=0.12, town=0.05, industry=0.0, sea=0.0, parcel=rng.uniform(11, 19))
    scene = Scene(int(rng.integers(2**31)), _SIZE + 2 * _MARGIN, recipe=recipe)
    inner = slice(_MARGIN, _MARGIN + _SIZE), slice(_MARGIN, _MARGIN + _SIZE)
    days = [_START + timedelta(days=int(d)) for d in np.sort(rng.choice(np.arange(400), dates, replace=False))]
    clouds = rng.choice([0.0, 0.0, 0.2], dates)
    views = (scene.render(d.timetuple().tm_yday, i, cloud=clouds[i]) for i, d in enumerate(days))
    series = np.stack([digital_numbers(view.stack(PASTIS_BANDS)[:, *inner]) for view in views])
    crop, parcel = _annotate(scene, inner)
    return np.minimum(series, 32767).astype(np.int16), crop, parcel, days


def _annotate(scene: Scene, inner: tuple[slice, slice]) -> tuple[Array, Array]:
    index = np.zeros(len(CLASSES), np.uint8)
    for name, number in PASTIS_CLASSES.items():
        index[CLASS_ID[name]] = number
    crop = np.where(edges(scene.unit), 0, index[scene.cover])[inner].astype(np.uint8)
    unit = scene.unit[inner]
    whole = np.bincount(scene.unit.ravel())
    inside = np.bincount(unit.ravel(), minlength=len(whole))
    crop[(crop > 0) & (inside < 0.5 * whole)[unit]] = VOID
    parcel = np.zeros(unit.shape, np.int32)
    owned = (crop > 0) & (crop != VOID)
    parcel[owned] = np.unique(unit[owned], return_inverse=True)[1] + 1
    return crop, parcel


def write_pastis(root: Path, *, patches: int = 5, dates: int = 8, seed: int = 0) -> Path:
    """Write patches numbered from 10000, folds 1 to 5 in turn.

    `DATA_S2/S2_{id}.npy` int16 [T, 10, 128, 128]; `ANNOTATIONS/TARGET_{id}.npy` uint8 [3, 128, 128] (class in [0]) and
    `ParcelIDs_{id}.npy`; `INSTANCE_ANNOTATIONS/INSTANCES_{id}.npy`; `metadata.geojson`; `NORM_S2_patch.json`, mean and
    standard deviation of the bands by fold, for the folds that have patches. Raises ConfigError.
    """
    features, pixels = [], dict[int, list[Array]]()
    with new_folder(Path(root)) as folder:
        for name in ("DATA_S2", "ANNOTATIONS", "INSTANCE_ANNOTATIONS"):
            (folder / name).mkdir()
        for k in range(patches):
            number, fold = 10_000 + k, k % 5 + 1
            series, crop, parcel, days = pastis_patch(int(np.random.default_rng([seed, k]).integers(2**31)), dates)
            np.save(folder / f"DATA_S2/S2_{number}.npy", series)
            np.save(folder / f"ANNOTATIONS/TARGET_{number}.npy", np.stack([crop] * 3))
            np.save(folder / f"ANNOTATIONS/ParcelIDs_{number}.npy", parcel)
            np.save(folder / f"INSTANCE_ANNOTATIONS/INSTANCES_{number}.npy", parcel.astype(np.uint16))
            pixels.setdefault(fold, []).append(series.transpose(1, 0, 2, 3).reshape(len(PASTIS_BANDS), -1))
            features.append(_feature(number, fold, parcel, days))
        _json(folder / "metadata.geojson", {"type": "FeatureCollection", "crs": _crs(), "features": features})
        folds = {f: np.concatenate(parts, axis=1).astype(np.float64) for f, parts in pixels.items()}
        norm = {f"Fold_{f}": {"mean": x.mean(1).tolist(), "std": x.std(1).tolist()} for f, x in folds.items()}
        _json(folder / "NORM_S2_patch.json", norm)
    return Path(root)


def _feature(number: int, fold: int, parcel: Array, days: list[date]) -> dict[str, Any]:
    west, north = 800_000 + 1_400 * (number - 10_000), 6_500_000
    east, south = west + 10 * _SIZE, north - 10 * _SIZE
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    properties = {
        **{"ID_PATCH": number, "id": number, "Fold": fold, "TILE": "t31tfm"},
        **{"N_Parcel": int(parcel.max()), "Parcel_Cover": float((parcel > 0).mean())},
        "dates-S2": {str(i): int(f"{day:%Y%m%d}") for i, day in enumerate(days)},
    }
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def _crs() -> dict[str, Any]:
    return {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2154"}}


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
