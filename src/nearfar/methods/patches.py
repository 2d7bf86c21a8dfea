"""Contrast of places: near is the same place in other normal images, far is another place, or a defect at this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from nearfar import parallel
from nearfar.config import MethodConfig, ViewsConfig
from nearfar.encoders.features import joined_stages
from nearfar.encoders.heads import projection_head
from nearfar.encoders.image import ImageEncoder
from nearfar.encoders.mode import evaluating
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.losses import supcon
from nearfar.methods.base import Batch, Method, Output, Projections
from nearfar.views import geometric
from nearfar.views.defects import add_defects
from nearfar.views.photometric import brightness
from nearfar.views.random import derive, uniform

_DEFECT, _CLEAN = 0.3, 0.05  # a cell is a defect above the first share of its pixels, normal below the second


@dataclass(frozen=True)
class PatchesConfig(MethodConfig):
    """Options of the contrast of places."""

    projection: tuple[int, ...] = (64,)
    grid: int = 16
    """cells a side of the map of embeddings"""
    stride: int = 3
    """the normal cells of every stride-th row and column are contrasted in a step, at a random offset: neighbours,
    which are neither near nor far, never meet"""
    jitter: float = 0.02
    """largest shift of a view (share of the side) and largest change of its brightness over five"""


class Patches(Method):
    """Dense supervised contrast for one-class anomaly detection on roughly aligned images.

    Every second view carries a synthetic defect (`nearfar.views.defects`). Cells of the joined feature map are
    embedded; SupCon's label is the place of a normal cell, and a defect has none: it is only ever a negative. Labels of
    images are not read: the training images are to be normal ones. `patches` gives the embeddings to a scorer, see
    `nearfar.evaluate.anomaly_maps`.
    """

    Config = PatchesConfig
    config: PatchesConfig

    def __init__(self, config: PatchesConfig, encoder: ImageEncoder, views: ViewsConfig | None = None) -> None:
        super().__init__(config, encoder, views)
        if not 1 <= config.stride <= config.grid:
            raise ConfigError(
                "the stride does not fit the grid",
                where="method.stride",
                found=config.stride,
                expected="1 to method.grid",
            )
        if self.views_config.count < 2:
            raise ConfigError(
                "normal and defective views are needed", where="views.count", found=1, expected="at least 2"
            )
        size = encoder.config.size
        with evaluating(encoder), torch.no_grad():
            width = joined_stages(encoder, torch.zeros(1, len(encoder.channels), size, size), config.grid).shape[1]
        self.head = projection_head(width, config.projection, config.head_norm)
        self._width = config.projection[-1] if config.projection else width

    @property
    def embedding_dim(self) -> int:
        """Width D of a cell's embedding."""
        return self._width

    def views(self, sample: Mapping[str, Any]) -> Batch:
        """The sample with `views` and, in every second one, a defect: `defects` bool, shaped as `views` without C."""
        made = super().views(sample)
        if made["views"].ndim == 5:
            return self._with_defects(made)
        one = self._with_defects({"views": made["views"][None], "seed": torch.as_tensor(made["seed"])[None]})
        return {**made, "views": one["views"][0], "defects": one["defects"][0]}

    def project(self, batch: Batch) -> Projections:
        """{"z": embeddings of the cells [B, V, grid, grid, D]}."""
        views = batch["views"]
        if views.ndim != 5:
            raise ShapeError("views have five dimensions", found=tuple(views.shape), expected="[B, V, C, h, w]")
        return {"z": self._cells(views.flatten(0, 1)).unflatten(0, views.shape[:2])}  # type: ignore[no-untyped-call]

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """SupCon over the normal cells of a random sublattice and all defects.

        The sublattice follows from the seeds of the whole batch, so it is the same on every rank.
        """
        if "defects" not in batch:
            raise DataError(
                "the views come without their defects", found="no batch['defects']", fix="Use method.views."
            )
        z, stride = projections["z"], self.config.stride
        share = F.adaptive_avg_pool2d(batch["defects"].to(z.device).float(), self.config.grid)
        places = torch.arange(self.config.grid**2, device=z.device).view(1, 1, self.config.grid, self.config.grid)
        top, left = self._offset(batch["seed"].to(z.device))
        drawn = torch.zeros_like(places, dtype=torch.bool)
        drawn[:, :, top::stride, left::stride] = True
        # Defects are few and anchor nothing, so those of every cell take part.
        defect = share > _DEFECT
        used = defect | (drawn & (share < _CLEAN))
        labels = torch.where(defect, -1, places)
        return Output(supcon(z[used], labels[used], temperature=self.config.temperature))

    @torch.no_grad()
    def patches(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] -> embeddings of their cells [B, D, grid, grid], of unit length, in evaluation mode."""
        with evaluating(self):
            return F.normalize(self._cells(x.to(self.encoder.mean.device)), dim=-1).movedim(-1, 1)

    def _cells(self, x: Tensor) -> Tensor:
        features = joined_stages(self.encoder, x, self.config.grid).movedim(1, -1)
        return cast(Tensor, self.head(features.flatten(0, 2))).view(*features.shape[:3], -1)

    def _offset(self, seed: Tensor) -> tuple[int, int]:
        key = derive(parallel.gather(seed).sum()[None], "sublattice")
        top, left = (uniform(key, (2,))[0] * self.config.stride).int().tolist()
        return top, left

    def _with_defects(self, batch: Batch) -> Batch:
        views = batch["views"]
        key = torch.stack([derive(batch["seed"].to(views.device), "patch", v) for v in range(views.shape[1])], 1)
        flat = self._jittered(views.flatten(0, 1), key.flatten())
        spoiled, where = add_defects(flat, derive(key.flatten(), "defect"))
        odd = (torch.arange(views.shape[1], device=views.device) % 2).bool().repeat(len(views))
        made = torch.where(odd[:, None, None, None], spoiled, flat)
        return {**batch, "views": made.view_as(views), "defects": (where & odd[:, None, None]).view_as(views[:, :, 0])}

    def _jittered(self, image: Tensor, key: Tensor) -> Tensor:
        shift = 2 * uniform(derive(key, "jitter"), (2,), -self.config.jitter, self.config.jitter).double()
        matrix = geometric.translation(shift[:, 0], shift[:, 1])
        moved = geometric.resample(image, geometric.grid(matrix, (image.shape[-2], image.shape[-1])))
        return brightness(moved, 1 + 5 * uniform(derive(key, "light"), (), -self.config.jitter, self.config.jitter))
