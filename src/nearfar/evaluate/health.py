"""Embedding health of a run on images it was not trained on: alignment, uniformity, effective rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.data.loader import Batch, make_loader
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import DataError, ResumeError, ShapeError
from nearfar.evaluate.embed import check_channels, encode, run_encoder
from nearfar.train.health import alignment, effective_rank, uniformity
from nearfar.views import build_views

if TYPE_CHECKING:
    from nearfar.train.run import Run

LIMIT = 1024  # images measured: uniformity compares all pairs


def health(z: Tensor, z0: Tensor | None = None, z1: Tensor | None = None) -> dict[str, float]:
    """Features [n, D] of n images: `uniformity` and `effective_rank` of z, `alignment` of two of their views z0 and z1.

    Raises ShapeError where the views do not match, DataError for fewer than two images, NaN or infinity.
    """
    if len(z) < 2:
        raise DataError("health needs two images", found=len(z))
    views = [] if z0 is None or z1 is None else [z0, z1]
    if views and views[0].shape != views[1].shape:
        raise ShapeError("the two views do not match", found=" and ".join(str(tuple(v.shape)) for v in views))
    if not all(bool(torch.isfinite(part).all()) for part in (z, *views)):
        raise DataError("the features hold NaN or infinity", fix="Look for a diverged loss in metrics.jsonl.")
    return ({"alignment": float(alignment(*views))} if views else {}) | {
        "uniformity": float(uniformity(z)),
        "effective_rank": float(effective_rank(z)),
        "feature_dim": z.shape[1],
        "samples": len(z),
    }


def health_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, float]:
    """`health` of up to 1024 test images, evenly taken, under the run's own augmentation, seeded by the config."""
    encoder, samples = run_encoder(run), dataset if dataset is not None else run.dataset("test")
    check_channels(encoder, samples.channels)
    chosen = np.unique(np.linspace(0, max(0, len(samples) - 1), min(LIMIT, len(samples))).astype(int))
    if len(chosen) < 2:
        raise DataError("health needs two test images", found=len(chosen))
    loader = make_loader(
        samples.subset(chosen),
        batch_size=128,
        views=_views(run, encoder, samples),
        sampler="sequential",
        seed=config.seed,
        drop_last=False,
    )
    parts = [(batch["image"], *_ends(batch["views"])) for batch in loader]
    return health(*(torch.cat([encode(encoder, images) for images in column]) for column in zip(*parts, strict=True)))


def _ends(views: Tensor) -> tuple[Tensor, ...]:
    """The first and the last view; nothing where there is one, since it is at no distance from itself."""
    return (views[:, 0], views[:, -1]) if views.shape[1] > 1 else ()


def _views(run: Run, encoder: ImageEncoder, samples: SampleDataset) -> Callable[[Batch], Batch]:
    """Those of the method, which may draw dates or banners; the plain recipe where only the encoder was kept."""
    try:
        return run.method().views
    except ResumeError:
        return build_views(run.config.views, samples.channels, encoder.config.size)
