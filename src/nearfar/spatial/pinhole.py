"""One camera for everything: where it stands, how it looks, what it measures.

Its axes are OpenGL's: x right, y up, looking along -z. Image coordinates have x to the right and y down, in pixels from
the outer corner of the top left pixel, whose centre therefore is (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.errors import DataError, ShapeError
from nearfar.spatial import lens

Array = NDArray[np.float64]
SKEWED = 1e-3
"""largest deviation of a pose's columns from a rotation; files rounded to four digits pass"""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera behind an OpenCV lens.

    Raises DataError for a pose that is no rotation and place, and for sizes, focal lengths or distances that cannot be.
    """

    c2w: Array
    """camera to world, float64 [3, 4]; a 4 x 4 matrix is taken too"""
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    near: float = 0.1
    """distances along the viewing axis between which there is something to see"""
    far: float = 10.0
    distortion: tuple[float, ...] = ()
    """k1, k2, p1, p2 of OpenCV, or nothing"""

    def __post_init__(self) -> None:
        pose = np.array(_pose(self.c2w), dtype=np.float64)
        pose.flags.writeable = False
        object.__setattr__(self, "c2w", pose)
        lengths = tuple(float(value) for value in (self.fx, self.fy, self.cx, self.cy, self.near, self.far))
        for name, value in zip(("fx", "fy", "cx", "cy", "near", "far"), lengths, strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "distortion", tuple(float(c) for c in self.distortion))
        _check(self)

    @property
    def origin(self) -> Array:
        """Where the camera stands, [3]."""
        return self.c2w[:, 3]

    @property
    def axis(self) -> Array:
        """Where it looks, a unit vector [3]."""
        return -self.c2w[:, 2] / np.linalg.norm(self.c2w[:, 2])

    @property
    def matrix(self) -> Array:
        """Camera to world, [4, 4]."""
        return np.vstack([self.c2w, [0.0, 0.0, 0.0, 1.0]])

    @property
    def w2c(self) -> Array:
        """World to camera, [4, 4], the inverse of `matrix`."""
        return np.asarray(np.linalg.inv(self.matrix))

    @property
    def intrinsics(self) -> Array:
        """OpenCV's matrix K, [3, 3]."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def pixels(self) -> Array:
        """The centres of all pixels, row by row: [height * width, 2]."""
        rows, columns = np.mgrid[: self.height, : self.width]
        return np.stack([columns.ravel(), rows.ravel()], axis=-1) + 0.5

    def rays(self, pixels: ArrayLike | None = None) -> tuple[Array, Array]:
        """Rays through `pixels`: (origins [n, 3], unit directions [n, 3]) in the world.

        Floats [n, 2] are image coordinates; integers are (column, row) of pixels, whose centres are meant; None: all
        pixels, row by row. The lens is undone exactly. Raises ShapeError, and DataError where it cannot be undone.
        """
        places = self.pixels() if pixels is None else _places(pixels)
        local = (places - [self.cx, self.cy]) / [self.fx, self.fy]
        if any(self.distortion):
            local = lens.undistort(local, self.distortion)
        directions = np.stack([local[:, 0], -local[:, 1], -np.ones(len(local))], axis=-1) @ self.c2w[:, :3].T
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        return np.broadcast_to(self.origin, directions.shape).copy(), directions

    def project(self, points: ArrayLike) -> tuple[Array, Array]:
        """Where world points [n, 3] appear: (image coordinates [n, 2], depth along the viewing axis [n]).

        Coordinates are NaN where a point is not in front of the camera, or so far to the side that the lens model folds
        back; points outside the image have theirs. Raises ShapeError.
        """
        world = np.asarray(points, dtype=np.float64)
        if world.ndim != 2 or world.shape[1] != 3:
            raise ShapeError("points have three coordinates", found=world.shape, expected="[n, 3]")
        inverse = self.w2c
        local = world @ inverse[:3, :3].T + inverse[:3, 3]
        depth = -local[:, 2]
        ahead = depth > 0
        flat = np.full((len(world), 2), np.nan)
        flat[ahead] = local[ahead, :2] * [1.0, -1.0] / depth[ahead, None]
        if any(self.distortion):
            flat[np.square(flat).sum(axis=1) > lens.fold(self.distortion)] = np.nan
            flat = lens.distort(flat, self.distortion)
        return flat * [self.fx, self.fy] + [self.cx, self.cy], depth

    def sees(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Whether world points [n, 3] lie in front of the camera and inside its image: bool [n]."""
        places, _ = self.project(points)
        with np.errstate(invalid="ignore"):
            return np.asarray(((places >= 0) & (places < [self.width, self.height])).all(axis=1))

    def scaled(self, factor: float) -> Camera:
        """The same view in `factor` times the pixels, rounded; each axis has the scale that its pixels really get."""
        return self.resized(max(1, round(self.width * factor)), max(1, round(self.height * factor)))

    def resized(self, width: int, height: int) -> Camera:
        """The same view in an image of another size."""
        x, y = width / self.width, height / self.height
        return replace(self, fx=self.fx * x, fy=self.fy * y, cx=self.cx * x, cy=self.cy * y, width=width, height=height)


def _pose(values: ArrayLike) -> Array:
    pose = np.asarray(values, dtype=np.float64)
    if pose.shape not in ((3, 4), (4, 4)):
        raise DataError("the pose has the wrong shape", found=_shape(pose), expected="3 x 4 or 4 x 4")
    if not np.isfinite(pose).all():
        raise DataError(
            "the pose holds NaN or infinite values", fix="Remove the view: its camera was not found, or its file broke."
        )
    if pose.shape == (4, 4) and not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise DataError("the last row of the pose is wrong", found=pose[3].tolist(), expected="0 0 0 1")
    rotation = pose[:3, :3]
    deviation = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if deviation > SKEWED:
        raise DataError(
            "the pose is no rotation and place",
            found=f"columns that differ from a rotation's by {deviation:.2g}",
            fix="Take the scale or shear out of the matrix; it may also be a projection, or its rows columns.",
        )
    if np.linalg.det(rotation) < 0:
        raise DataError(
            "the pose is a mirror image, not a rotation",
            fix="One axis is turned against the others: turn two axes or none, as from OpenCV to OpenGL y and z.",
        )
    return pose[:3]


def _check(camera: Camera) -> None:
    numbers = (camera.fx, camera.fy, camera.cx, camera.cy, camera.near, camera.far, *camera.distortion)
    if not np.isfinite(numbers).all():
        raise DataError("the camera holds NaN or infinite values", found=numbers)
    if camera.width < 1 or camera.height < 1:
        raise DataError("the image has no pixels", found=f"{camera.width} x {camera.height}")
    if camera.fx <= 0 or camera.fy <= 0:
        raise DataError("a focal length must be positive", found=f"fx {camera.fx:g}, fy {camera.fy:g}")
    if not 0 <= camera.near < camera.far:
        raise DataError("distances must increase", found=f"near {camera.near:g}, far {camera.far:g}")
    if len(camera.distortion) not in (0, 4):
        raise DataError(
            "the lens has the wrong number of coefficients", found=len(camera.distortion), expected="k1, k2, p1, p2"
        )


def _places(pixels: ArrayLike) -> Array:
    places = np.asarray(pixels)
    if places.ndim != 2 or places.shape[1] != 2:
        raise ShapeError("pixels have two coordinates", found=places.shape, expected="[n, 2]")
    return places + 0.5 if places.dtype.kind in "iu" else places.astype(np.float64)


def _shape(array: Array) -> str:
    return " x ".join(map(str, array.shape)) or "a number"
