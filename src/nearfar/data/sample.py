"""The one typed dict that flows from the readers to the methods, and the description of its channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from torch import Tensor


class Sample(TypedDict, total=False):
    """One item of a dataset, or, once collated, a batch of them (a leading B on every tensor, lists for strings).

    `image` and `index` are always there, the rest where the data has it.
    """

    image: Tensor  # float32 [C, H, W], scaled explicitly per dtype (see readers), channels as `Channels` names them
    index: int  # position in the dataset
    label: int  # class index, -1 where unknown
    id: str  # unique, stable name: the path relative to the root
    group: str  # samples of one group (patient, scene, burst) never straddle a split
    seed: int  # int64, a function of (run seed, epoch, index): every random choice of a view comes from it
    mask: Tensor  # bool [H, W], True = the object or the defect
    true_label: int  # the label before noise, where a generator knows it
    views: Tensor  # float32 [V, C, h, w], what `Method.views` adds
    series: Tensor  # float32 [T, C, H, W], one ground at several dates; `image` is series[0]
    days: Tensor  # int64 [T], the dates, as datetime.date.toordinal counts them
    valid: Tensor  # bool [T, H, W], True where there is data; pixels are 0 elsewhere
    gsd: float  # metres a pixel of `image` and `series`
    target: Tensor  # int64 [H, W], the class of each pixel, 255 where it does not count
    masks: Tensor  # float32 [2, M, M], share of each cell of the crop that subject and object cover
    boxes: Tensor  # float32 [2, 4], x0 y0 x1 y1 of subject and object in units of the crop, y down
    names: tuple[str, str]  # categories of subject and object
    image_index: int  # equal for the pairs of one image
    predicate: int  # the relation that is asked about, where `label` says whether it holds
    text: str  # caption of a study's image
    objects: Tensor  # float32 [M, 5], x, y, w, h (top left, 0..1 of the letterboxed canvas), confidence; then zero rows
    object_labels: Tensor  # int64 [M], class of each object, -1 beyond their count
    present: Tensor  # bool [3], image, text, boxes: False where it is missing (no detections are not missing)
    mirror: Tensor  # float32 [C, H, W], the object seen by the camera's mirror image
    opposite: Tensor  # float32 [C, H, W], the object seen from the opposite side
    negative: Tensor  # bool [], whether `opposite` counts as a negative; False where the object looks the same there


@dataclass(frozen=True)
class Channels:
    """The channels of every image of a dataset, by name, grouped in modalities.

    `names[i]` names channel i ("rgb.r", "thermal", "b08"); `modalities` maps a modality to its channel positions,
    in order and without gaps over all modalities: {"rgb": (0, 1, 2), "thermal": (3,)}.
    """

    names: tuple[str, ...]
    modalities: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, modalities: dict[str, Sequence[str]]) -> Channels:
        """From modality -> its channel names, in order: `Channels.of({"rgb": ["r", "g", "b"], "thermal": [""]})`."""
        names: list[str] = []
        spans: dict[str, tuple[int, ...]] = {}
        for modality, parts in modalities.items():
            spans[modality] = tuple(range(len(names), len(names) + len(parts)))
            names += [f"{modality}.{part}" if part else modality for part in parts]
        return cls(tuple(names), spans)

    def __len__(self) -> int:
        return len(self.names)


def band_names(channels: Channels) -> tuple[str, ...]:
    """The channels' own names without their modality: ("s2.B04", "s2.B8A") -> ("B04", "B8A")."""
    return tuple(name.rpartition(".")[2] for name in channels.names)
