"""One-class anomaly maps: a Gaussian of normal features at every place, and the distance of an image from it.

Defard et al. 2021, "PaDiM". It asks that the images are roughly aligned; the features may come from any encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from nearfar.data.dataset import SampleDataset
from nearfar.data.loader import make_loader
from nearfar.encoders.features import joined_stages
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.mode import evaluating
from nearfar.errors import DataError, ShapeError

Features = Callable[[Tensor], Tensor]
"""images [B, C, H, W] -> spatial features [B, D, h, w]"""
Maps = NDArray[np.float32]

GRID = 16
SHRINKAGE = 0.2
WIDEST = 256
_PLACES = 32  # covariances factored at a time


@runtime_checkable
class EmbedsPatches(Protocol):
    """A method with embeddings of places of its own."""

    def patches(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> [B, D, h, w]."""


def stage_features(encoder: ImageEncoder, grid: int = GRID) -> Features:
    """The encoder's last three stages on one grid, in evaluation mode."""

    def features(x: Tensor) -> Tensor:
        with evaluating(encoder), torch.no_grad():
            return joined_stages(encoder, x.to(encoder.mean.device), grid)

    return features


@dataclass(frozen=True)
class GaussianField:
    """A mean and a covariance of normal features at each of h x w places."""

    mean: Tensor
    """float32 [h * w, 1, D]"""
    factor: Tensor
    """lower Cholesky factor of the shrunk covariance, float32 [h * w, D, D]"""
    basis: Tensor
    """[features, D]: orthonormal directions that the features are reduced to, the identity where they are few"""

    @classmethod
    def fit(cls, features: Tensor, shrinkage: float = SHRINKAGE) -> GaussianField:
        """From features of normal images [n, D, h, w].

        The covariance is (1 - s) S + s tr(S) / D I: from fewer images than features S alone is singular. More than
        256 features are projected on as many random directions, as PaDiM does. Raises DataError for fewer than two
        images or features that are not finite.
        """
        if features.ndim != 4 or len(features) < 2 or not bool(features.isfinite().all()):
            raise DataError(
                "a Gaussian of normal features cannot be fitted",
                found=f"{tuple(features.shape)}, {int((~features.isfinite()).sum())} not finite",
                expected="features [n, D, h, w] of at least two normal images",
            )
        basis = _basis(features.shape[1])
        cells = _by_place(features, basis)
        mean = cells.mean(1, keepdim=True)
        return cls(mean, torch.cat([_factor(part, shrinkage) for part in _chunks(cells - mean)]), basis)

    def distance(self, features: Tensor) -> Tensor:
        """Mahalanobis distance over sqrt(D) of features [n, D, h, w] from normal at their place: [n, h, w].

        Raises ShapeError where the features do not have the fitted width or places.
        """
        shape = (len(self.basis), len(self.mean))
        if features.ndim != 4 or (features.shape[1], features.shape[2] * features.shape[3]) != shape:
            raise ShapeError("features of another kind than fitted", found=tuple(features.shape), expected=shape)
        centred = _by_place(features, self.basis) - self.mean
        parts = zip(_chunks(self.factor), _chunks(centred), strict=True)
        whitened = [torch.linalg.solve_triangular(f, c.transpose(1, 2), upper=False) for f, c in parts]
        length = torch.cat([w.square().mean(1) for w in whitened]).sqrt()
        return length.T.unflatten(1, features.shape[2:])  # type: ignore[no-untyped-call,no-any-return]


def anomaly_maps(features: Features, normal: SampleDataset, test: SampleDataset) -> Maps:
    """Maps float32 [n, S, S] of the test images, higher is more anomalous, from normal training images.

    The distances are interpolated to the size of the images and smoothed by S/64 pixels, a quarter of a cell.
    """
    field = GaussianField.fit(extract(features, normal))
    return upsample(field.distance(extract(features, test)), test.size)


def image_scores(maps: Maps) -> NDArray[np.float64]:
    """[n, H, W] -> [n]: the highest value of each map, because a defect may be small."""
    return np.asarray(maps.reshape(len(maps), -1).max(axis=1), dtype=np.float64)


def extract(features: Features, dataset: SampleDataset, batch_size: int = 32) -> Tensor:
    """Features of every image, float32 [n, D, h, w] on the CPU."""
    batches = make_loader(dataset, batch_size=batch_size, sampler="sequential")
    return torch.cat([features(batch["image"]).float().cpu() for batch in batches])


def upsample(distance: Tensor, size: int) -> Maps:
    """[n, h, w] -> smoothed float32 [n, size, size]."""
    large = F.interpolate(distance[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    return cast(Maps, gaussian_filter(large.numpy(), (0, size / 64, size / 64)).astype(np.float32))


def _chunks(places: Tensor) -> tuple[Tensor, ...]:
    """Of _PLACES places each, so that the covariances of few places exist at a time."""
    return cast(tuple[Tensor, ...], places.split(_PLACES))  # type: ignore[no-untyped-call]


def _by_place(features: Tensor, basis: Tensor) -> Tensor:
    """[n, features, h, w] -> [h * w, n, D]."""
    return features.flatten(2).permute(2, 0, 1) @ basis


def _basis(width: int) -> Tensor:
    if width <= WIDEST:
        return torch.eye(width)
    generator = torch.Generator().manual_seed(0)
    return cast(Tensor, torch.linalg.qr(torch.randn(width, WIDEST, generator=generator))[0])


def _factor(centred: Tensor, shrinkage: float) -> Tensor:
    covariance = centred.transpose(1, 2) @ centred / (centred.shape[1] - 1)
    level = covariance.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)[:, None, None]
    return cast(
        Tensor,
        torch.linalg.cholesky((1 - shrinkage) * covariance + shrinkage * level * torch.eye(centred.shape[2])),
    )
