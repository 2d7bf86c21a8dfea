"""SeCo and CACo: several heads, each invariant to something else; what changed for good tells periods apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from nearfar import parallel
from nearfar.config import MethodConfig, ViewsConfig
from nearfar.encoders.heads import projection_head
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import ConfigError, ShapeError
from nearfar.losses import ChangeFlags, change_ratio, temporal_nce_heads
from nearfar.methods.base import Batch, Output, Projections
from nearfar.methods.saco import usable
from nearfar.methods.taught import TaughtMethod
from nearfar.views import build_views
from nearfar.views.seasonal import Shot

SHOTS = (Shot(0, photometric=False), Shot(1), Shot(2, photometric=False), Shot(0))
"""query, and the keys of the heads: another date and changed; another date; the same date, changed"""
HEADS = len(SHOTS) - 1
SEASONAL = 1
"""the head that is to be invariant to the date alone, in which CACo measures change"""


@dataclass(frozen=True)
class SecoConfig(MethodConfig):
    """Options of SeCo and CACo; the temperature is the published one."""

    temperature: float = 0.07
    negatives: Literal["queue", "other_keys", "caco"] = "other_keys"
    """see `nearfar.losses.temporal_nce_heads`: the queue; also the other keys (SeCo); also other periods (CACo)"""
    queue: int = 4096
    """keys kept as negatives, for each head"""
    momentum: float = 0.99
    """of the teacher: 0.999 suits runs of 100,000 steps and more, 0.99 short ones"""
    places: int = 262144
    """caco: places whose change is remembered; at least as many as the training data has"""
    min_valid: float = 0.5
    """least share of valid pixels in every view of a place; others leave the loss and the queue"""


class Heads(nn.Module):
    """Features [N, F] -> [N, H, D] through H projection heads."""

    def __init__(self, count: int, in_dim: int, config: MethodConfig) -> None:
        super().__init__()
        self.heads = nn.ModuleList(projection_head(in_dim, config.projection, config.head_norm) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        """[N, F] -> [N, H, D]."""
        return torch.stack([head(x) for head in self.heads], 1)


class SeCo(TaughtMethod):
    """Manas et al. 2021, "Seasonal Contrast"; with negatives "caco" Mall et al. 2023, "Change-Aware Sampling".

    Four views of a place: the query q and key 2 of one date, keys 0 and 1 of two others; keys 0 and 2 are changed
    photometrically, all are cropped. Head 0 is to be invariant to everything (its positive is key 0), head 1 to the
    date (key 1), head 2 to photometric changes (key 2). The loss is the sum over the heads of `temporal_nce_heads`;
    keys come from a teacher, the moving average of encoder and heads, always in evaluation mode.

    "caco": the dates of a place are halved by time and both halves are rows of the batch, eight views a place. Views of
    the other period are negatives too; those of the own place only where it changed, which `ChangeFlags` finds from how
    far the halves lie apart against how far dates of one half do, in the teacher's head 1, anew whenever the batches
    begin to repeat. The flags of the two halves of a place are kept apart as in the published code.

    Unlike the published code, dates are never drawn twice, and views have one geometry for all bands.
    """

    Config = SecoConfig
    config: SecoConfig
    round: Tensor

    def __init__(self, config: SecoConfig, encoder: ImageEncoder, views: ViewsConfig | None = None) -> None:
        super().__init__(config, encoder, views)
        self.periods = 2 if config.negatives == "caco" else 1
        _check(config, self.views_config, len(SHOTS) * self.periods)
        self.head = Heads(HEADS, encoder.feature_dim, config)
        self._make_views = build_views(
            self.views_config, encoder.channels, encoder.config.size, SHOTS, halves=self.periods == 2
        )
        self._teach(config.momentum, HEADS * self.embedding_dim, config.queue)
        self._visits: list[tuple[Tensor, Tensor]] = []
        if self.periods == 2:
            self.flags = ChangeFlags(2 * config.places)
            self.register_buffer("round", torch.zeros(2 * config.places, dtype=torch.bool))

    def chance(self, batch_size: int) -> float:
        """Loss of guessing, summed over the heads."""
        rows, others = batch_size * self.periods, 0 if self.config.negatives == "queue" else HEADS - 1
        known = int(self.queue.count) // self.periods + rows * (self.periods - 1) // 2
        return sum(math.log(1 + known + rows * (others if i else 0)) for i in range(HEADS))

    def project(self, batch: Batch) -> Projections:
        """{"query" [B, R, H, D], "keys" [B, R, 3, H, D]}, R periods; of two, also the teacher's "now" [B, R, H, D]."""
        views = batch["views"]
        if views.ndim != 5 or views.shape[1] != len(SHOTS) * self.periods:
            raise ShapeError(
                "a query and three keys a period are needed",
                found=tuple(views.shape),
                expected=f"[B, V, C, h, w] with V = {len(SHOTS) * self.periods}",
            )
        shots = views.reshape(len(views), self.periods, len(SHOTS), *views.shape[2:])
        taught = shots if self.periods == 2 else shots[:, :, 1:]
        query = cast(Tensor, self._student()(shots[:, :, 0].flatten(0, 1)))
        keys = cast(Tensor, self.teacher(taught.flatten(0, 2)))
        keys = keys.reshape(*taught.shape[:3], *keys.shape[1:])
        query = query.reshape(*shots.shape[:2], *query.shape[1:])
        if self.periods == 1:
            return {"query": query, "keys": keys}
        return {"query": query, "keys": keys[:, :, 1:], "now": keys[:, :, 0]}

    def criterion(self, projections: Projections, batch: Batch) -> Output:
        """The sum of the heads' losses over all rows, which are places or their halves."""
        query, keys = projections["query"], projections["keys"].float()
        halves = self._halves(batch, query)
        use = self._usable(batch, query)
        if "now" in projections and self.training:
            self._measure(projections["now"].float(), keys, halves, use)
        rows, halves = use.flatten(), halves.flatten()[use.flatten()]
        q = query.flatten(0, 1)[rows].transpose(0, 1)
        k = nn.functional.normalize(keys.flatten(0, 1)[rows], dim=-1).permute(2, 1, 0, 3)
        past, labels = self.queue.contents()
        losses = temporal_nce_heads(
            q,
            k,
            past.view(len(past), HEADS, self.embedding_dim).transpose(0, 1),
            temperature=self.config.temperature,
            negatives=self.config.negatives,
            halves=halves if self.periods == 2 else None,
            queue_halves=labels if self.periods == 2 else None,
            changed=self._changed(halves) if self.periods == 2 else None,
        )
        if self.training:
            own = torch.stack([k[i, i] for i in range(HEADS)], 1)
            self._fresh.append((own.flatten(1).detach(), halves))
        parts = {f"head_{i}": loss for i, loss in enumerate(losses.detach())}
        parts |= {"queue": self.queue.count.detach().float(), "usable": use.float().mean()}
        if self.periods == 2:
            parts["changed"] = self.flags.changed.sum() / self.flags.visited.sum().clamp(min=1)
        return Output(losses.sum(), parts)

    @torch.no_grad()
    def after_step(self) -> None:
        """As MoCo's, and remember how places changed."""
        super().after_step()
        for halves, ratios in self._visits:
            everywhere = parallel.gather(halves)
            if bool(self.round[everywhere].any()):
                self.flags.refit()
                self.round.zero_()
            self.flags.visit(halves, ratios)
            self.round[everywhere] = True
        self._visits.clear()

    def skip_step(self) -> None:
        """Forget what a bad batch would have left."""
        super().skip_step()
        self._visits.clear()

    def _halves(self, batch: Batch, query: Tensor) -> Tensor:
        """[B, R]: 2 * place + period, or the place where there is one period; -1 where places are unknown."""
        shape, index = query.shape[:2], batch.get("index")
        if index is None:
            return torch.full(shape, -1, dtype=torch.int64, device=query.device)
        period = torch.arange(self.periods, device=query.device)
        return cast(Tensor, index).to(query.device)[:, None] * self.periods + period

    def _usable(self, batch: Batch, query: Tensor) -> Tensor:
        valid = batch.get("valid_views")
        if valid is None:
            return torch.ones(query.shape[:2], dtype=torch.bool, device=query.device)
        rows = cast(Tensor, valid).reshape(-1, len(SHOTS), *valid.shape[2:])
        return cast(Tensor, usable({"valid_views": rows}, self.config.min_valid)).reshape(query.shape[:2])

    def _changed(self, halves: Tensor) -> Tensor:
        known = halves.clamp(min=0)
        if len(known) and int(known.max()) >= len(self.flags.changed):
            raise ConfigError(
                "more places than method.places", found=int(known.max()) // 2 + 1, expected=self.config.places
            )
        return self.flags.changed[known]

    def _measure(self, now: Tensor, keys: Tensor, halves: Tensor, use: Tensor) -> None:
        seen = use.all(1) & (halves >= 0).all(1)
        now, near = now[seen, :, SEASONAL], keys[seen, :, SEASONAL, SEASONAL]
        ratios = change_ratio(now.flatten(0, 1), now.flip(1).flatten(0, 1), near.flatten(0, 1))
        self._visits.append((halves[seen].flatten(), ratios))


def _check(config: SecoConfig, views: ViewsConfig, count: int) -> None:
    if views.recipe != "seasonal":
        raise ConfigError("SeCo contrasts dates", where="views.recipe", found=views.recipe, expected="seasonal")
    if views.count != count:
        raise ConfigError(
            f"negatives {config.negatives} take {count} views", where="views.count", found=views.count, expected=count
        )
    if config.places < 1:
        raise ConfigError("a positive number", where="method.places", found=config.places)
    if not 0 <= config.min_valid <= 1:
        raise ConfigError("a share", where="method.min_valid", found=config.min_valid, expected="0 to 1")
