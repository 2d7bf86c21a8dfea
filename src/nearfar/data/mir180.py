"""Mir-180: pairs each view of an object with its mirrored view (a positive) and its opposite view (a hard negative).

SMCL (Information Fusion 2025, doi 10.1016/j.inffus.2025.103889) defines the pairs by file numbers of one camera rig;
here they come from the poses of any rig, and a manifest points to the images where they lie.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nearfar.data.split import stratified
from nearfar.data.triples import ALIKE, RULE, WHITE, Colour, Rule, counts, difference, read_view
from nearfar.errors import ConfigError, DataError, did_you_mean
from nearfar.spatial.cameras import Camera

Array = NDArray[np.float64]
Direction = str | Sequence[float]

MANIFEST = "mir180.jsonl"
FOLDERS = ("images", "mirror_views", "180_views")
"""names of the published folders of image, mirrored and opposite views"""
SPLITS = ("train", "val", "test")
SHARES = (0.7, 0.1, 0.2)
_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


class Triple(NamedTuple):
    """Positions of three views in a rig, and where the first stands."""

    image: int
    mirror: int
    opposite: int
    azimuth: float
    """degrees about `up` from the mirror plane, -180..180; 90 is on the side that the plane's normal points to"""


@dataclass(frozen=True)
class Rig:
    """The views of one object."""

    name: str
    paths: tuple[Path, ...]
    cameras: tuple[Camera, ...]
    category: str = ""
    split: str | None = None
    background: Colour = WHITE
    """what lies behind transparent pixels"""


@dataclass(frozen=True)
class Built:
    """What `build` wrote."""

    manifest: Path
    objects: int
    triples: int
    negatives: int
    """triples whose opposite view counts"""
    skipped: tuple[str, ...]
    """objects without any triple"""


def pairs(
    cameras: Sequence[Camera],
    mirror_plane: Direction = "x",
    *,
    up: Direction = "z",
    centre: Sequence[float] = (0.0, 0.0, 0.0),
    tolerance: float = 1.0,
) -> list[Triple]:
    """The triples of a rig, by the image's position: each pair of mirrored views once, its first view being the image.

    The mirrored view of a camera is that of its reflection in the plane through `centre` with the normal `mirror_plane`
    (of a symmetric object its image is the flipped image), the opposite view that of half a turn about `up`; both are
    the nearest cameras of the rig, where these are within `tolerance` degrees of turn and of place, the latter as seen
    from `centre`. Views that are their own mirrored view, or whose mirrored and opposite views are one, have no triple.

    Args:
        mirror_plane: x, y, z, or a normal [3], square to `up`.
        up: the same.
        centre: a point of the plane and of the axis.

    Raises ConfigError for directions that are none or not square to each other.
    """
    normal, axis = direction(mirror_plane, "mirror_plane"), direction(up, "up")
    if abs(normal @ axis) > 1e-6:
        fix = "The plane must contain the axis that opposite views are turned about."
        raise ConfigError("mirror plane and up do not fit", found=f"{mirror_plane} and {up}", fix=fix)
    if len(cameras) < 3:
        return []
    poses = np.stack([camera.c2w for camera in cameras])
    poses[:, :, 3] -= np.asarray(centre, dtype=np.float64)
    reflection = np.eye(3) - 2 * np.outer(normal, normal)
    mirrored = reflection @ poses
    mirrored[:, :, 0] *= -1  # a mirror image shows the scene to a camera whose x is turned as well
    mirror = _nearest(mirrored, poses, tolerance)
    opposite = _nearest((2 * np.outer(axis, axis) - np.eye(3)) @ poses, poses, tolerance)
    front = np.cross(normal, axis)
    azimuth = np.degrees(np.arctan2(poses[:, :, 3] @ normal, poses[:, :, 3] @ front))
    return [
        Triple(i, int(m), int(o), float(azimuth[i]))
        for i, (m, o) in enumerate(zip(mirror, opposite, strict=True))
        if m > i and o not in (-1, i, m)
    ]


def direction(value: Direction, where: str) -> Array:
    """The unit vector [3] of x, y, z or three numbers. Raises ConfigError for anything else."""
    if isinstance(value, str):
        if value not in _AXES:
            fix = did_you_mean(value, _AXES, "Or give three numbers.")
            raise ConfigError("no such axis", where=where, found=value, expected="x | y | z", fix=fix)
        return np.array(_AXES[value])
    vector = np.asarray(value, dtype=np.float64)
    length = float(np.linalg.norm(vector)) if vector.shape == (3,) else 0.0
    if not (math.isfinite(length) and length > 0):
        raise ConfigError("not a direction", where=where, found=list(value), expected="x, y, z or three numbers")
    return vector / length


def _nearest(wanted: Array, poses: Array, tolerance: float) -> NDArray[np.int64]:
    """Position of the pose nearest to each wanted one, [V]; -1 where none is within `tolerance` degrees."""
    turns = wanted[:, :, :3].reshape(-1, 9) @ poses[:, :, :3].reshape(-1, 9).T
    turn = np.degrees(np.arccos(np.clip((turns - 1) / 2, -1, 1)))
    apart = np.linalg.norm(wanted[:, None, :, 3] - poses[None, :, :, 3], axis=-1)
    distance = np.maximum(np.linalg.norm(wanted[:, :, 3], axis=-1, keepdims=True), 1e-12)
    gap = np.maximum(turn, np.degrees(apart / distance))
    best = gap.argmin(axis=1)
    return np.where(gap[np.arange(len(gap)), best] <= tolerance, best, -1)


def build(
    rigs: Iterable[Rig],
    out: Path,
    *,
    mirror_plane: Direction = "x",
    up: Direction = "z",
    centre: Sequence[float] = (0.0, 0.0, 0.0),
    tolerance: float = 1.0,
    flip: bool = False,
    rule: Rule = RULE,
    alike: float = ALIKE,
    published: bool = False,
) -> Built:
    """Writes `out`/mir180.jsonl, one line a triple, and with `published` also the published folders of images.

    A line has object, category, split, the paths image, mirror and opposite relative to `out`, azimuth (see `Triple`),
    flip (whether a reader shows the mirrored view flipped), background, negative (see `triples.counts`) and the mean
    squared differences to_mirror (as shown) and to_opposite of images in 0..1.

    The published layout is `out`/[CATEGORY/]{train,val,test}/{images,mirror_views,180_views}/0000.png, numbered from 0
    in each split, an object's triples in a row. Objects without a split are divided 70 : 10 : 20.

    Raises DataError where no rig has a triple or images are bad, ConfigError for impossible settings.
    """
    given = list(rigs)
    if published and all(rig.split is None for rig in given):
        given = _divided(given)
    out = Path(out)
    rows, skipped = [], []
    for rig in given:
        found = pairs(rig.cameras, mirror_plane, up=up, centre=centre, tolerance=tolerance)
        rows += list(_rows(rig, found, out, flip, rule, alike))
        skipped += [] if found else [rig.name]
    if not rows:
        raise DataError(
            "no view has both a mirrored and an opposite one",
            found=f"{len(given)} objects of {len(given[0].cameras) if given else 0} views",
            expected=f"cameras that mirror each other in the plane within {tolerance:g} degrees",
            fix="Check mirror plane, up and centre, raise the tolerance, or render a rig of equal steps of azimuth.",
        )
    out.mkdir(parents=True, exist_ok=True)
    if published:
        rows = _publish(rows, out)
    path = out / MANIFEST
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return Built(path, len(given) - len(skipped), len(rows), sum(row["negative"] for row in rows), tuple(skipped))


def _divided(rigs: Sequence[Rig]) -> list[Rig]:
    parts = stratified([0] * len(rigs), SHARES, seed=0)
    split = {int(i): name for name, part in zip(SPLITS, parts, strict=True) for i in part}
    return [replace(rig, split=split[i]) for i, rig in enumerate(rigs)]


def _rows(
    rig: Rig, found: Sequence[Triple], out: Path, flip: bool, rule: Rule, alike: float
) -> Iterator[dict[str, Any]]:
    used = sorted({i for triple in found for i in triple[:3]})
    views = {i: _planes(rig.paths[i], rig.background) for i in used}
    for triple in found:
        image, mirror, opposite = (views[int(i)] for i in triple[:3])
        try:
            negative = counts(image, mirror, opposite, rule=rule, alike=alike)
        except DataError as error:
            raise DataError(error.what, where=rig.paths[triple.image], found=error.found, fix=error.fix) from None
        paths = (Path(os.path.relpath(rig.paths[int(i)], out)).as_posix() for i in triple[:3])
        yield {
            "object": rig.name,
            "category": rig.category,
            "split": rig.split,
            **dict(zip(("image", "mirror", "opposite"), paths, strict=True)),
            "azimuth": round(triple.azimuth, 4),
            "flip": flip,
            "background": list(rig.background),
            "negative": negative,
            "to_mirror": round(difference(image, mirror[..., ::-1] if flip else mirror), 8),
            "to_opposite": round(difference(image, opposite), 8),
        }


def _planes(path: Path, background: Colour) -> Array:
    """float64 [3, H, W] in 0..1 (of integers)."""
    view = read_view(path, background)
    top = float(np.iinfo(view.dtype).max) if view.dtype.kind in "ui" else 1.0
    return np.asarray(view.transpose(2, 0, 1) / top)


def _publish(rows: Sequence[dict[str, Any]], out: Path) -> list[dict[str, Any]]:
    """Copies the images, flipped where the rows say so, and returns the rows of the copies."""
    made, number = [], Counter[tuple[str, str]]()
    for row in rows:
        home = Path(row["category"]) / str(row["split"])
        stem = f"{number[row['category'], row['split']]:04d}"
        number[row["category"], row["split"]] += 1
        copy = {**row, "flip": False}
        for key, folder in zip(("image", "mirror", "opposite"), FOLDERS, strict=True):
            source = out / row[key]
            target = (home / folder / stem).with_suffix(source.suffix)
            (out / target).parent.mkdir(parents=True, exist_ok=True)
            if key == "mirror" and row["flip"]:
                with Image.open(source) as image:
                    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(out / target)
            else:
                shutil.copyfile(source, out / target)
            copy[key] = target.as_posix()
        made.append(copy)
    return made
