"""What the functions of `texture` accept, and the errors for what they do not."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from nearfar.errors import ConfigError, DataError, ShapeError, did_you_mean
from nearfar.spatial.texture_plan import METHODS, code_count, code_dtype

BACKENDS = ("auto", "numpy", "numba", "torch")
MAX_POINTS, MAX_RADIUS, MAX_BLUR, MAX_BINS = 62, 1000.0, 100.0, 1 << 24


def is_tensor(x: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def check_parameters(points: object, radius: object, method: object, backend: object, blur: object) -> None:
    where = "local_binary_pattern"
    check_points(points, where)
    if not (is_real(radius) and 0 < radius <= MAX_RADIUS):  # type: ignore[operator]
        raise ConfigError(
            "radius is not valid", where=where, found=radius, expected=f"pixels, over 0, to {MAX_RADIUS:g}"
        )
    check_blur(blur, where)
    for name, value, allowed in (("method", method, METHODS), ("backend", backend, BACKENDS)):
        if value not in allowed:
            fix = did_you_mean(value, allowed, quote="'")
            raise ConfigError(f"{name} {value!r} is unknown", where=where, expected=", ".join(allowed), fix=fix)


def check_points(points: object, where: str) -> None:
    whole = isinstance(points, (int, np.integer)) and not isinstance(points, bool)
    if not (whole and 1 <= points <= MAX_POINTS):  # type: ignore[operator]
        raise ConfigError(
            "points is not valid", where=where, found=points, expected=f"a whole number, 1 to {MAX_POINTS}"
        )


def check_blur(blur: object, where: str) -> None:
    if not (is_real(blur) and 0 <= blur <= MAX_BLUR):  # type: ignore[operator]
        raise ConfigError("blur is not valid", where=where, found=blur, expected=f"pixels, 0 to {MAX_BLUR:g}")


def is_real(x: object) -> bool:
    return isinstance(x, (int, float, np.integer, np.floating)) and not isinstance(x, bool)


def check_image(image: Any, where: str = "local_binary_pattern") -> None:
    """Real, finite numbers [..., H, W]."""
    shape = tuple(image.shape)
    if len(shape) < 2 or 0 in shape[-2:]:
        raise ShapeError("image has no pixels", where=where, found=f"shape {shape}", expected="[..., H, W]")
    if is_tensor(image):
        import torch

        real, floating, finite = not image.is_complex(), image.is_floating_point(), torch.isfinite
    else:
        real, floating, finite = image.dtype.kind in "buif", image.dtype.kind == "f", np.isfinite  # type: ignore[assignment]
    if not real:
        raise DataError("image does not hold real numbers", where=where, found=f"dtype {image.dtype}")
    if floating and not (good := finite(image)).all():
        count = int((~good).sum())
        fix = "Fill them, and give lbp_histogram a mask that leaves them out."
        raise DataError(
            f"image has {count} values that are NaN or infinite", where=where, found=f"shape {shape}", fix=fix
        )


def result_dtype(dtype: Any, points: int, method: str) -> np.dtype[Any]:
    compact = code_dtype(points, method)
    if dtype is None:
        return compact
    try:
        chosen = np.dtype(str(dtype).removeprefix("torch.") if str(dtype).startswith("torch.") else dtype)
    except TypeError:
        chosen = np.dtype(object)
    largest = code_count(points, method) - 1
    if chosen.kind in "iu":
        fits = method != "var" and np.iinfo(chosen).max >= largest
    else:
        fits = chosen.kind == "f" and (method == "var" or 2 ** (np.finfo(chosen).nmant + 1) >= largest)
    if not fits:
        expected = "a floating type" if method == "var" else f"a type that holds 0 to {largest}"
        raise ConfigError("dtype cannot hold the result", where="local_binary_pattern", found=dtype, expected=expected)
    return chosen


def check_bins(bins: object) -> None:
    if not (isinstance(bins, (int, np.integer)) and not isinstance(bins, bool) and 0 < bins <= MAX_BINS):
        expected = f"a whole number, 1 to {MAX_BINS}"
        raise ConfigError("bins is not valid", where="lbp_histogram", found=bins, expected=expected)


def check_codes(codes: Any, bins: int) -> None:
    """Whole numbers from 0 to bins - 1."""
    if not math.prod(codes.shape):
        return
    low, high = float(codes.min()), float(codes.max())
    floating = codes.is_floating_point() if is_tensor(codes) else codes.dtype.kind == "f"
    if floating and bool((codes % 1 != 0).any()):
        fix = "The method var has no codes."
        raise DataError("codes are not whole numbers", where="lbp_histogram", found=f"dtype {codes.dtype}", fix=fix)
    if low < 0 or high >= bins:
        fix = "Give the points that made them, or bins=code_count(points, method)."
        found, expected = f"{low:g} to {high:g}", f"0 to {bins - 1}"
        raise DataError("codes do not fit the bins", where="lbp_histogram", found=found, expected=expected, fix=fix)


def fit_mask(mask: Any, codes: Any) -> Any:
    """The mask with the shape of `codes`, boolean, in the same place."""
    if is_tensor(codes):
        import torch

        mask = torch.as_tensor(mask, device=codes.device).bool()
        broadcast: Any = torch.broadcast_to
    else:
        mask = np.asarray(mask).astype(bool)
        broadcast = np.broadcast_to
    try:
        return broadcast(mask, tuple(codes.shape))
    except (ValueError, RuntimeError):
        found, expected = f"shape {tuple(mask.shape)}", f"broadcasts to {tuple(codes.shape)}"
        raise ShapeError("mask does not fit the codes", where="lbp_histogram", found=found, expected=expected) from None
