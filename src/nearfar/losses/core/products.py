"""Products of tiles. On x86 with AVX-512 oneDNN's kernels serve, since the BLAS of PyTorch (MKL) keeps to AVX2 on AMD.

The same float32 arithmetic at about twice the rate there; elsewhere, and in float64, torch.mm. The choice depends on
the machine alone, so that runs repeat. NEARFAR_PRODUCTS=blas takes torch.mm always. oneDNN generates code for every new
shape, so callers keep to few of them.
"""

from __future__ import annotations

import os
from functools import cache
from typing import cast

import torch
from torch import Tensor

STEP = 64
"""blocks of any size are extended to multiples of this: few shapes, full registers"""


def outer(x: Tensor, y: Tensor) -> Tensor:
    """x y^T, [n, m], for rows x [n, d] and y [m, d], contiguous."""
    return _linear(x, y) if _served(x, y) else torch.mm(x, y.T)


def add_rows(out: Tensor, w: Tensor, y: Tensor) -> None:
    """Add w y to out [n, d] for w [n, m] and y [m, d], contiguous."""
    if _served(w, y):
        out += _linear(w, y.T)
    else:
        out.addmm_(w, y)


def add_columns(out: Tensor, w: Tensor, turned: Tensor) -> None:
    """Add w^T x to out [m, d] for w [n, m], contiguous, and `turned` = x^T [d, n], contiguous.

    Fastest where out is rows of a `turned_zeros`.
    """
    if _served(turned, w) and out.T.stride(1) == 1:
        out.T.add_(_linear(turned, w.T))
    elif _served(turned, w):
        out += _linear(turned, w.T).T.contiguous()  # adding what is turned takes twice as long as both steps
    else:
        out.addmm_(w.T, turned.T)


def turned_zeros(y: Tensor) -> Tensor:
    """Zeros [m, d] that lie in memory as [d, m]."""
    return torch.zeros_like(y.T, memory_format=torch.contiguous_format).T


def room(x: Tensor, start: int, stop: int) -> int:
    """Rows x[start:stop] for a product, extended to a length that is met often, where oneDNN multiplies and x has them.

    Few rows are left alone.
    """
    end = start + -(-(stop - start) // STEP) * STEP
    large = stop - start >= 2 * STEP and x.dtype == torch.float32 and x.device.type == "cpu"
    return end if large and end <= len(x) and chosen() else stop


def _linear(x: Tensor, w: Tensor) -> Tensor:
    return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], ""))


def _served(x: Tensor, y: Tensor) -> bool:
    """Large enough to be worth it: a product of few rows takes less time than a look at a cache of kernels."""
    fits = x.dtype == torch.float32 and x.device.type == "cpu" and bool(y.shape[1])
    return fits and min(len(x), len(y)) >= 2 * STEP and chosen()


@cache
def _works() -> bool:
    """Whether oneDNN is there and multiplies as torch.mm does."""
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    x = torch.linspace(-1, 1, 96 * 40, dtype=torch.float32, device="cpu").sin().view(96, 40)
    try:
        error = max((_linear(x, x) - x @ x.T).abs().max(), (_linear(x.T.contiguous(), x.T) - x.T @ x).abs().max())
    except (AttributeError, RuntimeError, TypeError):  # an operator of PyTorch's own, which may change
        return False
    return float(error) < 1e-4


def chosen() -> bool:
    """Whether float32 products on the CPU go to oneDNN."""
    return os.environ.get("NEARFAR_PRODUCTS", "") != "blas" and _works()
