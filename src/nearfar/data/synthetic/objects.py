"""The objects world: procedural bodies seen by the cameras of NMR, and one scene seen from everywhere.

Objects are mirror-symmetric in the plane x = 0 and differ between front and back, as chairs, cars and animals are:
what Mir-180 needs (mirrored views show the same, opposite ones do not).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearfar.data.synthetic.folders import whole_folder
from nearfar.data.synthetic.objects_layouts import LISTS, write_objects, write_scene
from nearfar.data.synthetic.objects_trace import Box, Ellipsoid, Primitive, RayGrid, Vector, render
from nearfar.errors import ConfigError
from nearfar.spatial.cameras import Camera, orbit

__all__ = [
    "VIEWS",
    "Box",
    "Ellipsoid",
    "Primitive",
    "RayGrid",
    "demo_scene",
    "generate",
    "generate_objects",
    "generate_scene",
    "lamp",
    "nmr_cameras",
    "random_symmetric_object",
    "render",
    "table",
]

VIEWS = 24
DISTANCE = 2.732
ELEVATION = 30.0
FOV = 30.0
CATEGORY = "objects"
SCENE_RADIUS = 4.0311
SCENE_FOV = float(np.degrees(0.6911112))
"""`camera_angle_x` of NeRF's synthetic scenes"""


def nmr_cameras(size: int = 64) -> list[Camera]:
    """The 24 cameras of NMR's ShapeNet renderings: view i at azimuth -15 i, elevation 30 degrees, distance 2.732.

    Azimuths are those of `spatial.cameras.orbit`, between -180 and 180: cameras i and 24 - i mirror each other in the
    plane x = 0 exactly. Source: Kato, Ushiku, Harada, Neural 3D Mesh Renderer, CVPR 2018.
    """
    azimuths = [-(360.0 / VIEWS) * i + (360.0 if i > VIEWS // 2 else 0.0) for i in range(VIEWS)]
    like = _lens(size, FOV)
    return [orbit(1, DISTANCE, ELEVATION, start=a, near=1.2, far=4.0, like=like)[0] for a in azimuths]


def random_symmetric_object(rng: np.random.Generator) -> list[Primitive]:
    """A body with a back, four legs and, mostly, a pair of knobs and a head; all of it within 1 of the origin."""
    kinds = (Box, Ellipsoid)
    legs, (x, y, z), thick = _colour(rng), rng.uniform((0.15, 0.2, 0.2), (0.3, 0.35, 0.35)), rng.uniform(0.03, 0.07)
    parts: list[Primitive] = [
        kinds[rng.integers(2)]((0, 0, 0), _between(rng, (0.22, 0.3, 0.12), (0.4, 0.5, 0.28)), _colour(rng)),
        kinds[rng.integers(2)](
            (0, rng.uniform(0.25, 0.42), rng.uniform(0.2, 0.4)),
            _between(rng, (0.15, 0.05, 0.15), (0.38, 0.15, 0.35)),
            _colour(rng),
        ),
    ]
    parts += [Box((side * x, end * y, -z), (thick, thick, z), legs) for side in (-1, 1) for end in (-1, 1)]
    if rng.random() < 0.7:
        knob, (y, z), radius = _colour(rng), rng.uniform((-0.4, 0.05), (-0.1, 0.3)), rng.uniform(0.08, 0.18)
        parts += [Ellipsoid((side * 0.3, y, z), (radius, radius, radius), knob) for side in (-1, 1)]
    if rng.random() < 0.7:
        head = _between(rng, (0.1, 0.1, 0.1), (0.2, 0.2, 0.2))
        parts.append(Ellipsoid((0, rng.uniform(-0.55, -0.3), rng.uniform(0.1, 0.35)), head, _colour(rng)))
    return parts


def table() -> list[Primitive]:
    """A table: half a turn leaves it as it is, so that under light from above its opposite view is the view itself."""
    top: list[Primitive] = [Box((0, 0, 0.25), (0.35, 0.55, 0.05), (0.7, 0.5, 0.3))]
    corners = [(x, y) for x in (-0.3, 0.3) for y in (-0.5, 0.5)]
    return top + [Box((x, y, -0.1), (0.04, 0.04, 0.3), (0.5, 0.35, 0.2)) for x, y in corners]


def lamp() -> list[Primitive]:
    """A lamp: under light from above all its views are the same."""
    return [
        Ellipsoid((0, 0, 0.35), (0.3, 0.3, 0.15), (0.9, 0.85, 0.5)),
        Ellipsoid((0, 0, -0.1), (0.05, 0.05, 0.4), (0.4, 0.4, 0.4)),
        Ellipsoid((0, 0, -0.45), (0.25, 0.25, 0.05), (0.3, 0.3, 0.3)),
    ]


def demo_scene() -> list[Primitive]:
    """Five bodies on a checkered board, no two alike."""
    return [
        Box((0, 0, -0.55), (0.8, 0.8, 0.08), (0.75, 0.7, 0.6), checks=4.0),
        Ellipsoid((0, 0, 0), (0.42, 0.42, 0.48), (0.85, 0.25, 0.2)),
        Ellipsoid((0.45, 0.25, -0.2), (0.25, 0.25, 0.25), (0.2, 0.45, 0.85), checks=7.0),
        Box((-0.45, -0.3, -0.2), (0.18, 0.22, 0.27), (0.25, 0.7, 0.35)),
        Box((-0.05, 0.45, 0.15), (0.1, 0.1, 0.6), (0.9, 0.75, 0.2)),
    ]


def generate_objects(
    root: Path, *, n: int = 60, size: int = 32, seed: int = 0, shares: tuple[float, float, float] = (0.7, 0.1, 0.2)
) -> Path:
    """Writes `n` random symmetric objects, 24 views of `size` pixels each, in the layout of DVR; returns `root`.

    `shares` are those of training, validation and test. Object k is the same for the same seed, however many follow.
    Raises ConfigError for impossible numbers, or where `root` holds anything.
    """
    if n < 1 or size < 1 or min(shares) < 0 or not sum(shares) > 0:
        raise ConfigError("impossible set of objects", found=f"n {n}, size {size}, shares {shares}")
    objects = {f"object{k:04d}": random_symmetric_object(np.random.default_rng((seed, k))) for k in range(n)}
    cuts = np.rint(np.cumsum((0.0, *shares)) / sum(shares) * n).astype(int)
    names = list(objects)
    splits = {name: names[a:b] for name, a, b in zip(("train", "val", "test"), cuts, cuts[1:], strict=False)}
    with whole_folder(Path(root)) as folder:
        write_objects(folder, CATEGORY, objects, nmr_cameras(size), splits)
    return Path(root)


def generate_scene(root: Path, *, views: tuple[int, int] = (40, 10), size: int = 64, seed: int = 0) -> Path:
    """Writes the demo scene in the layout of NeRF's synthetic scenes, RGBA images of `size` pixels; returns `root`.

    `views` are those of training, at random places of the upper hemisphere below 75 degrees, and of test, on a circle
    at 30 degrees. Raises ConfigError for impossible numbers, or where `root` holds anything.
    """
    if min(views) < 1 or size < 1:
        raise ConfigError("impossible scene", found=f"views {views}, size {size}")
    rng = np.random.default_rng(seed)
    places = [(rng.uniform(0, 360), rng.uniform(0, 75)) for _ in range(views[0])]
    like = _lens(size, SCENE_FOV)
    train = [orbit(1, SCENE_RADIUS, up, start=turn, near=2.0, far=6.0, like=like)[0] for turn, up in places]
    test = orbit(views[1], SCENE_RADIUS, 30.0, near=2.0, far=6.0, like=like)
    with whole_folder(Path(root)) as folder:
        write_scene(folder, demo_scene(), {"train": train, "test": test})
    return Path(root)


def generate(root: Path, *, n: int = 60, seed: int = 0) -> Path:
    """The whole world: `root`/objects and `root`/scene, as `generate_objects` and `generate_scene` write them, and in
    `root`/mir180 the triples of the objects' views."""
    from nearfar.data.mir180 import Rig, build

    home = generate_objects(Path(root) / "objects", n=n, seed=seed) / CATEGORY
    cameras, rigs = tuple(nmr_cameras(32)), []
    for split, file in LISTS.items():
        for name in (home / file).read_text(encoding="utf-8").split():
            images = tuple(sorted((home / name / "image").glob("*.png")))
            rigs.append(Rig(name, images, cameras, CATEGORY, split))
    build(rigs, Path(root) / "mir180")
    generate_scene(Path(root) / "scene", seed=seed)
    return Path(root)


def _lens(size: int, fov: float) -> Camera:
    return orbit(1, 1.0, width=size, height=size, fov=fov)[0]


def _colour(rng: np.random.Generator) -> Vector:
    return _between(rng, (0.2, 0.2, 0.2), (0.95, 0.95, 0.95))


def _between(rng: np.random.Generator, low: Vector, high: Vector) -> Vector:
    x, y, z = rng.uniform(low, high)
    return float(x), float(y), float(z)
