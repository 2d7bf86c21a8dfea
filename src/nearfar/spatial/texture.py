"""Local binary patterns: texture as a code a pixel, and histograms of codes as features.

    codes = local_binary_pattern(bands)              # [..., H, W] -> [..., H, W] uint8, 18 codes
    features = lbp_histogram(codes, mask=clear)      # [..., 18], each row sums to 1

Codes depend on the order of neighbouring values only, so they see what no eye does. JPEG replaces the faint texture of
land by its own, and rounding to 8 bits makes ties of what differed: `benchmarks/texture.py` prints how many codes
either changes. Take 16-bit files where there is a choice, or blur (`blur=1`) to compare coarser texture.
"""

from __future__ import annotations

import math
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from nearfar.errors import missing_extra
from nearfar.spatial.texture_blocks import numpy_backend, texture_of_planes
from nearfar.spatial.texture_blur import gaussian_blur
from nearfar.spatial.texture_checks import (
    BACKENDS,
    check_bins,
    check_codes,
    check_image,
    check_parameters,
    check_points,
    fit_mask,
    is_tensor,
    result_dtype,
)
from nearfar.spatial.texture_plan import METHODS, Plan, code_count, code_dtype, make_plan

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "BACKENDS",
    "METHODS",
    "code_count",
    "code_dtype",
    "gaussian_blur",
    "lbp_histogram",
    "local_binary_pattern",
]

NUMBA_FROM = 1 << 26
"""pixels above which compiling (seconds, once a machine) costs less than it saves"""
_NUMBA = "nearfar.spatial.texture_numba"

Method = Literal["default", "ror", "uniform", "nri_uniform", "var"]
BackendName = Literal["auto", "numpy", "numba", "torch"]


@overload
def local_binary_pattern(
    image: Tensor,
    points: int = ...,
    radius: float = ...,
    method: Method = ...,
    backend: BackendName = ...,
    *,
    blur: float = ...,
    dtype: torch.dtype | None = ...,
) -> Tensor: ...


@overload
def local_binary_pattern(
    image: ArrayLike,
    points: int = ...,
    radius: float = ...,
    method: Method = ...,
    backend: BackendName = ...,
    *,
    blur: float = ...,
    dtype: DTypeLike | None = ...,
) -> NDArray[Any]: ...


def local_binary_pattern(
    image: Any,
    points: int = 16,
    radius: float = 2.0,
    method: Method = "uniform",
    backend: BackendName = "auto",
    *,
    blur: float = 0.0,
    dtype: Any = None,
) -> Any:
    """Local binary patterns over the last two axes, bit for bit those of scikit-image 0.26 on x86-64.

    `image` is an array or tensor [..., H, W] of any integer or floating type; the result has its shape, kind and
    device. `points` (1 to 62) neighbours on a circle of `radius` pixels are compared with the centre, after bilinear
    interpolation in float64, zeros outside the image. Methods:

    - default: the pattern as a number, bit i for point i, counter-clockwise from the right;
    - ror: the least of its rotations;
    - uniform: its number of ones where it changes at most twice, else points + 1: points + 2 codes;
    - nri_uniform: a code for each pattern that changes at most twice: points (points - 1) + 3 codes;
    - var: not a code but the variance of the neighbours, NaN where it is zero.

    The result is of the smallest of uint8, int16, int32 and int64 that holds every code (uint8 for `uniform`, and
    for `nri_uniform` up to 16 points), float64 for `var`, unless `dtype` names another that does.

    `blur` is the standard deviation in pixels of a Gaussian applied first (0: none); edges are mirrored.

    Backends give equal results. `auto` computes tensors of an accelerator there, with torch; everything else with
    numba where this process has used it before (by name, once) or the image has 2^26 pixels or more and numba is
    installed, with NumPy otherwise: the first call of numba may compile for seconds, later ones load from disk. `numpy`
    and `numba` copy tensors to the CPU and the result back; neither keeps gradients, codes have none.

    Raises ShapeError (fewer than two axes, an empty image), ConfigError (points, radius, method, backend, blur, dtype;
    numba not installed) and DataError (values that are not finite real numbers, with their count).

    Ojala, Pietikainen, Maenpaa, TPAMI 24(7), 2002; Ahonen, Hadid, Pietikainen, ECCV 2004 (nri_uniform).
    """
    check_parameters(points, radius, method, backend, blur)
    source = image if is_tensor(image) else np.asarray(image)
    check_image(source)
    result_type = result_dtype(dtype, points, method)
    chosen = _choose(backend, source)
    work = _move(source, chosen)
    if blur:
        work = gaussian_blur(work, blur)
    height, width = work.shape[-2:]
    plan = make_plan(int(points), float(radius), height, width)
    out = _empty_like(work, result_type)
    if work.size if isinstance(work, np.ndarray) else work.numel():
        _compute(work.reshape(-1, height, width), out.reshape(-1, height, width), plan, method, chosen)
    return _return(out, source)


def _compute(work: Any, out: Any, plan: Plan, method: str, backend: str) -> None:
    if backend == "torch":
        from nearfar.spatial.texture_torch import fill

        fill(work, out, plan, method)
    elif backend == "numba":
        from nearfar.spatial.texture_numba import backend as numba_backend

        texture_of_planes(work, out, plan, method, numba_backend())
    else:
        texture_of_planes(work, out, plan, method, numpy_backend())


def _choose(backend: str, source: Any) -> str:
    if backend == "numba" and find_spec("numba") is None:
        raise missing_extra("The numba backend", "numba", "geo")
    if backend != "auto":
        return backend
    if is_tensor(source) and source.device.type not in ("cpu", "mps"):  # mps has no float64
        return "torch"
    large = math.prod(source.shape) >= NUMBA_FROM and find_spec("numba") is not None
    return "numba" if large or _NUMBA in sys.modules else "numpy"


def _move(source: Any, backend: str) -> Any:
    """The image where the backend wants it."""
    if backend == "torch":
        import torch

        return source if is_tensor(source) else torch.from_numpy(np.ascontiguousarray(source, dtype=np.float64))
    if not is_tensor(source):
        return source
    source = source.detach().cpu()
    return (source.double() if source.is_floating_point() else source).numpy()


def _empty_like(work: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(work, np.ndarray):
        return np.empty(work.shape, dtype)
    import torch

    return torch.empty(work.shape, dtype=getattr(torch, dtype.name), device=work.device)


def _return(out: Any, source: Any) -> Any:
    """The result as the kind of array the image was."""
    if is_tensor(out) and not is_tensor(source):
        return out.numpy()
    if is_tensor(source) and not is_tensor(out):
        import torch

        return torch.from_numpy(out).to(source.device)
    return out


@overload
def lbp_histogram(codes: Tensor, points: int = ..., bins: int | None = ..., mask: Tensor | None = ...) -> Tensor: ...


@overload
def lbp_histogram(
    codes: ArrayLike, points: int = ..., bins: int | None = ..., mask: ArrayLike | None = ...
) -> NDArray[np.float32]: ...


def lbp_histogram(codes: Any, points: int = 16, bins: int | None = None, mask: Any = None) -> Any:
    """Share of every code in each plane: [..., H, W] -> [..., bins] float32.

    Each row sums to 1 and depends on its own plane alone (the published code drops the two last codes, most pixels of
    water, and scales by the extremes of the batch). `bins` is points + 2 where not given, right for `uniform`;
    `code_count(points, method)` for other methods. `mask` [..., H, W], broadcast to `codes`, is true at the pixels that
    count: leave out clouds and nodata, grown by the radius, for a code sees that far. A plane without any has zeros
    throughout.

    Raises ShapeError (fewer than two axes, an empty plane, a mask that does not fit), ConfigError (bins) and DataError
    (codes that are not whole numbers from 0 to bins - 1).
    """
    codes = codes if is_tensor(codes) else np.asarray(codes)
    check_image(codes, "lbp_histogram")
    check_points(points, "lbp_histogram")
    bins = code_count(points) if bins is None else bins
    check_bins(bins)
    check_codes(codes, bins)
    flat = _as(codes, "int64").reshape(-1, codes.shape[-2] * codes.shape[-1])
    count = len(flat)
    places = flat + _like(np.arange(count)[:, None] * bins, codes)
    if mask is not None:
        places = places[fit_mask(mask, codes).reshape(places.shape)]
    xp = sys.modules["torch"] if is_tensor(codes) else np
    counts = xp.bincount(places.reshape(-1), minlength=count * bins).reshape(count, bins)
    total = counts.sum(-1)[:, None]
    shares = _as(counts, "float64") / xp.where(total > 0, total, 1)
    return _as(shares, "float32").reshape(*codes.shape[:-2], bins)


def _as(x: Any, dtype: str) -> Any:
    return x.astype(dtype) if isinstance(x, np.ndarray) else x.to(getattr(sys.modules["torch"], dtype))


def _like(array: NDArray[Any], x: Any) -> Any:
    """The array where `x` is."""
    return sys.modules["torch"].from_numpy(array).to(x.device) if is_tensor(x) else array
