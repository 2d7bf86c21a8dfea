"""Batches and single samples as views take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nearfar.errors import DataError, ShapeError

Batch = dict[str, Any]


def with_views(sample: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Batch]) -> Batch:
    """A batch, or a sample (whose `image` has no leading B), and what `make` adds to batches."""
    if sample["image"].ndim != 3:
        return {**sample, **make(sample)}
    batch = {k: torch.as_tensor(v)[None] for k, v in sample.items() if isinstance(v, Tensor | int | float)}
    return {**sample, **{k: v[0] for k, v in make(batch).items()}}


def sample_seeds(sample: Mapping[str, Any], image: Tensor) -> Tensor:
    """The seeds int64 [B] of a batch, or [1] of a sample. Raises DataError without any, ShapeError for too few."""
    if "seed" not in sample:
        raise DataError(
            "The sample has no seed, from which its views are drawn",
            found=f"keys {', '.join(sample)}",
            fix="Add `seed`, an int for a sample or an int64 tensor [B] for a batch.",
        )
    seed = torch.as_tensor(sample["seed"], dtype=torch.int64, device=image.device).reshape(-1)
    if len(seed) != len(image):
        raise ShapeError("Every image needs its own seed", found=f"{len(seed)} seeds", expected=f"{len(image)}")
    return seed
