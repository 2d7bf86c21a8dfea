"""Embedding health of a run on images it was not trained on: alignment, uniformity, effective rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.data.loader import make_loader
from nearfar.errors import DataError
from nearfar.evaluate.embed import check_channels, encode
from nearfar.train.health import alignment, effective_rank, uniformity
from nearfar.views import build_views

if TYPE_CHECKING:
    from nearfar.train.run import Run

LIMIT = 1024  # images measured: uniformity compares all pairs


def health(z0: Tensor, z1: Tensor) -> dict[str, float]:
    """Features [n, D] of two views of n images: `alignment` of the two, `uniformity` and `effective_rank` of the first.

    Raises ShapeError where the two do not match or n < 2, DataError for NaN or infinity.
    """
    if not bool(torch.isfinite(z0).all() and torch.isfinite(z1).all()):
        raise DataError("the features hold NaN or infinity", fix="Look for a diverged loss in metrics.jsonl.")
    return {
        "alignment": float(alignment(z0, z1)),
        "uniformity": float(uniformity(z0)),
        "effective_rank": float(effective_rank(z0)),
        "feature_dim": z0.shape[1],
        "samples": len(z0),
    }


def health_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, float]:
    """`health` of up to 1024 test images, evenly taken, under the run's own augmentation, seeded by the config."""
    encoder, samples = run.encoder(), dataset if dataset is not None else run.dataset("test")
    check_channels(encoder, samples.channels)
    if len(samples) < 2:
        raise DataError("health needs two test images", found=len(samples))
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(LIMIT, len(samples))).astype(int))
    views = build_views(run.config.views, samples.channels, encoder.config.size)
    loader = make_loader(
        samples.subset(chosen), batch_size=128, views=views, sampler="sequential", seed=config.seed, drop_last=False
    )
    pairs = [[encode(encoder, batch["views"][:, v]) for v in (0, -1)] for batch in loader]
    return health(torch.cat([first for first, _ in pairs]), torch.cat([second for _, second in pairs]))
