"""A torchgeo data set as samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.data import images
from nearfar.data.dataset import Key, Record, SampleDataset
from nearfar.data.optics import choose_bands, named_channels
from nearfar.data.sample import Sample
from nearfar.errors import DataError, ShapeError
from nearfar.spatial.sensors import sensor


class TorchGeoDataset(SampleDataset):
    """Any data set whose items are dicts with `image` [C, H, W] and, if it has them, `label` or `mask` [H, W].

    Args:
        dataset: of torchgeo (`NonGeoDataset`), or whatever has a length and such items.
        bands: the names of the image's channels, in order, as torchgeo's `bands` or `all_bands` lists them.
        sensor_name: whose bands they are, and whose digital numbers become reflectance.
        classes: names; default: the data set's own `classes`, else the numbers.
        labels: int [N]; default: `dataset.targets`, else every item is read once for them.
        wanted: bands to take, by name; default: all that the sensor has, in its order.
        scale: value that becomes 1.0, instead of what the sensor says.
        size: height and width given out; default: those of the first image.

    A `mask` becomes `target`, in whole numbers, without resizing: ShapeError where the size differs. Raises DataError
    for items of another shape and for missing bands.
    """

    def __init__(
        self,
        dataset: Any,
        bands: Sequence[str],
        *,
        sensor_name: str = "sentinel2_l1c",
        classes: Sequence[str] | None = None,
        labels: Sequence[int] | None = None,
        wanted: Sequence[str] = (),
        scale: float | None = None,
        size: int | None = None,
    ) -> None:
        self.source, self.bands, self.scale, self.root = dataset, tuple(bands), scale, None
        self._device = sensor(sensor_name)
        positions, names = choose_bands(wanted, self.bands, self._device, type(dataset).__name__)
        self._positions, self.channels = list(positions), named_channels(self._device, names)
        self.indices = list(range(len(dataset)))
        self.labels = np.asarray(_labels(dataset) if labels is None else labels, np.int64)
        self.true_labels = np.full(len(self.labels), -1, np.int64)
        found = classes if classes is not None else getattr(dataset, "classes", None)
        self.classes = tuple(found) if found else tuple(map(str, range(int(self.labels.max(initial=-1)) + 1)))
        self.size = size or int(self._item(0)["image"].shape[-1])
        self.has_masks = False
        self._name()

    def __getitem__(self, key: int | Key) -> Sample:
        sample = super().__getitem__(key)
        item = self._item(sample["index"])
        if "mask" in item:
            target = torch.as_tensor(item["mask"]).squeeze().to(torch.int64)
            if target.shape != sample["image"].shape[-2:]:
                expected = tuple(sample["image"].shape[-2:])
                raise ShapeError(
                    "image and mask differ in size", where=sample["id"], found=target.shape, expected=expected
                )
            sample["target"] = target
        return sample

    @property
    def records(self) -> list[Record]:
        """The samples as records without paths."""
        return [Record(name, (), int(label)) for name, label in zip(self.ids, self.labels, strict=True)]

    def raw(self, index: int) -> dict[str, NDArray[Any]]:
        image = torch.as_tensor(self._item(index)["image"])[self._positions]
        return {next(iter(self.channels.modalities)): np.moveaxis(image.numpy(), 0, -1)}

    def subset(self, indices: Iterable[int]) -> Self:
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        chosen = [int(i) for i in indices]
        other.indices = [self.indices[i] for i in chosen]
        other.labels, other.true_labels = self.labels[chosen], self.true_labels[chosen]
        other._name()
        return other

    def _name(self) -> None:
        self.ids = tuple(f"{i:06d}" for i in self.indices)
        self.groups = ("",) * len(self.ids)

    def _item(self, index: int) -> Any:
        item = self.source[self.indices[index]]
        image = torch.as_tensor(item["image"])
        if image.ndim != 3 or len(image) != len(self.bands):
            raise DataError(
                "the image has another number of channels than there are bands",
                where=f"item {self.indices[index]}",
                found=tuple(image.shape),
                expected=f"[{len(self.bands)}, H, W]",
                fix="Give `bands` as the data set was made with.",
            )
        return item

    def _load(self, index: int) -> tuple[Tensor, Tensor | None]:
        pixels = torch.as_tensor(self._item(index)["image"])[self._positions].float()
        if not torch.isfinite(pixels).all():
            raise DataError("the image holds NaN or infinite values", where=f"item {self.indices[index]}")
        if self.scale is None:
            pixels = torch.from_numpy(self._device.reflectance(pixels.numpy()))
        else:
            pixels = pixels / self.scale
        return images.resize(pixels, self.size), None


def _labels(dataset: Any) -> Sequence[int]:
    targets = getattr(dataset, "targets", None)
    if targets is not None:
        return [int(target) for target in targets]
    if "label" not in dataset[0]:
        return [-1] * len(dataset)
    return [int(dataset[i]["label"]) for i in range(len(dataset))]
