"""Labelled patches of satellite images: one file of several bands a sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.data import images
from nearfar.data.cache import SampleCache
from nearfar.data.dataset import CACHE_BYTES, Key, Record, SampleDataset
from nearfar.data.optics import Optics, metres_a_pixel
from nearfar.data.sample import Sample
from nearfar.errors import DataError


class PatchDataset(SampleDataset):
    """Patches in reflectance, bands by name.

    Args:
        records: one path each, a file (or folder) that `optics` reads.
        optics: which bands, and what makes them reflectance.
        size: height and width of the images given out; a patch of another size is resized, one of this size is not.
        cache_bytes: memory for decoded patches, kept in the type of the files; 0 turns it off.

    Samples have `image`, `label` and so on as those of `ImageDataset`, and `gsd`, metres a pixel as given out. A pixel
    without data is 0. DataError names a patch that is damaged, lacks a band, holds NaN or no data at all.
    """

    def __init__(
        self,
        records: Sequence[Record],
        optics: Optics,
        classes: Sequence[str] = (),
        root: Path | None = None,
        *,
        size: int = 64,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.records, self.optics, self.classes, self.root = list(records), optics, tuple(classes), root
        self.channels, self.size, self.has_masks = optics.named_channels(), size, False
        self._take_columns(self.records)
        self._finest = min(optics.sensor.band(name).resolution_m for name in optics.channels)
        self._cache = SampleCache(cache_bytes)

    def __getitem__(self, key: int | Key) -> Sample:
        sample = super().__getitem__(key)
        sample["gsd"] = self._read(sample["index"])[1]
        return sample

    def raw(self, index: int) -> dict[str, NDArray[Any]]:
        """The patch in the type and size of its file, [H, W, C]."""
        return {next(iter(self.channels.modalities)): np.moveaxis(self._read(index)[0], 0, -1)}

    def subset(self, indices: Iterable[int]) -> Self:
        chosen = [self.records[int(i)] for i in indices]
        other = type(self)(chosen, self.optics, self.classes, self.root, size=self.size)
        other._cache = self._cache
        return other

    def _load(self, index: int) -> tuple[Tensor, Tensor | None]:
        pixels, _ = self._read(index)
        return images.resize(torch.from_numpy(self.optics.reflectance(pixels)), self.size), None

    def _read(self, index: int) -> tuple[NDArray[Any], float]:
        """(pixels [C, H, W] as stored, metres a pixel as given out)"""
        path = self.records[index].paths[0]
        pixels, gsd = self._cache.get(path) or (None, None)
        if pixels is None or gsd is None:
            numbers, metres = read_patch(self.optics, path, self._finest)
            pixels, gsd = torch.from_numpy(numbers), torch.tensor(metres, dtype=torch.float64)
            self._cache.put(path, (pixels, gsd))
        return pixels.numpy(), float(gsd) * pixels.shape[-2] / self.size


def read_patch(optics: Optics, path: Path, default: float = 1.0) -> tuple[NDArray[Any], float]:
    """(pixels [C, H, W] as stored, 0 where there is no data; metres a pixel, `default` where the file does not say).

    Raises DataError for NaN, and where no pixel has data.
    """
    with optics.open(path) as scene:
        height, width = scene.grid.shape
        pixels, valid = scene.read(slice(0, height), slice(0, width))
        gsd = metres_a_pixel(scene.grid, default)
    if pixels.dtype.kind == "f" and (bad := int((~np.isfinite(pixels)).sum())):
        raise DataError(
            "the patch holds NaN or infinite values",
            where=path,
            found=f"{bad} of {pixels.size}",
            fix="Fill them, declare a nodata value, or remove the patch.",
        )
    if not valid.any():
        raise DataError("no pixel has data in every band", where=path, fix="Remove the patch.")
    return np.where(valid, pixels, 0), gsd
