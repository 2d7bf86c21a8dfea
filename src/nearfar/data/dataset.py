"""Datasets of images: from files (`ImageDataset`) and from arrays in memory (`TensorDataset`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from nearfar.data import images as files
from nearfar.data.cache import SampleCache
from nearfar.data.sample import Channels, Sample
from nearfar.errors import DataError, ShapeError

CACHE_BYTES = 512 * 2**20
"""default budget of `ImageDataset` for decoded, resized images in memory"""


class Key(NamedTuple):
    """What a sampler asks of a dataset: a position, and the seed of every random choice made for this item."""

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here
    seed: int


@dataclass(frozen=True)
class Record:
    """One sample as it lies on disk: one path a modality, in the order of the dataset's channels."""

    id: str
    paths: tuple[Path, ...]
    label: int = -1
    group: str = ""
    split: str | None = None
    mask: Path | None = None
    true_label: int = -1


class SampleDataset(Dataset[Sample]):
    """What both datasets share; the attributes are documented at `ImageDataset`."""

    channels: Channels
    classes: tuple[str, ...]
    root: Path | None
    size: int
    labels: NDArray[np.int64]
    true_labels: NDArray[np.int64]
    groups: tuple[str, ...]
    ids: tuple[str, ...]
    has_masks: bool

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int | Key) -> Sample:
        """The sample at an index (seed 0) or a `Key`; IndexError outside, DataError where the file is bad."""
        index, seed = self._place(key)
        image, mask = self._load(index)
        sample = Sample(
            image=image.clone(),
            index=index,
            label=int(self.labels[index]),
            id=self.ids[index],
            group=self.groups[index],
            seed=int(seed),
        )
        if mask is not None:
            sample["mask"] = mask.clone()
        if (self.true_labels >= 0).any():
            sample["true_label"] = int(self.true_labels[index])
        return sample

    def raw(self, index: int) -> dict[str, NDArray[Any]]:
        """Modality -> its image [H, W, C] before scaling and resizing."""
        raise NotImplementedError

    def subset(self, indices: Iterable[int]) -> Self:
        """The samples at `indices`, in that order, with the same channels and classes; `index` counts anew."""
        raise NotImplementedError

    def _load(self, index: int) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError

    def _take_columns(self, records: Sequence[Record]) -> None:
        self.labels = np.array([r.label for r in records], dtype=np.int64)
        self.true_labels = np.array([r.true_label for r in records], dtype=np.int64)
        self.groups, self.ids = tuple(r.group for r in records), tuple(r.id for r in records)

    def _place(self, key: int | Key) -> tuple[int, int]:
        """The index from 0 and the seed of a key."""
        index, seed = key if isinstance(key, tuple) else (int(key), 0)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of a dataset of {len(self)}")
        return index % len(self), seed


class ImageDataset(SampleDataset):
    """Samples decoded from files.

    Args:
        records: one a sample; each has as many paths as `channels` has modalities, in the same order.
        channels: the names of the channels; an image with another number of them raises DataError.
        classes: names; `Record.label` counts in them.
        root: the folder, for messages.
        size: height and width of the images given out.
        scale: value that becomes 1.0; None: by dtype (255 for uint8, 65535 for uint16, 1 for float).
        cache_bytes: memory for decoded images; 0 turns the cache off. Loader workers share the budget.
        has_masks: whether every sample brings a `mask`; one without a mask file is all False (nothing marked).
            None: where any record has one.

    Modalities of different resolution cover the same ground: each is resampled to size x size on its own.
    """

    def __init__(
        self,
        records: Sequence[Record],
        channels: Channels,
        classes: Sequence[str] = (),
        root: Path | None = None,
        *,
        size: int = 64,
        scale: float | None = None,
        cache_bytes: int = CACHE_BYTES,
        has_masks: bool | None = None,
    ) -> None:
        self.records, self.channels, self.classes = list(records), channels, tuple(classes)
        self.root, self.size, self.scale = root, size, scale
        self.has_masks = any(r.mask is not None for r in self.records) if has_masks is None else has_masks
        self._take_columns(self.records)
        self._cache = SampleCache(cache_bytes)

    def subset(self, indices: Iterable[int]) -> Self:
        chosen = [self.records[int(i)] for i in indices]
        other = type(self)(
            chosen,
            self.channels,
            self.classes,
            self.root,
            size=self.size,
            scale=self.scale,
            has_masks=self.has_masks,
        )
        other._cache = self._cache
        return other

    def raw(self, index: int) -> dict[str, NDArray[Any]]:
        record = self.records[index]
        decoded: dict[str, NDArray[Any]] = {}
        for (modality, positions), path in zip(self.channels.modalities.items(), record.paths, strict=True):
            array = files.read(path)
            if array.shape[-1] != len(positions):
                raise DataError(
                    "the image has another number of channels than the dataset",
                    where=path,
                    found=f"{array.shape[-1]}",
                    expected=f"{len(positions)} ({', '.join(self.channels.names[i] for i in positions)})",
                    fix="Convert it, or keep such images in a folder of their own.",
                )
            decoded[modality] = array
        return decoded

    def _load(self, index: int) -> tuple[Tensor, Tensor | None]:
        record = self.records[index]
        item = self._cache.get(record)
        if item is None:
            item = self._image(index), self._mask(record)
            self._cache.put(record, item)
        return item

    def _image(self, index: int) -> Tensor:
        record = self.records[index]
        parts = [
            files.resize(files.scaled(array, self.scale, path), self.size)
            for array, path in zip(self.raw(index).values(), record.paths, strict=True)
        ]
        return torch.cat(parts)

    def _mask(self, record: Record) -> Tensor | None:
        if not self.has_masks:
            return None
        if record.mask is None:
            return torch.zeros(self.size, self.size, dtype=torch.bool)
        return files.resize_mask(files.read_mask(record.mask), self.size)


class TensorDataset(SampleDataset):
    """The same samples from arrays in memory, for experiments and tests.

    Args:
        images: float [N, C, S, S], already scaled.
        labels: int [N], -1 where unknown; default: all unknown.
        channels: default: gray for one channel, rgb for three, otherwise "image" with numbered channels.
        classes: names; default: the numbers 0 to the largest label.
        masks: bool [N, S, S].
        true_labels: int [N], labels before noise.
        groups: one string a sample.

    Raises ShapeError where the lengths differ, DataError for images that are NaN or infinite.
    """

    def __init__(
        self,
        images: Tensor | NDArray[Any],
        labels: Sequence[int] | Tensor | NDArray[Any] | None = None,
        *,
        channels: Channels | None = None,
        classes: Sequence[str] = (),
        masks: Tensor | NDArray[Any] | None = None,
        true_labels: Sequence[int] | Tensor | NDArray[Any] | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        self.images = torch.as_tensor(images).to(torch.float32)
        if self.images.ndim != 4 or self.images.shape[-1] != self.images.shape[-2]:
            raise ShapeError("images have the wrong shape", found=tuple(self.images.shape), expected="[N, C, S, S]")
        if not torch.isfinite(self.images).all():
            raise DataError("the images hold NaN or infinite values", where="images", fix="Fill or remove them.")
        count = len(self.images)
        self.masks = None if masks is None else torch.as_tensor(masks).to(torch.bool)
        self.has_masks = self.masks is not None
        self.labels, self.true_labels = _label_array(labels, count), _label_array(true_labels, count)
        self.groups = ("",) * count if groups is None else tuple(groups)
        for name, values in (("masks", self.masks), ("groups", self.groups)):
            if values is not None and len(values) != count:
                raise ShapeError(f"{name} and images differ in length", found=len(values), expected=count)
        largest = int(max(self.labels.max(initial=-1), self.true_labels.max(initial=-1)))
        self.classes = tuple(classes) or tuple(str(i) for i in range(largest + 1))
        self.channels = channels or default_channels(int(self.images.shape[1]))
        if len(self.channels) != self.images.shape[1]:
            raise ShapeError("channels do not fit the images", found=len(self.channels), expected=self.images.shape[1])
        self.root, self.size = None, int(self.images.shape[-1])
        self.ids = tuple(f"{i:06d}" for i in range(count))

    @property
    def records(self) -> list[Record]:
        """The samples as records without paths."""
        return [
            Record(self.ids[i], (), int(self.labels[i]), self.groups[i], true_label=int(self.true_labels[i]))
            for i in range(len(self))
        ]

    def subset(self, indices: Iterable[int]) -> Self:
        chosen = np.fromiter((int(i) for i in indices), dtype=np.int64)
        other = type(self)(
            self.images[chosen],
            self.labels[chosen],
            channels=self.channels,
            classes=self.classes,
            masks=None if self.masks is None else self.masks[chosen],
            true_labels=self.true_labels[chosen],
            groups=[self.groups[i] for i in chosen],
        )
        other.ids = tuple(self.ids[i] for i in chosen)
        return other

    def raw(self, index: int) -> dict[str, NDArray[Any]]:
        image = self.images[index].permute(1, 2, 0).numpy()
        return {name: image[..., list(positions)] for name, positions in self.channels.modalities.items()}

    def _load(self, index: int) -> tuple[Tensor, Tensor | None]:
        return self.images[index], None if self.masks is None else self.masks[index]


def channel_names(modality: str, count: int) -> tuple[str, ...]:
    """The names of a modality's channels: none of its own for a single one, r g b (a) for colour, otherwise numbers."""
    if count == 1:
        return ("",)
    if modality.startswith("rgb") and count in (3, 4):
        return tuple("rgba"[:count])
    return tuple(str(i) for i in range(count))


def default_channels(count: int) -> Channels:
    """Channels of images that have no modality name: gray, rgb, or image.0, image.1, ..."""
    modality = {1: "gray", 3: "rgb", 4: "rgba"}.get(count, "image")
    return Channels.of({modality: channel_names(modality, count)})


def _label_array(values: Sequence[int] | Tensor | NDArray[Any] | None, count: int) -> NDArray[np.int64]:
    if values is None:
        return np.full(count, -1, dtype=np.int64)
    array = np.asarray(values).astype(np.int64)
    if array.shape != (count,):
        raise ShapeError("labels do not fit the images", found=array.shape, expected=f"({count},)")
    return array
