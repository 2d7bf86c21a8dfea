"""Views of a clinical study: one picture with its boxes, changed little, so that what is judged stays what it is.

Blur, dark gain and cut-off structures are what makes a picture bad there, so no view adds them: no crop, no turn, no
blur, no occlusion. A mirror changes left and right, which has a meaning in a body, so it is off unless asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.config import ViewsConfig
from nearfar.data.sample import Channels
from nearfar.spatial.boxes import flip_objects
from nearfar.views import photometric
from nearfar.views.batches import Batch, sample_seeds, with_views
from nearfar.views.pairs import drawn_mirrors, mirrored
from nearfar.views.random import derive, uniform, view_keys
from nearfar.views.recipe import Views


@dataclass(frozen=True)
class StudyViews:
    """What `build_views` returns for the recipe "study"; plain data.

    Takes `image` float [B, C, S, S] and `seed` int64 [B], perhaps `objects` float [B, M, 5] (x, y, w, h from 0 to 1 of
    the image, top-left, and confidence), or the same of one sample without B. Returns a new dict with `views`
    [B, V, C, size, size] and, where there were objects, `objects_views` [B, V, M, 5]: both by one and the same mirror.

    `config.strength` sets the changes of contrast (to 1 +- 0.4 of it), level (+- 0.4 deviations) and noise (up to 0.1
    deviations) of each modality; `config.shift` moves picture and boxes together by whole pixels, up to that share of
    the canvas, and repeats the border. With neither and without mirrors (`flip_horizontal`, `flip_vertical`) the view
    is the image whatever its seed (`still`). `crop_scale`, `rotate` and `erase` play no part.
    """

    config: ViewsConfig
    channels: Channels
    size: int

    @property
    def still(self) -> bool:
        """Whether a view does not depend on the seed."""
        config = self.config
        return not (config.strength or config.shift or config.flip_horizontal or config.flip_vertical)

    def __call__(self, sample: Mapping[str, Any]) -> Batch:
        return with_views(sample, self._make)

    def _make(self, batch: Mapping[str, Any]) -> Batch:
        image, count = batch["image"], self.config.count
        self._plain.check_image(image)
        seed = sample_seeds(batch, image)
        key = view_keys(seed, count)
        across, down = drawn_mirrors(key, self.config)
        if image.shape[-2:] != (self.size, self.size):
            image = F.interpolate(image, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
        views, steps = self._moved(mirrored(image.repeat_interleave(count, 0), across, down), key)
        views = self._changed(views, key)
        made = {"views": views.reshape(len(image), count, *views.shape[1:])}
        if "objects" in batch:
            objects = flip_objects(batch["objects"].repeat_interleave(count, 0), across, down)
            empty = (objects == 0).all(2, keepdim=True)
            moved = torch.where(empty, 0.0, (steps / self.size).to(objects)[:, None])
            objects = torch.cat([objects[..., :2] + moved, objects[..., 2:]], 2)
            made["objects_views"] = objects.reshape(len(image), count, *objects.shape[1:])
        return made

    def _moved(self, views: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Views moved by steps (right, down) [n, 2] in pixels, drawn for each."""
        largest = round(self.config.shift * self.size)
        if not largest:
            return views, torch.zeros(len(views), 2, device=views.device)
        drawn = uniform(derive(key, "move"), (2,), -largest - 0.5, largest + 0.5)
        steps = drawn.round().clamp(-largest, largest).to(views.device)
        place = torch.arange(self.size, device=views.device)
        columns, rows = ((place - steps[:, k, None]).clamp(0, self.size - 1).long() for k in (0, 1))
        rows = rows[:, None, :, None].expand(-1, views.shape[1], -1, self.size)
        columns = columns[:, None, None, :].expand(-1, views.shape[1], self.size, -1)
        return views.gather(2, rows).gather(3, columns), steps

    @cached_property
    def _plain(self) -> Views:
        return Views(replace(self.config, recipe="none"), self.channels, self.size)

    def _changed(self, views: Tensor, key: Tensor) -> Tensor:
        strength = self.config.strength
        if not strength:
            return views
        parts = []
        for name, positions in self.channels.modalities.items():
            part, own = views[:, positions[0] : positions[-1] + 1].contiguous(), derive(key, name)
            part = photometric.contrast(
                part, uniform(derive(own, "contrast"), (), 1 - 0.4 * strength, 1 + 0.4 * strength)
            )
            part = photometric.shift(part, uniform(derive(own, "shift"), (), -0.4 * strength, 0.4 * strength))
            parts.append(photometric.noise(part, own, uniform(derive(own, "noise_amount"), (), 0.0, 0.1 * strength)))
        return torch.cat(parts, 1)
