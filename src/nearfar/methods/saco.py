"""SACo: band groups and textures of one place over time attract each other, other places repel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from nearfar.config import MethodConfig, ViewsConfig
from nearfar.encoders.group_batchnorm import per_group_statistics
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError, ShapeError
from nearfar.losses import group_attraction, place_nce
from nearfar.methods.base import Batch, Output, Projections, ids_of
from nearfar.methods.taught import TaughtMethod
from nearfar.views import build_views
from nearfar.views.seasonal import Shot

Positives = Literal["same_date", "other_date", "both"]
KEYS: dict[str, tuple[int, ...]] = {"same_date": (0,), "other_date": (1,), "both": (0, 1)}
"""date of each key, the query's being 0"""


@dataclass(frozen=True)
class SacoConfig(MethodConfig):
    """Options of SACo and of its ancestor MoCo v2."""

    temperature: float = 0.1
    """published 0.05 (SACo) and 0.2 (MoCo v2); between them neither a small queue nor a large one is lost on it"""
    positives: Positives = "same_date"
    """keys of a query: another view of its own date, of another date of the place, or one of each"""
    group_loss: Literal["none", "attract", "simclr", "reference_margin"] = "none"
    """how the groups of bands of a query come together, see `nearfar.losses.group_attraction`"""
    group_weight: float = 1.0
    queue: int = 4096
    """keys kept as negatives"""
    momentum: float = 0.99
    """of the teacher: 0.999 suits runs of 100,000 steps and more, 0.99 short ones"""
    in_batch: bool = True
    """the keys of the batch's other places are negatives beside the queue's"""
    mask_same_place: bool = True
    """what the queue holds of the query's own place, seasons or views of an earlier epoch, is no negative"""
    plain_query: bool = False
    """the query is the middle of the image as it is, and only keys are changed"""
    min_valid: float = 0.5
    """least share of valid pixels in every view of a place; others leave the loss and the queue"""


class GroupProjector(nn.Module):
    """Images [N, C, h, w] -> the head's output for every group of bands [N, G, D]; G is 1 for a plain encoder."""

    def __init__(self, encoder: ImageEncoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] -> [N, G, D]."""
        each = self.encoder.features(x).each
        rows = cast(Tensor, self.head(each.transpose(0, 1).flatten(0, 1)))  # group-major, as norms a group take them
        return rows.reshape(each.shape[1], each.shape[0], -1).transpose(0, 1)


class SACo(TaughtMethod):
    """Stival et al. 2025, "Semantically-Aware Contrastive Learning for multispectral remote sensing images".

    With z_bg the head's output for group g of place b, and q_b their normalised mean over the groups:

        L = sum over the keys k of NCE(q_b, k_b) + group_weight * group attraction of the z_bg

    NCE is `place_nce` against a queue; keys come from a teacher, the moving average of encoder and head, always in
    evaluation mode, and are means over the groups as well. Views are those of the recipe "seasonal": a query, then one
    view for each key. Any other recipe, and images without dates, allow positives of the same date alone. Places are
    told apart by their position in the data set (`index`).

    With an encoder without groups, or of one group, and no group loss, this is MoCo v2 with places.

    The preset `saco_reference` has the published settings as far as they are settings: groups and textures of 8-bit
    codes, temperature, head, queue, momentum, the band loss that does not attract, a query as it is stored, keys of the
    own place among the negatives, no masks. Of the published code it does not repeat: initial weights (give
    `encoder.weights`), a queue that loses rows and is not normalised at first, the anchor's own date drawn as the
    "other" one, crops in which bands show different ground, jitter a band and random rotation of keys, a teacher in
    training mode, weights rolled back without their optimiser.
    """

    Config = SacoConfig
    config: SacoConfig

    def __init__(self, config: SacoConfig, encoder: ImageEncoder, views: ViewsConfig | None = None) -> None:
        super().__init__(config, encoder, views)
        self.groups = self._count_groups()
        _check(config, self.groups, self.views_config)
        if self.groups > 1:
            self.head = per_group_statistics(self.head, self.groups, "separate")
        changed = not config.plain_query
        shots = [Shot(0, changed, changed), *(Shot(date) for date in KEYS[config.positives])]
        if self.views_config.recipe == "seasonal":
            self._make_views = build_views(self.views_config, encoder.channels, encoder.config.size, shots)
        self._teach(config.momentum, self.embedding_dim, config.queue)

    def _count_groups(self) -> int:
        return int(getattr(self.encoder.body, "count", 1))

    def _student(self) -> GroupProjector:
        return GroupProjector(self.encoder, self.head)

    def chance(self, batch_size: int) -> float:
        """Loss of guessing, summed over the keys; without what groups cost."""
        keys = 1 + int(self.queue.count) + self.config.in_batch * (batch_size - 1)
        return len(KEYS[self.config.positives]) * math.log(keys)

    def project(self, batch: Batch) -> Projections:
        """{"groups" [B, G, D], "keys" [B, P, D] without gradient}: the query's groups, and the mean of each key's."""
        views = batch["views"]
        if views.ndim != 5 or views.shape[1] < 2:
            raise ShapeError(
                "a query and its keys are needed", found=tuple(views.shape), expected="[B, V, C, h, w], V from 2"
            )
        each = cast(Tensor, self.teacher(views[:, 1:].flatten(0, 1)))
        return {
            "groups": self._student()(views[:, 0]),
            "keys": each.mean(1).reshape(len(views), views.shape[1] - 1, -1),
        }

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """NCE of the mean of the groups against each key, and the attraction of the groups to their mean."""
        config, use = self.config, usable(batch, self.config.min_valid)
        groups, keys = projections["groups"], nn.functional.normalize(projections["keys"].float(), dim=-1)
        # Positions in a batch say nothing of the places of other batches.
        places = ids_of(batch, groups) if "index" in batch else groups.new_full((len(groups),), -1, dtype=torch.int64)
        if use is not None:
            groups, keys, places = groups[use], keys[use], places[use]
        queue, remembered = self.queue.contents()
        losses = place_nce(
            groups.float().mean(1),
            keys.transpose(0, 1),
            keys=queue,
            temperature=config.temperature,
            in_batch=config.in_batch,
            ids=places if config.mask_same_place else None,
            key_ids=remembered if config.mask_same_place else None,
        )
        if self.training:
            self._fresh.append((keys[:, 0].detach(), places))
        parts = {"nce": losses.mean().detach(), "queue": self.queue.count.detach().float()}
        loss = losses.sum()
        if config.group_loss != "none":
            attraction = group_attraction(groups, form=config.group_loss)
            parts["groups"] = attraction.detach()
            loss = loss + config.group_weight * attraction
        if use is not None:
            parts["usable"] = use.float().mean()
        return Output(loss, parts)


def usable(batch: Batch, share: float) -> Tensor | None:
    """[B] bool: every view has at least this share of valid pixels; None where the batch has no masks."""
    valid = batch.get("valid_views")
    if valid is None:
        return None
    shares = cast(Tensor, valid).float().mean((2, 3))
    return (shares >= share).all(1)


def _check(config: SacoConfig, groups: int, views: ViewsConfig) -> None:
    count = 1 + len(KEYS.get(config.positives, ()))
    if config.positives not in KEYS:
        raise ConfigError("unknown positives", where="method.positives", found=config.positives, expected=list(KEYS))
    if views.count != count:
        raise ConfigError(
            f"positives {config.positives} take {count} views", where="views.count", found=views.count, expected=count
        )
    if views.recipe != "seasonal" and (config.positives != "same_date" or config.plain_query):
        raise ConfigError(
            "only seasonal views know dates and plain queries",
            where="views.recipe",
            found=views.recipe,
            expected="seasonal",
        )
    if config.group_loss != "none" and groups == 1:
        raise ConfigError(
            "there is one group of bands and nothing to bring together",
            where="method.group_loss",
            found=config.group_loss,
            fix="Set encoder.groups to saco, or method.group_loss to none.",
        )
    if not 0 <= config.min_valid <= 1:
        raise ConfigError("a share", where="method.min_valid", found=config.min_valid, expected="0 to 1")
