"""Studies: images with a caption and detected structures, standard or not, in the format SpatialCLIP publishes.

A sample is image, text and boxes; at inference any of them may be missing, which `present` says. Image and boxes go
through one letterbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.data import images
from nearfar.data.cache import SampleCache
from nearfar.data.dataset import CACHE_BYTES, Key, Record, SampleDataset, channel_names
from nearfar.data.sample import Channels, Sample
from nearfar.data.study_images import canvas, letterboxed
from nearfar.errors import ConfigError, DataError
from nearfar.spatial.letterbox import Letterbox

MODALITIES = ("image", "text", "boxes")
"""what `present` counts"""
CLASSES = ("non-standard", "standard")
UNKNOWN = "UNKNOWN"
OBJECT_CLASSES = ("CB", "CP1", "CP2", "CF", "NT", "NB", "F", "NA", "CRL", "S", "AS", "UC", "UI", UNKNOWN)
"""the published label map: cranial bone, choroid plexus (two), cerebral falx, nuchal translucency, nasal bone, face,
nasal apex, crown-rump length, stomach, abdominal section, umbilical cord, umbilical insertion. CB, CP and NB are named
in the publication; the other long names are inferred from usual practice at 11 to 13 weeks"""
COLUMNS = ("view", "center", "device", "cohort", "acquisition_date", "gestational_age")
"""columns that `StudyDataset.table` always has"""


@dataclass(frozen=True, kw_only=True)
class StudyRecord(Record):
    """One image with what is known of it; `paths` holds the image, or nothing where it is missing."""

    caption: str = ""
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    """x_min, y_min, x_max, y_max in pixels of the image as it is read, cut to it"""
    object_labels: tuple[int, ...] = ()
    confidences: tuple[float, ...] = ()
    shape: tuple[int, int] = (1, 1)
    """(height, width) that the boxes are in"""
    grey: bool = True
    present: tuple[bool, bool, bool] = (True, True, True)
    patient: str = ""
    attributes: dict[str, str] = field(default_factory=dict, hash=False)
    """the row's other values, as text"""


class StudyDataset(SampleDataset):
    """Samples of a study.

    A sample has, next to `image`, `index`, `label` (0 non-standard, 1 standard, -1 unknown), `id`, `group` and `seed`:
    `text`; `objects` float32 [M, 5]: x, y, w, h on the letterboxed canvas (top left, 0..1) and confidence, zero rows
    beyond the count; `object_labels` int64 [M], -1 beyond it; `present` bool [3] in the order of `MODALITIES`. A
    missing image is a canvas of the letterbox's grey.

    Args:
        records: at most `max_objects` boxes each; `Record.group` is the patient.
        object_classes: what `object_labels` counts in.
        root: the folder, for messages.
        size: S, height and width of the canvas.
        max_objects: M.
        channels: 1 or 3, all images are brought to it; None: 1 where every image is grey.
        scale: value that becomes 1.0; None: by dtype.
        cache_bytes: memory for decoded images; 0 turns the cache off.

    `captions` and `table` (column -> one text a sample, "" unknown) hold what the rows say. While reading, DataError
    names an image that is missing or damaged.
    """

    classes: tuple[str, ...] = CLASSES

    def __init__(
        self,
        records: Sequence[StudyRecord],
        object_classes: Sequence[str] = OBJECT_CLASSES,
        root: Path | None = None,
        *,
        size: int = 224,
        max_objects: int = 32,
        channels: int | None = None,
        scale: float | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.records, self.object_classes, self.root = list(records), tuple(object_classes), root
        self.size, self.max_objects, self.scale, self.has_masks = size, max_objects, scale, False
        self.channels = study_channels(channels or (1 if all(r.grey for r in self.records) else 3))
        self._take_columns(self.records)
        self.patients = tuple(r.patient for r in self.records)
        self.captions = tuple(r.caption for r in self.records)
        self.table = _table(self.records)
        self._cache = SampleCache(cache_bytes)

    def __getitem__(self, key: int | Key) -> Sample:
        """The sample at an index (seed 0) or a `Key`; IndexError outside, DataError where the image is bad."""
        sample = super().__getitem__(key)
        record = self.records[sample["index"]]
        sample["text"] = record.caption
        sample["objects"], sample["object_labels"] = self._objects(record)
        sample["present"] = torch.tensor(record.present)
        return sample

    def raw(self, index: int) -> dict[str, NDArray[Any]]:
        """{"image": [H, W, C]} in its own type; of a DICOM file the ultrasound region. DataError where it is missing"""
        record = self.records[index]
        if not record.paths:
            raise DataError("this sample has no image", where=record.id)
        return {"image": images.read(record.paths[0])}

    def subset(self, indices: Iterable[int]) -> Self:
        other = type(self)(
            [self.records[int(i)] for i in indices],
            self.object_classes,
            self.root,
            size=self.size,
            max_objects=self.max_objects,
            channels=len(self.channels),
            scale=self.scale,
        )
        other._cache = self._cache
        return other

    def boxes(self, index: int) -> NDArray[np.float64]:
        """[n, 4] as x_min, y_min, x_max, y_max in pixels of the image as `raw` gives it, rows as in `objects`."""
        return np.array(self.records[index].boxes, dtype=np.float64).reshape(-1, 4)

    def all_objects(self) -> tuple[Tensor, Tensor]:
        """`objects` [n, M, 5] and `object_labels` [n, M] of all samples; decodes nothing."""
        objects, labels = zip(*(self._objects(record) for record in self.records), strict=True)
        return torch.stack(objects), torch.stack(labels)

    def letterbox(self, index: int) -> Letterbox:
        """Where the image lies on the canvas; decodes nothing."""
        height, width = self.records[index].shape
        return Letterbox.of(width, height, self.size)

    def _objects(self, record: StudyRecord) -> tuple[Tensor, Tensor]:
        objects, labels = torch.zeros(self.max_objects, 5), torch.full((self.max_objects,), -1)
        count = len(record.boxes)
        if count:
            height, width = record.shape
            placed = Letterbox.of(width, height, self.size).boxes(np.array(record.boxes))
            objects[:count, :4] = torch.from_numpy(placed)
            objects[:count, 4] = torch.tensor(record.confidences)
            labels[:count] = torch.tensor(record.object_labels)
        return objects, labels

    def _load(self, index: int) -> tuple[Tensor, Tensor | None]:
        record = self.records[index]
        if not record.paths:
            return canvas(len(self.channels), self.size), None
        item = self._cache.get(record.paths[0])
        if item is None:
            item = letterboxed(record.paths[0], self.size, len(self.channels), self.scale, record.shape), None
            self._cache.put(record.paths[0], item)
        return item


def study_channels(count: int) -> Channels:
    """Channels of a study's images: one grey, or red, green and blue, of modality "image". Raises ConfigError."""
    if count not in (1, 3):
        raise ConfigError("images of a study are grey or colour", where="channels", found=count, expected="1 or 3")
    return Channels.of({"image": channel_names("rgb", count)})


def _table(records: Sequence[StudyRecord]) -> dict[str, tuple[str, ...]]:
    names = dict.fromkeys(COLUMNS) | dict.fromkeys(name for r in records for name in r.attributes)
    return {name: tuple(r.attributes.get(name, "") for r in records) for name in names}
