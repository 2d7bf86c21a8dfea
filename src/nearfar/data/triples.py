"""Samples of three views of an object: an image, its mirrored view and its opposite view, as Mir-180 pairs them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.data import images
from nearfar.data.cache import SampleCache
from nearfar.data.dataset import CACHE_BYTES, Key, Record, SampleDataset, default_channels
from nearfar.data.sample import Sample
from nearfar.errors import ConfigError, DataError

Colour = tuple[float, float, float]
Rule = Literal["flipped", "plain", "none"]
WHITE: Colour = (1.0, 1.0, 1.0)
RULE: Rule = "flipped"
ALIKE = 0.03
"""mean squared difference, as a share of the image's own variance, below which two views are taken to be the same.
Measured at 32 pixels: a table's opposite views lie below 0.023 under any light, those of 60 objects that differ between
front and back above 0.078."""


@dataclass(frozen=True, kw_only=True)
class TripleRecord(Record):
    """Three views: `paths` are the image, its mirrored view, its opposite view."""

    negative: bool | None = None
    """whether the opposite view counts as a negative; None: `counts` decides when the images are read"""
    flip: bool = False
    """whether the mirrored view is shown flipped, left to right"""
    background: Colour = WHITE
    """what lies behind transparent pixels"""


class TripleDataset(SampleDataset):
    """Samples with `mirror` and `opposite`, float32 [3, S, S] as `image`, and `negative`, a bool tensor [].

    Args:
        records: `Record.group` is the object, `Record.label` its category.
        classes: the categories; none where there is but one.
        root: the folder, for messages.
        size: S.
        scale: value that becomes 1.0; None: by dtype.
        cache_bytes: memory for decoded views, which several samples share; 0 turns the cache off.

    Reading an image that is missing or damaged raises DataError.
    """

    def __init__(
        self,
        records: Sequence[TripleRecord],
        classes: Sequence[str] = (),
        root: Path | None = None,
        *,
        size: int = 64,
        scale: float | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.records, self.classes, self.root = list(records), tuple(classes), root
        self.size, self.scale, self.has_masks, self.channels = size, scale, False, default_channels(3)
        self._take_columns(self.records)
        self._cache = SampleCache(cache_bytes)

    def __getitem__(self, key: int | Key) -> Sample:
        """The sample at an index (seed 0) or a `Key`; IndexError outside, DataError where an image is bad."""
        sample = super().__getitem__(key)
        record = self.records[sample["index"]]
        mirror, opposite = (self._view(path, record.background) for path in record.paths[1:])
        shown = mirror.flip(-1) if record.flip else mirror
        negative = record.negative
        if negative is None:
            negative = counts(*(view.numpy() for view in (sample["image"], mirror, opposite)))
        sample["mirror"], sample["opposite"], sample["negative"] = (
            shown.clone(),
            opposite.clone(),
            torch.tensor(negative),
        )
        return sample

    def raw(self, index: int) -> dict[str, NDArray[Any]]:
        record = self.records[index]
        return {"rgb": read_view(record.paths[0], record.background)}

    def subset(self, indices: Iterable[int]) -> Self:
        chosen = [self.records[int(i)] for i in indices]
        other = type(self)(chosen, self.classes, self.root, size=self.size, scale=self.scale)
        other._cache = self._cache
        return other

    def _load(self, index: int) -> tuple[Tensor, Tensor | None]:
        record = self.records[index]
        return self._view(record.paths[0], record.background), None

    def _view(self, path: Path, background: Colour) -> Tensor:
        item = self._cache.get((path, background))
        if item is None:
            view = images.scaled(read_view(path, background), self.scale, path)
            small = images.resize(view, self.size).clamp(view.min(), view.max())  # rounding may leave the range
            item = small, None
            self._cache.put((path, background), item)
        return item[0]


def read_view(path: Path, background: Colour = WHITE) -> NDArray[Any]:
    """The image [H, W, 3] in its own type: grey is repeated, straight alpha composited on `background` (0..1).

    Raises DataError for a damaged file, and for one that is neither grey nor colour.
    """
    image = images.read(path)
    channels = image.shape[2]
    if channels not in (1, 2, 3, 4):
        raise DataError("not a colour image", where=path, found=f"{channels} channels", expected="3", fix="Convert it.")
    colours = np.broadcast_to(image[..., : 1 if channels < 3 else 3], (*image.shape[:2], 3))
    if channels in (1, 3):
        return np.ascontiguousarray(colours)
    top = images.SCALES.get(image.dtype.name, 1.0)
    alpha = image[..., -1:] / top
    mixed = colours * alpha + top * np.asarray(background) * (1 - alpha)
    return np.asarray(mixed if image.dtype.kind == "f" else np.rint(mixed), dtype=image.dtype)


def counts(
    image: NDArray[Any], mirror: NDArray[Any], opposite: NDArray[Any], *, rule: Rule = RULE, alike: float = ALIKE
) -> bool:
    """Whether the opposite view may count as a negative of the image; all float [C, H, W], unflipped.

    A table looks the same from opposite sides and a lamp from all: pushing such views apart contradicts pulling the
    mirrored ones together. With `rule`

    - flipped: it does not count where it is nearer to the image than the flipped mirrored view is (which of a
      symmetric object is the image itself), or within `alike` of the image;
    - plain: as before, with the mirrored view as it is. That view shows the object from elsewhere, so this drops most
      negatives of objects whose front and back do differ (92 % of the procedural ones);
    - none: it always counts, as published.

    Nearness is the mean squared difference; `alike` is a share of the image's variance. Raises ConfigError for an
    unknown rule, DataError where the three differ in size.
    """
    if rule not in get_args(Rule):
        raise ConfigError(f"unknown rule {rule!r}", where="rule", expected=" | ".join(get_args(Rule)))
    if not image.shape == mirror.shape == opposite.shape:
        sizes = ", ".join(f"{view.shape[-1]} x {view.shape[-2]}" for view in (image, mirror, opposite))
        raise DataError("the views of an object differ in size", found=sizes, fix="Render them at one size.")
    if rule == "none":
        return True
    seen = mirror[..., ::-1] if rule == "flipped" else mirror
    far = difference(image, opposite)
    return far >= difference(image, seen) and far >= alike * float(np.var(image)) and far > 0


def difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The mean squared difference of two arrays of one shape."""
    return float(np.square(a.astype(np.float64) - b).mean())
