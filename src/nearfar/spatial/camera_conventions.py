"""Cameras as file formats have them, as a `Camera`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.errors import DataError, did_you_mean
from nearfar.spatial.pinhole import Camera

Array = NDArray[np.float64]
OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""turns OpenCV's camera axes (y down, looking along +z) into OpenGL's, and back"""
Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""turns a world whose y is up into one whose z is"""
COLMAP = {
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": "fx fy cx cy",
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2",
}
"""camera models of COLMAP that one lens model holds, and their parameters"""


def from_opencv(
    c2w: ArrayLike,
    intrinsics: ArrayLike,
    width: int,
    height: int,
    *,
    distortion: Sequence[float] = (),
    near: float = 0.1,
    far: float = 10.0,
) -> Camera:
    """A camera to world matrix of OpenCV's axes (x right, y down, looking along +z) and a matrix K, at least 3 x 3."""
    k = np.asarray(intrinsics, dtype=np.float64)
    if k.ndim != 2 or min(k.shape) < 3:
        raise DataError("the matrix of intrinsics has the wrong shape", found=k.shape, expected="3 x 3 or 4 x 4")
    pose = square(c2w) @ OPENCV
    return Camera(
        pose, k[0, 0], k[1, 1], k[0, 2], k[1, 2], width, height, near=near, far=far, distortion=tuple(distortion)
    )


def from_nsvf(
    pose: ArrayLike, intrinsics: ArrayLike, width: int, height: int, *, near: float = 0.1, far: float = 10.0
) -> Camera:
    """A pose of an NSVF folder, which has OpenCV's axes; the principal point is kept."""
    return from_opencv(pose, intrinsics, width, height, near=near, far=far)


def from_srn(
    pose: ArrayLike,
    focal: float,
    cx: float,
    cy: float,
    width: int,
    height: int,
    *,
    near: float = 0.1,
    far: float = 10.0,
) -> Camera:
    """A pose of an SRN folder (OpenCV's axes) with the numbers of its intrinsics.txt."""
    k = np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])
    return from_opencv(pose, k, width, height, near=near, far=far)


def from_dvr(
    world_mat: ArrayLike,
    camera_mat: ArrayLike | None,
    size: tuple[int, int],
    *,
    scale_mat: ArrayLike | None = None,
    near: float = 1.2,
    far: float = 4.0,
) -> Camera:
    """A camera of cameras.npz of NMR and DVR; size is (width, height).

    world_mat is world to camera in OpenCV's axes of a world with y up; camera_mat holds the focal length in units of
    half the image, and the principal point is the image's middle. With scale_mat (DTU) world_mat is the whole
    projection in pixels, of a world with y down, and the place is brought into the unit sphere of scale_mat.
    """
    width, height = size
    if scale_mat is not None:
        k, c2w = _decompose(square(world_mat, what="world_mat")[:3])
        scale = square(scale_mat, what="scale_mat")
        c2w[:3, 3] = (c2w[:3, 3] - scale[:3, 3]) / np.diag(scale)[:3]
        return from_opencv(OPENCV @ c2w, k, width, height, near=near, far=far)
    if camera_mat is None:
        raise DataError("camera_mat is missing", where="cameras.npz", fix="Give scale_mat for projections in pixels.")
    ndc = square(camera_mat, what="camera_mat")
    pose = Y_UP @ np.linalg.inv(square(world_mat, what="world_mat")) @ OPENCV
    focal = (ndc[0, 0] * width / 2, ndc[1, 1] * height / 2)
    return Camera(pose, *focal, width / 2, height / 2, width, height, near=near, far=far)


def to_dvr(camera: Camera) -> tuple[Array, Array]:
    """world_mat and camera_mat, float64 [4, 4] each, of cameras.npz: the inverse of `from_dvr` without a scale_mat.

    Raises DataError where the principal point is not the image's middle, which the format cannot say.
    """
    if not np.allclose((camera.cx * 2, camera.cy * 2), (camera.width, camera.height)):
        raise DataError("the format dvr has the principal point in the middle", found=f"{camera.cx}, {camera.cy}")
    focal = (2 * camera.fx / camera.width, 2 * camera.fy / camera.height)
    return OPENCV @ camera.w2c @ Y_UP, np.diag([*focal, 1.0, 1.0])


def from_colmap(
    qvec: ArrayLike,
    tvec: ArrayLike,
    params: Sequence[float],
    width: int,
    height: int,
    *,
    model: str = "OPENCV",
    near: float = 0.1,
    far: float = 10.0,
) -> Camera:
    """An image of images.txt (world to camera, quaternion w x y z) with its camera of cameras.txt.

    Raises DataError for a model that is not in `COLMAP`.
    """
    if model not in COLMAP:
        raise DataError(
            f"camera model {model!r} of COLMAP is not read",
            expected=" | ".join(COLMAP),
            fix=did_you_mean(model, COLMAP, "Undistort the images with COLMAP first."),
        )
    names = COLMAP[model].split()
    if len(params) != len(names):
        raise DataError(f"a {model} camera has {COLMAP[model]}", found=f"{len(params)} numbers")
    value = dict(zip(names, map(float, params), strict=True))
    fx, fy = value.get("fx", value.get("f", 0.0)), value.get("fy", value.get("f", 0.0))
    lens = tuple(value.get(name, 0.0) for name in ("k1", "k2", "p1", "p2"))
    w2c = np.eye(4)
    w2c[:3, :3], w2c[:3, 3] = rotation(qvec), np.asarray(tvec, dtype=np.float64)
    k = np.array([[fx, 0, value["cx"]], [0, fy, value["cy"]], [0, 0, 1.0]])
    return from_opencv(np.linalg.inv(w2c), k, width, height, distortion=lens if any(lens) else (), near=near, far=far)


def rotation(qvec: ArrayLike) -> Array:
    """The rotation matrix of a quaternion (w, x, y, z) of any length but 0."""
    q = np.asarray(qvec, dtype=np.float64)
    length = float(np.linalg.norm(q))
    if q.shape != (4,) or not np.isfinite(length) or length < 1e-12:
        raise DataError("this is no quaternion", found=q.tolist(), expected="four numbers, not all 0")
    w, x, y, z = q / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion(matrix: ArrayLike) -> Array:
    """The quaternion (w, x, y, z), w >= 0, of a rotation matrix [3, 3].

    The largest eigenvector of Bar-Itzhack's matrix (J. Guidance 23(6), 2000), exact for a half turn too.
    """
    m = np.asarray(matrix, dtype=np.float64)
    (a, b, c), (d, e, f), (g, h, i) = m
    k = np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )
    q = np.linalg.eigh(k)[1][:, -1]
    return np.asarray(q if q[0] >= 0 else -q)


def square(matrix: ArrayLike, what: str = "the pose") -> Array:
    """A 3 x 4 or 4 x 4 matrix as 4 x 4. Raises DataError for another shape."""
    m = np.asarray(matrix, dtype=np.float64)
    if m.shape not in ((3, 4), (4, 4)):
        found = " x ".join(map(str, m.shape)) or "a number"
        raise DataError(f"{what} has the wrong shape", found=found, expected="3 x 4 or 4 x 4")
    return m.copy() if m.shape == (4, 4) else np.vstack([m, [0.0, 0.0, 0.0, 1.0]])


def _decompose(projection: Array) -> tuple[Array, Array]:
    """K and camera to world of a projection [3, 4] = K [R | t], by an RQ decomposition."""
    flip = np.eye(3)[::-1]
    q, r = np.linalg.qr((flip @ projection[:, :3]).T)
    k, w2c = flip @ r.T @ flip, flip @ q.T
    signs = np.diag(np.sign(np.diag(k)))
    k, w2c = k @ signs, signs @ w2c
    if np.linalg.det(w2c) < 0:
        w2c = -w2c
    pose = np.eye(4)
    pose[:3, :3] = w2c.T
    pose[:3, 3] = -np.linalg.solve(projection[:, :3], projection[:, 3])
    return k / k[2, 2], pose
