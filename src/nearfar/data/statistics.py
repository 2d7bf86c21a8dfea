"""Mean and standard deviation of every channel, which the encoder normalises with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearfar.data.dataset import SampleDataset
from nearfar.data.sample import Sample
from nearfar.errors import DataError


def channel_statistics(dataset: SampleDataset, limit: int = 2048) -> tuple[Tensor, Tensor]:
    """(mean [C], std [C]) in float32 over the pixels of at most `limit` samples, evenly spaced in the dataset.

    Of a time series all dates of a sample count, and of each the pixels that are valid. A constant channel gets std 1,
    so that normalising it gives zeros. Raises DataError where there is no sample, or no valid pixel.
    """
    if not len(dataset):
        raise DataError("there are no samples to measure", where=dataset.root, fix="Choose a split that has samples.")
    chosen = np.linspace(0, len(dataset) - 1, min(limit, len(dataset))).astype(int)
    sums = torch.zeros(3, len(dataset.channels), dtype=torch.float64)
    shift = dataset[0]["image"].double().mean(dim=(1, 2))
    for index in chosen:
        # Shifted by the first image's mean: the squares of a channel far from zero would swamp its variance.
        pixels = _pixels(dataset[int(index)]) - shift[:, None]
        sums += torch.stack([pixels.sum(1), pixels.square().sum(1), torch.full_like(shift, pixels.shape[1])])
    total, squares, count = sums
    if not count.any():
        raise DataError("no pixel has data", where=dataset.root, fix="Check the nodata value.")
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    std = torch.where(std < 1e-7, torch.ones_like(std), std)
    return (mean + shift).float(), std.float()


def _pixels(sample: Sample) -> Tensor:
    """float64 [C, n]"""
    if "valid" not in sample:
        return sample["image"].double().flatten(1)
    return sample["series"].double().movedim(1, 0)[:, sample["valid"]]
