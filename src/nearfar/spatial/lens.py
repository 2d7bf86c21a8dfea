"""OpenCV's model of a lens, k1, k2, p1, p2: both ways on normalised image coordinates (x right, y down, at depth 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import DataError

Array = NDArray[np.float64]
STEPS = 50
TOLERANCE = (
    1e-12  # of the normalised coordinates: a thousandth of a millionth of a pixel at 1000 pixels of focal length
)


def distort(points: Array, coefficients: Sequence[float]) -> Array:
    """Where the lens puts points: [n, 2] -> [n, 2].

    With r2 = x2 + y2 and g = 1 + k1 r2 + k2 r4: x g + 2 p1 x y + p2 (r2 + 2 x2), y g + p1 (r2 + 2 y2) + 2 p2 x y
    (OpenCV documentation, camera calibration).
    """
    k1, k2, p1, p2 = coefficients
    x, y = points[..., 0], points[..., 1]
    r2 = x * x + y * y
    gain = 1 + k1 * r2 + k2 * r2 * r2
    return np.stack(
        [x * gain + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * gain + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], axis=-1
    )


def undistort(points: Array, coefficients: Sequence[float]) -> Array:
    """The points that the lens puts at `points`: [n, 2] -> [n, 2], by Newton's method.

    Raises DataError where there is none, as with coefficients of another lens or another model.
    """
    found = points.copy()
    for _ in range(STEPS):
        error = distort(found, coefficients) - points
        if np.abs(error).max(initial=0.0) < TOLERANCE:
            break
        step = _newton_step(found, error, coefficients)
        # A whole step may jump over the radius where the model folds back; half the distance from the middle may not.
        most = 0.5 * (1 + np.linalg.norm(found, axis=-1, keepdims=True))
        found -= step * np.minimum(1, most / np.maximum(np.linalg.norm(step, axis=-1, keepdims=True), 1e-300))
    bad = ~(np.abs(distort(found, coefficients) - points).max(axis=-1) < 1e-9)
    bad |= np.square(found).sum(axis=-1) > fold(coefficients)
    if bad.any():
        raise DataError(
            "the lens distortion cannot be undone inside the image",
            found=f"k1, k2, p1, p2 = {', '.join(f'{c:g}' for c in coefficients)} at {int(bad.sum())} points",
            fix="Check the coefficients and the focal length: they may belong to another size or to a fisheye model.",
        )
    return found


def fold(coefficients: Sequence[float]) -> float:
    """The square of the radius from which the radial model folds back; infinite where it never does."""
    k1, k2 = coefficients[:2]
    roots = np.roots([5 * k2, 3 * k1, 1.0]) if k2 or k1 else np.empty(0)
    real = [float(root.real) for root in roots if abs(root.imag) < 1e-12 and root.real > 0]
    return min(real, default=float("inf"))


def _newton_step(points: Array, error: Array, coefficients: Sequence[float]) -> Array:
    """The solution of Jacobian step = error, 2 x 2 at each point."""
    k1, k2, p1, p2 = coefficients
    x, y = points[..., 0], points[..., 1]
    r2 = x * x + y * y
    gain, slope = 1 + k1 * r2 + k2 * r2 * r2, 2 * k1 + 4 * k2 * r2
    a, d = gain + x * x * slope + 2 * p1 * y + 6 * p2 * x, gain + y * y * slope + 6 * p1 * y + 2 * p2 * x
    b = x * y * slope + 2 * p1 * x + 2 * p2 * y  # off the diagonal, twice the same
    determinant = a * d - b * b
    determinant = np.where(np.abs(determinant) < 1e-12, 1e-12, determinant)
    return (
        np.stack([d * error[..., 0] - b * error[..., 1], a * error[..., 1] - b * error[..., 0]], axis=-1)
        / (determinant[..., None])
    )
