"""Views of pairs of objects: mirrors that image, masks, boxes and relation share, and photometric changes of the image.

A crop or a free turn would cut objects off or change the relation, so there is none; a mirror is exact, without
interpolation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.config import ViewsConfig
from nearfar.data.sample import Channels
from nearfar.views import photometric
from nearfar.views.batches import Batch, sample_seeds, with_views
from nearfar.views.random import chance, derive, view_keys
from nearfar.views.recipe import Views

Axis = Literal["horizontal", "vertical"]

GEOMETRY = ("masks", "boxes")
"""modalities that say where the objects are: mirrored with the image, never changed in their values"""

_TURNED: dict[str, dict[str, tuple[str, ...]]] = {
    "horizontal": {"left": ("right",), "right": ("left",)},
    "vertical": {
        "above": ("below", "under"),
        "over": ("under", "below"),
        "below": ("above", "over"),
        "beneath": ("above", "over"),
        "under": ("above", "over"),
        "top": ("bottom",),
        "bottom": ("top",),
    },
}
_EVEN = {"next", "near", "beside", "by", "far", "touching", "overlapping", "inside", "in", "within", "around"} | {
    *("surrounding", "surrounded", "between", "behind", "front", "left", "right")
}
"""words of relations that stay what they are when up and down change places; others (on, riding) imply a ground"""


@dataclass(frozen=True)
class PairViews:
    """What `build_views` returns for the recipe "pairs"; plain data.

    Takes `image` float [B, C, S, S] and `seed` int64 [B], perhaps `masks` [B, 2, M, M], `boxes` [B, 2, 4] (0 to 1) and
    `label` [B], or the same of one sample without B. Returns a new dict with `views` [B, V, C, size, size], and where
    there were masks and boxes `masks_views` [B, V, 2, M, M] and `boxes_views` [B, V, 2, 4]; where `classes`, the names
    of the relations, are known, also `label_views` int64 [B, V]: left becomes right in a mirrored view, and a relation
    that has no mirror image among the classes becomes -1.

    `config.flip_horizontal` and `flip_vertical` are the probabilities of the mirrors, `strength` and `erase` those of
    the changes of every modality but masks and boxes; `crop_scale` and `rotate` play no part.
    """

    config: ViewsConfig
    channels: Channels
    size: int
    classes: tuple[str, ...] = ()

    def __call__(self, sample: Mapping[str, Any]) -> Batch:
        return with_views(sample, self._make)

    def _make(self, batch: Mapping[str, Any]) -> Batch:
        image, count = batch["image"], self.config.count
        self._values.check_image(image)
        seed = sample_seeds(batch, image)
        key = view_keys(seed, count)
        across, down = drawn_mirrors(key, self.config)
        small = F.interpolate(image, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
        shown = small if image.shape[-2:] != small.shape[-2:] else image
        made = {"views": self._changed(mirrored(shown.repeat_interleave(count, 0), across, down), key)}
        if "masks" in batch:
            made["masks_views"] = mirrored(batch["masks"].repeat_interleave(count, 0), across, down)
        if "boxes" in batch:
            made["boxes_views"] = mirrored_boxes(batch["boxes"].repeat_interleave(count, 0), across, down)
        if "label" in batch and self.classes:
            made["label_views"] = self._labels(batch["label"].repeat_interleave(count, 0), across, down)
        return {name: value.reshape(len(image), count, *value.shape[1:]) for name, value in made.items()}

    @cached_property
    def _values(self) -> Views:
        return Views(replace(self.config, recipe="standard"), self.channels, self.size)

    def _changed(self, views: Tensor, key: Tensor) -> Tensor:
        hit = chance(derive(key, "erase_used"), self.config.erase)[:, None, None, None]
        parts = []
        for name, positions in self.channels.modalities.items():
            part = views[:, positions[0] : positions[-1] + 1]
            if name not in GEOMETRY:
                if self.config.strength:
                    part = self._values.modality(name, part.contiguous(), derive(key, name))
                part = torch.where(hit, photometric.erase(part, key), part)
            parts.append(part)
        return torch.cat(parts, 1).to(views.dtype)

    def _labels(self, labels: Tensor, across: Tensor, down: Tensor) -> Tensor:
        for axis, hit in (("horizontal", across), ("vertical", down)):
            table = torch.tensor([*mirrored_classes(self.classes, axis), -1], device=labels.device)  # type: ignore[arg-type]
            labels = torch.where(hit, table[labels], labels)
        return labels


def drawn_mirrors(key: Tensor, config: ViewsConfig) -> tuple[Tensor, Tensor]:
    """Which views, by their keys [N], are mirrored across and down: bool [N] each."""
    return chance(derive(key, "flip_x"), config.flip_horizontal), chance(derive(key, "flip_y"), config.flip_vertical)


def mirrored(x: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """x [N, ..., H, W] with left and right swapped where `across` [N], up and down where `down` [N]; exact."""
    for hit, axis in ((across, -1), (down, -2)):
        x = torch.where(hit.reshape(-1, *(1,) * (x.ndim - 1)), x.flip(axis), x)
    return x


def mirrored_boxes(boxes: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Boxes [N, K, 4] (x0, y0, x1, y1 from 0 to 1) as the mirrored images show them."""
    for hit, first in ((across, 0), (down, 1)):
        turned = boxes.clone()
        turned[..., [first, first + 2]] = 1 - boxes[..., [first + 2, first]]
        boxes = torch.where(hit[:, None, None], turned, boxes)
    return boxes


def mirrored_classes(classes: Sequence[str], axis: Axis) -> list[int]:
    """For every relation the position of its mirror image among `classes`, -1 where it is not there.

    Words decide: "to the left of" becomes "to the right of" across; down, "above" becomes "below" or "under", and a
    relation that implies a ground ("on") has no mirror image.
    """
    return [_counterpart(name, classes, axis) for name in classes]


def _counterpart(name: str, classes: Sequence[str], axis: Axis) -> int:
    words = re.findall(r"[a-z]+", name.lower())
    turned = [word for word in words if word in _TURNED[axis]]
    if not turned:
        same = axis == "horizontal" or bool(_EVEN & set(words))
        return list(classes).index(name) if same else -1
    lowered = [c.lower() for c in classes]
    for other in _TURNED[axis][turned[0]]:
        candidate = re.sub(rf"\b{turned[0]}\b", other, name.lower().replace("_", " ").replace("-", " "))
        for position, known in enumerate(lowered):
            if re.findall(r"[a-z]+", known) == candidate.split():
                return position
    return -1
