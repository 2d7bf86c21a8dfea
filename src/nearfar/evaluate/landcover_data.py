"""Labelled patches of another data set, as a run's encoder sees them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from nearfar.config import DataConfig, EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.data.loader import make_loader
from nearfar.data.open import open_dataset
from nearfar.data.sample import band_names
from nearfar.data.sampler import Order
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError, DataError
from nearfar.evaluate.bootstrap import IntArray
from nearfar.evaluate.transfer import BandChoice, choose_bands

BATCH = 64


@dataclass(frozen=True)
class Patches:
    """The labelled patches of a split, as an encoder's channels."""

    data: SampleDataset
    choice: BandChoice

    @property
    def labels(self) -> IntArray:
        """int64 [n]."""
        return self.data.labels

    def batches(self, order: Order = "sequential", seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(pixels float32 [B, C, S, S], labels int64 [B]) once through."""
        size = min(BATCH, len(self.data))
        for batch in make_loader(self.data, batch_size=size, sampler=order, seed=seed, drop_last=False):
            yield self.choice.of(batch["image"]), batch["label"]


def open_patches(config: EvalConfig, encoder: ImageEncoder) -> dict[str, Patches]:
    """The labelled patches by split: train, test, and val where there is one.

    Raises ConfigError where no folder is named, DataError where train or test have no labels.
    """
    if config.landcover is None:
        raise ConfigError(
            "no labelled patches for landcover",
            where="eval.landcover",
            fix="Name their folder: nearfar eval RUN --task landcover --root DATA.",
        )
    # Smaller patches than EuroSAT's would lose the texture that groups of patterns look at.
    size = max(64, encoder.config.size)
    everything: Any = open_dataset(DataConfig(root=config.landcover, size=size, protocol=config.protocol))
    choice = choose_bands(encoder, band_names(everything.channels))
    splits = np.array([record.split or "" for record in everything.records])
    parts = {}
    for name in ("train", "val", "test"):
        rows = np.flatnonzero((splits == name) & (everything.labels >= 0))
        if len(rows):
            parts[name] = Patches(everything.subset(rows), choice)
        elif name != "val":
            raise DataError("no labelled patch", where=config.landcover, found=f"none in the {name} split")
    return parts
