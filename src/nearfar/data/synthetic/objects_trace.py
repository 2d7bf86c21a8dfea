"""An analytic ray tracer of ellipsoids and boxes: Lambert's law, checker textures, one light, no shadows.

Every operation treats x and -x alike, so that two cameras that mirror each other in the plane x = 0 see mirror images
of a symmetric object to the last bit, as long as the light lies in that plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import ConfigError
from nearfar.spatial.cameras import Camera

Array = NDArray[np.float64]
Vector = tuple[float, float, float]

LIGHT: Vector = (0.0, -0.5, 0.85)
"""where the light comes from: the front, above"""
AMBIENT = 0.35
"""brightness of a surface that the light does not reach"""
DARK = 0.45
"""brightness of the dark squares of a checker, as a share of the bright ones'"""
_NEAREST = 1e-4
_LEVELS = 65535  # colours are whole numbers until they are averaged: sums of those do not depend on their order
_CORNERS = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


class Primitive(Protocol):
    """A body: where rays enter it, and the outward normals of its surface."""

    @property
    def centre(self) -> Vector: ...
    @property
    def half(self) -> Vector: ...
    @property
    def colour(self) -> Vector: ...
    @property
    def checks(self) -> float: ...

    def enter(self, origin: Array, directions: Array) -> Array:
        """Distance along unit `directions` [3, ...] from `origin` [3] to the surface, [...]; infinity past it."""

    def normals(self, points: Array) -> Array:
        """Normals [3, n], of any length, at points [3, n] of the surface."""


@dataclass(frozen=True)
class _Body:
    centre: Vector
    half: Vector
    """half its extent along x, y and z"""
    colour: Vector
    """red, green, blue, 0..1"""
    checks: float = 0.0
    """checker squares a unit of length; 0: plain. They are alike on both sides of x = 0"""

    def _centred(self, points: Array) -> Array:
        """Points [3, ...] in units of the half extents, from the centre."""
        shape = (3,) + (1,) * (points.ndim - 1)
        return np.asarray((points - np.reshape(self.centre, shape)) / np.reshape(self.half, shape))


@dataclass(frozen=True)
class Ellipsoid(_Body):
    """An ellipsoid with its axes along x, y and z."""

    def enter(self, origin: Array, directions: Array) -> Array:
        start = self._centred(origin)
        step = directions / np.reshape(self.half, (3,) + (1,) * (directions.ndim - 1))
        a = np.square(step).sum(axis=0)
        b = step[0] * start[0] + step[1] * start[1] + step[2] * start[2]
        root = b * b - a * (np.square(start).sum() - 1.0)
        distance = (-b - np.sqrt(np.maximum(root, 0.0))) / a
        return np.where((root > 0) & (distance > _NEAREST), distance, np.inf)

    def normals(self, points: Array) -> Array:
        return np.asarray(self._centred(points) / np.reshape(self.half, (3, 1)))


@dataclass(frozen=True)
class Box(_Body):
    """A box with its edges along x, y and z."""

    def enter(self, origin: Array, directions: Array) -> Array:
        start = self._centred(origin)
        step = directions / np.reshape(self.half, (3,) + (1,) * (directions.ndim - 1))
        step = np.where(np.abs(step) < 1e-12, np.copysign(1e-12, step), step)
        first, last = np.full(step.shape[1:], -np.inf), np.full(step.shape[1:], np.inf)
        for place, rate in zip(start, step, strict=True):
            middle, reach = -place / rate, np.abs(1.0 / rate)
            first, last = np.maximum(first, middle - reach), np.minimum(last, middle + reach)
        return np.where((first < last) & (first > _NEAREST), first, np.inf)

    def normals(self, points: Array) -> Array:
        local = self._centred(points)
        face = np.abs(local).argmax(axis=0)
        normals, columns = np.zeros_like(local), np.arange(local.shape[1])
        normals[face, columns] = np.sign(local[face, columns])
        return normals


@dataclass(frozen=True)
class RayGrid:
    """The rays of an image, several a pixel; making them once pays where a camera sees many objects."""

    camera: Camera
    """in samples, not pixels"""
    directions: Array
    """unit vectors [3, samples down, samples across]"""
    supersample: int

    @classmethod
    def of(cls, camera: Camera, size: int | None = None, supersample: int = 3) -> RayGrid:
        """Of the camera's image, brought to a width of `size` pixels. Raises ConfigError for sizes below 1."""
        wide = camera.width if size is None else size
        if wide < 1 or supersample < 1:
            raise ConfigError("an image needs pixels and samples", found=f"size {wide}, supersample {supersample}")
        view = camera if wide == camera.width else camera.scaled(wide / camera.width)
        fine = view.resized(view.width * supersample, view.height * supersample)
        _, directions = fine.rays()
        return cls(fine, np.ascontiguousarray(directions.T).reshape(3, fine.height, fine.width), supersample)


def render(
    primitives: Sequence[Primitive],
    camera: Camera | RayGrid,
    size: int | None = None,
    supersample: int = 3,
    *,
    light: Vector = LIGHT,
) -> NDArray[np.float32]:
    """float32 [H, W, 4], red, green, blue and alpha, not premultiplied, 0..1; colours are 0 where alpha is.

    Args:
        camera: its image is brought to a width of `size` pixels, with supersample^2 rays each; or a `RayGrid`.
        light: the direction that the light comes from.
    """
    grid = camera if isinstance(camera, RayGrid) else RayGrid.of(camera, size, supersample)
    distance, number = _nearest(primitives, grid)
    seen = np.flatnonzero(number >= 0)
    samples = np.zeros((number.size, 4), dtype=np.int64)
    rays = grid.directions.reshape(3, -1)[:, seen]
    points = grid.camera.origin[:, None] + distance.ravel()[seen] * rays
    colours = _shade(primitives, number.ravel()[seen], points, np.asarray(light, dtype=np.float64))
    samples[seen, :3], samples[seen, 3] = np.rint(colours.T * _LEVELS), 1
    return _averaged(samples, number.shape, grid.supersample)


def _averaged(samples: NDArray[np.int64], shape: tuple[int, ...], by: int) -> NDArray[np.float32]:
    sums = samples.reshape(shape[0] // by, by, shape[1] // by, by, 4).sum(axis=(1, 3))
    covered = sums[..., 3:]
    colours = sums[..., :3] / (np.maximum(covered, 1) * _LEVELS)
    return np.concatenate([colours, covered / by**2], axis=-1).astype(np.float32)


def _nearest(primitives: Sequence[Primitive], grid: RayGrid) -> tuple[Array, NDArray[np.int64]]:
    """Distance to the first surface and its primitive's number (-1: none) for every ray."""
    shape = grid.directions.shape[1:]
    best, number = np.full(shape, np.inf), np.full(shape, -1)
    for position, primitive in enumerate(primitives):
        rows, columns = _window(primitive, grid.camera)
        distance = primitive.enter(grid.camera.origin, grid.directions[:, rows, columns])
        closer = distance < best[rows, columns]
        best[rows, columns][closer] = distance[closer]
        number[rows, columns][closer] = position
    return best, number


def _window(primitive: Primitive, camera: Camera) -> tuple[slice, slice]:
    """Rows and columns outside which a primitive cannot show: those of its bounding box's corners."""
    corners = np.asarray(primitive.centre) + _CORNERS * primitive.half
    places, depth = camera.project(corners)
    if camera.distortion or (depth <= 0).any():
        return slice(0, camera.height), slice(0, camera.width)
    low, high = np.floor(places.min(axis=0)).astype(int) - 1, np.ceil(places.max(axis=0)).astype(int) + 1
    return slice(max(low[1], 0), max(high[1], 0)), slice(max(low[0], 0), max(high[0], 0))


def _shade(primitives: Sequence[Primitive], number: NDArray[np.int64], points: Array, light: Array) -> Array:
    """Colours [3, n] of points [3, n] on the primitives of these numbers."""
    colours = np.zeros_like(points)
    x, y, z = light / np.linalg.norm(light)
    for position, primitive in enumerate(primitives):
        mine = np.flatnonzero(number == position)
        if not len(mine):
            continue
        place = points[:, mine]
        normal = primitive.normals(place)
        facing = (normal[0] * x + normal[1] * y + normal[2] * z) / np.sqrt(np.square(normal).sum(axis=0))
        brightness = AMBIENT + (1 - AMBIENT) * np.maximum(facing, 0.0)
        colours[:, mine] = np.reshape(primitive.colour, (3, 1)) * brightness * _checker(place, primitive.checks)
    return np.clip(colours, 0.0, 1.0)


def _checker(points: Array, checks: float) -> Array | float:
    if not checks:
        return 1.0
    squares = np.floor(np.abs(points[0]) * checks) + np.floor(points[1] * checks) + np.floor(points[2] * checks)
    return np.where(squares % 2 == 0, 1.0, DARK)
