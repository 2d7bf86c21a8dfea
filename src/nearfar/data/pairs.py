"""Pairs of objects in images: the crop round both, the mask of each in it, and the relation between them.

Coordinates are those of images: x to the right, y down. A force banner counts its angles with y up; what computes
one from `masks` [.., M, M] (row 0 on top) has to know that, as `nearfar.spatial.force_banner` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nearfar.data import images
from nearfar.data.cache import SampleCache
from nearfar.data.dataset import CACHE_BYTES, Key, Record, SampleDataset
from nearfar.data.regions import Box, Frame, Region
from nearfar.data.sample import Channels, Sample
from nearfar.errors import ConfigError, DataError

__all__ = [
    "EXTRAS",
    "Frame",
    "PairDataset",
    "PairRecord",
    "Region",
    "image_size",
    "pair_channels",
    "pair_frame",
    "read_rgb",
]

EXTRAS = ("masks", "boxes")
"""modalities that can follow rgb in `image`"""
_ORIENTATION = 274  # the EXIF tag


@dataclass(frozen=True, kw_only=True)
class PairRecord(Record):
    """One ordered pair of objects; `paths` holds the one image, `label` counts in the predicates."""

    subject: Region
    object: Region
    shape: tuple[int, int] | None = None
    """(height, width) of the image that the coordinates are in, where the annotations say so"""
    predicate: int = -1
    """the predicate that is asked about, where `label` says whether it holds"""

    @property
    def image(self) -> Path:
        """The image file."""
        return self.paths[0]


class PairDataset(SampleDataset):
    """Samples that are ordered pairs (subject, object) of one image.

    A sample has, next to `index`, `label`, `id`, `group`, `seed` and, where known, `true_label`:
    `image` float32 [C, S, S], the crop round both objects, its longer side brought to S, letterboxed with the mean
    colour of the crop's edge; `masks` float32 [2, M, M], the share of each cell of the same crop that subject and
    object cover; `boxes` float32 [2, 4], x0 y0 x1 y1 in units of the crop; `image_index`, equal for pairs of one
    image; `names` (subject, object) where the data has categories; `predicate` where the data asks about one.

    Args:
        records: pairs; `Record.group` should name the image, so that its pairs stay in one split.
        classes: predicates, which `Record.label` counts in.
        root: the folder, for messages.
        size: S. mask_size: M.
        modalities: rgb, and after it masks (two channels, the grey masks at S) or boxes (two channels, filled boxes):
            an image encoder that sees which object is meant. Without them subject and object look alike.
        scale: value that becomes 1.0; None: by dtype.
        predicates: what `PairRecord.predicate` counts in.
        cache_bytes: memory for decoded samples; 0 turns the cache off.

    While reading, DataError names an image that is damaged, a mask that is empty or of another size, an object
    outside its image.
    """

    def __init__(
        self,
        records: Sequence[PairRecord],
        classes: Sequence[str] = (),
        root: Path | None = None,
        *,
        size: int = 64,
        mask_size: int = 64,
        modalities: Sequence[str] = ("rgb",),
        scale: float | None = None,
        predicates: Sequence[str] = (),
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.records, self.classes, self.root = list(records), tuple(classes), root
        self.size, self.mask_size, self.scale, self.has_masks = size, mask_size, scale, False
        self.channels = pair_channels(modalities)
        self.predicates = tuple(predicates)
        self._take_columns(self.records)
        numbers: dict[Path, int] = {}
        self.image_indices = np.array([numbers.setdefault(r.image, len(numbers)) for r in self.records], np.int64)
        self._named = any(r.subject.name or r.object.name for r in self.records)
        self._cache = SampleCache(cache_bytes)

    def __getitem__(self, key: int | Key) -> Sample:
        """The sample at an index (seed 0) or a `Key`; IndexError outside, DataError where the data is bad."""
        sample = super().__getitem__(key)
        record = self.records[sample["index"]]
        geometry = sample.pop("mask")  # what `_load` gives beside the image
        sample["masks"] = geometry[:, :-4].reshape(2, self.mask_size, self.mask_size)
        sample["boxes"] = geometry[:, -4:]
        sample["image_index"] = int(self.image_indices[sample["index"]])
        if self._named:
            sample["names"] = (record.subject.name, record.object.name)
        if self.predicates:
            sample["predicate"] = record.predicate
        return sample

    def raw(self, index: int) -> dict[str, NDArray[Any]]:
        """The whole image [H, W, 3] in its own type; masks or boxes as they are in `image`, uint8 [S, S, 2]."""
        record = self.records[index]
        whole = {"rgb": read_rgb(record.image, record.shape)}
        for name in self._extras():
            extra = _drawn(name, record, self.frame(index), self.size)
            whole[name] = np.rint(extra.transpose(1, 2, 0) * 255).astype(np.uint8)
        return whole

    def subset(self, indices: Iterable[int]) -> Self:
        other = type(self)(
            [self.records[int(i)] for i in indices],
            self.classes,
            self.root,
            size=self.size,
            mask_size=self.mask_size,
            modalities=tuple(self.channels.modalities),
            scale=self.scale,
            predicates=self.predicates,
        )
        other._cache, other._named = self._cache, self._named
        return other

    def frame(self, index: int) -> Frame:
        """The square of the image that a sample shows; reads no pixel where the data tells the image's size."""
        record = self.records[index]
        return pair_frame(record, *(record.shape or image_size(record)))

    def masks(self, index: int) -> Tensor:
        """`masks` of a sample alone, float32 [2, M, M]; decodes no image where the data tell its size."""
        kept = self._cache.get(self.records[index].id)
        if kept is not None and kept[1] is not None:
            return kept[1][:, :-4].reshape(2, self.mask_size, self.mask_size).clone()
        return torch.from_numpy(_drawn("masks", self.records[index], self.frame(index), self.mask_size))

    def _extras(self) -> tuple[str, ...]:
        return tuple(self.channels.modalities)[1:]

    def _load(self, index: int) -> tuple[Tensor, Tensor | None]:
        """The image, and masks and boxes in one tensor [2, M * M + 4]."""
        record = self.records[index]
        item = self._cache.get(record.id)
        if item is None:
            item = self._read(record)
            self._cache.put(record.id, item)
        return item

    def _read(self, record: PairRecord) -> tuple[Tensor, Tensor]:
        image = read_rgb(record.image, record.shape)
        frame = pair_frame(record, image.shape[0], image.shape[1])
        square = images.scaled(frame.crop(image), self.scale, record.image)
        crop = images.resize(square, self.size).clamp(square.min(), square.max())  # rounding may leave the range
        extras = [torch.from_numpy(_drawn(name, record, frame, self.size)) for name in self._extras()]
        masks = torch.from_numpy(_drawn("masks", record, frame, self.mask_size)).flatten(1)
        boxes = np.stack([frame.relative(region.bounds()) for region in (record.subject, record.object)])
        return torch.cat([crop, *extras]), torch.cat([masks, torch.from_numpy(boxes)], dim=1)


def pair_channels(modalities: Sequence[str] = ()) -> Channels:
    """The channels of pairs: rgb, or rgb and masks, or rgb and boxes (or all). Raises ConfigError for other names."""
    chosen = tuple(modalities) or ("rgb",)
    unknown = set(chosen) - {"rgb", *EXTRAS}
    if unknown or chosen[0] != "rgb" or len(set(chosen)) < len(chosen):
        raise ConfigError(
            "pairs have no such modalities",
            where="data.modalities",
            found=" ".join(chosen),
            expected="rgb, rgb masks or rgb boxes",
            fix="Put rgb first.",
        )
    return Channels.of({name: ("r", "g", "b") if name == "rgb" else ("subject", "object") for name in chosen})


def read_rgb(path: Path, shape: tuple[int, int] | None = None) -> NDArray[Any]:
    """The image [H, W, 3] in its own depth; grey is repeated, alpha dropped.

    It is turned upright by its EXIF orientation, unless `shape` (height, width) says that its annotations were made on
    the pixels as they are stored. Raises DataError for a damaged file, another size, or another number of channels.
    """
    image = images.read(path)
    if shape is not None and image.shape[:2] != shape:
        image = _as_stored(path, image, shape)
    channels = image.shape[2]
    if channels not in (1, 2, 3, 4):
        raise DataError("not a colour image", where=path, found=f"{channels} channels", expected="3", fix="Convert it.")
    return np.repeat(image[..., :1], 3, axis=2) if channels < 3 else image[..., :3]


def _as_stored(path: Path, upright: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    with Image.open(path) as stored:
        turned = stored.getexif().get(_ORIENTATION, 1) > 1 and (stored.height, stored.width) == shape
        if turned and stored.mode in ("L", "RGB"):
            pixels = np.asarray(stored)
            return pixels[..., None] if pixels.ndim == 2 else pixels
    raise DataError(
        "the image has another size than its annotations say",
        where=path,
        found=f"{upright.shape[1]} x {upright.shape[0]}",
        expected=f"{shape[1]} x {shape[0]}",
        fix="Take the images that were annotated, not resized copies.",
    )


def image_size(record: PairRecord) -> tuple[int, int]:
    """(height, width) of the image as `read_rgb` gives it, from the file's header. Raises DataError for a bad file."""
    if record.shape is not None or record.image.suffix.lower() in (".npy", ".tif", ".tiff"):
        height, width = read_rgb(record.image, record.shape).shape[:2]
        return height, width
    try:
        with Image.open(record.image) as stored:
            turned = stored.getexif().get(_ORIENTATION, 1) > 4
            return (stored.width, stored.height) if turned else (stored.height, stored.width)
    except OSError:
        height, width = images.read(record.image).shape[:2]  # tells what is wrong with it
        return height, width


def pair_frame(record: PairRecord, height: int, width: int) -> Frame:
    """The crop round both objects. Raises DataError, naming image, pair and object, where one is not in the image."""
    boxes: list[Box] = []
    for role, region in (("subject", record.subject), ("object", record.object)):
        try:
            boxes.append(region.fits(height, width))
        except DataError as error:
            where = f"{record.image}, pair {record.id}, {role} {error.where}"
            raise DataError(
                error.what, where=where, found=error.found, expected=error.expected, fix=error.fix
            ) from None
    return Frame.around(boxes, height, width)


def _drawn(name: str, record: PairRecord, frame: Frame, size: int) -> NDArray[np.float32]:
    """Subject and object in a frame, [2, size, size]: their masks, or their boxes filled."""
    regions = [record.subject, record.object]
    if name == "boxes":
        regions = [Region(box=region.bounds()) for region in regions]
    shown = frame.shown(size)
    return np.stack([np.clip(np.minimum(region.grey(frame, size), shown), 0, 1) for region in regions])
