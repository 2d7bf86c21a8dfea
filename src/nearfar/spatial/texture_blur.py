"""A Gaussian before texture is measured, with the same bits for arrays and tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from nearfar.spatial.texture_checks import check_blur

if TYPE_CHECKING:
    from torch import Tensor


@overload
def gaussian_blur(image: Tensor, sigma: float) -> Tensor: ...


@overload
def gaussian_blur(image: NDArray[Any], sigma: float) -> NDArray[np.float64]: ...


def gaussian_blur(image: Any, sigma: float) -> Any:
    """Gaussian of standard deviation `sigma` pixels over the last two axes, cut at 4 sigma, edges mirrored; float64.

    The same operations in the same order for arrays and tensors, so both give the same bits; scipy's differs by
    rounding. A flat image stays exactly flat. Raises ConfigError where sigma is not in 0 to 100.
    """
    check_blur(sigma, "gaussian_blur")
    x = image.astype(np.float64) if isinstance(image, np.ndarray) else image.detach().double()
    if not sigma:
        return x
    reach = int(4 * float(sigma) + 0.5)
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    for axis in (-2, -1):
        n = x.shape[axis]
        place = np.arange(n)
        total = x * float(weights[0])
        for k in range(1, reach + 1):
            sides = [_taken(x, _mirrored(place + shift, n), axis) for shift in (-k, k)]
            total += (sides[0] + sides[1]) * float(weights[k])
        x = total
    return x


def _mirrored(index: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """... c b a | a b c | c b a ..."""
    index = index % (2 * n)
    return np.where(index < n, index, 2 * n - 1 - index)


def _taken(x: Any, index: NDArray[np.int64], axis: int) -> Any:
    if isinstance(x, np.ndarray):
        return np.take(x, index, axis)
    import torch

    return torch.index_select(x, axis, torch.from_numpy(index).to(x.device))
