"""What is known about pairs that are not each other's views: false negatives, several positives, soft targets.

For `info_nce` and `clip_loss`. Weights and targets come from ids, or from cosines of a second pair of embeddings, and
are computed with the similarities: as a whole in the dense form, slab by slab of rows in the tiled one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar import parallel
from nearfar.errors import ConfigError, ShapeError
from nearfar.losses._common import embeddings, masked_lse, one_of, softplus
from nearfar.losses._tiled import PLAIN, groups_of, one_pass
from nearfar.losses.core import Contrast, Exchange, bank_lse, row_slabs, two_sided

Use = Literal["ignore", "weigh", "target"]


@dataclass(frozen=True)
class Relations:
    """Pairs i != j of two views that show one thing, or nearly: equal `ids`, or near in another space.

    With logits s_ij, own pairs s_ii, and c_ij the cosine of row i of similar[0] and row j of similar[1], the loss of
    anchor i is sum over j of q_ij ( log( e^s_ii + sum over j != i of w_ij e^s_ij ) - s_ij ), q_ij = 1 for j = i, where

    - use "ignore": w_ij = 0 where ids are equal or c_ij >= threshold, else 1 (false negatives are masked);
    - use "weigh": w_ij = 0 where ids are equal, else (1 - c_ij) / (1 - threshold) cut to 0..1: from full weight at the
      threshold to none at cosine 1;
    - use "target": w_ij = 1 and several positives: q_i is uniform over the equal ids and i itself and, with `similar`,
      (1 - share) of that plus share * softmax over j of c_ij / temperature.

    The other side of CLIP takes c_ji: its softmax runs over the rows of the first view. Keys are always negatives.

    Args:
        ids: [N] integers, compared across ranks; negative ones are unknown and equal none.
        similar: two [N, E] of any scale, without gradient: one for each view; the same tensor twice where the second
            space has one embedding a row.
        threshold: cosine, -1 < threshold < 1 ("ignore" and "weigh"). temperature, share: of "target".

    Raises ConfigError for values out of range or when nothing is known.
    """

    ids: Tensor | None = None
    similar: tuple[Tensor, Tensor] | None = None
    use: Use = "ignore"
    threshold: float = 0.9
    temperature: float = 0.05
    share: float = 0.5

    def __post_init__(self) -> None:
        one_of("use", self.use, ("ignore", "weigh", "target"))
        if self.ids is None and self.similar is None:
            raise ConfigError("no relation is known", found="neither ids nor similar", fix="Pass one of them.")
        if not -1 < self.threshold < 1:
            raise ConfigError("the threshold is a cosine", found=self.threshold, expected="-1 < threshold < 1")
        if not (self.temperature > 0 and 0 <= self.share <= 1):
            found = f"temperature={self.temperature}, share={self.share}"
            raise ConfigError("soft targets", found=found, expected="temperature > 0, 0 <= share <= 1")

    def checked(self, rows: Tensor, exchange: Exchange) -> Relations:
        """On the device of rows [N, D] and ready for products. ShapeError where something does not fit."""
        n, ids, similar = len(rows), self.ids, self.similar
        if ids is not None and (ids.shape != (n,) or ids.is_floating_point() or ids.dtype == torch.bool):
            raise ShapeError("one integer id a row", found=f"{ids.dtype} {tuple(ids.shape)}", expected=f"int64 ({n},)")
        if similar is not None and any(t.dim() != 2 or len(t) != n for t in similar):
            found = ", ".join(str(tuple(t.shape)) for t in similar)
            raise ShapeError("a second pair of embeddings needs a row for each", found=found, expected=f"({n}, E) both")
        if similar is not None and exchange == "ring":
            raise ConfigError("similar rows do not go round a ring", found="exchange='ring'", fix="Use 'gather'.")
        known = None if ids is None else groups_of(ids.to(rows.device, torch.int64), parallel.offset(n))
        unit = None if similar is None else tuple(embeddings(t.detach().to(rows), True) for t in similar)
        return Relations(known, unit, self.use, self.threshold, self.temperature, self.share)  # type: ignore[arg-type]

    def turned(self) -> Relations:
        """Of the other side: columns for rows."""
        similar = None if self.similar is None else self.similar[::-1]
        return Relations(self.ids, similar, self.use, self.threshold, self.temperature, self.share)


def related_losses(
    q: Tensor, k: Tensor, keys: Tensor | None, relations: Relations, tiles: bool, exchange: Exchange
) -> Tensor:
    """[n]: rows q [n, D], which carry the scale, against the columns k of all ranks and the keys; see `Relations`."""
    if tiles and relations.similar is None and relations.ids is not None:
        contrast = Contrast(q, relations.ids, y=k, exchange=exchange)
        several = relations.use == "target"
        sums = contrast.sums(1.0, PLAIN, linear=several, near=several)
        far = sums[2] if keys is None else torch.logaddexp(sums[2], bank_lse(q, keys))
        return _of_groups(sums, far, (q * k).sum(1), contrast.numbers[0], several)
    kernel = _Kernel(q, k, keys, relations)
    if not tiles:
        return kernel(q @ kernel.columns.T, slice(None))
    return row_slabs(q, kernel.columns, lambda s, rows: kernel(s, rows)[None], 1)[0]


def related_sides(q: Tensor, k: Tensor, relations: Relations, tiles: bool, exchange: Exchange) -> Tensor:
    """[n]: the mean of both sides, q [n, D] carrying the scale."""
    several = relations.use == "target"
    if tiles and relations.similar is None and relations.ids is not None and one_pass(exchange):
        rows, columns, count = two_sided(q, k, relations.ids, near=several)
        own = (q * k).sum(1)
        sides = [_of_groups(sums, sums[2], own, count, several) for sums in (rows, columns)]
    else:
        # Only logits count, so the scale may stay with q.
        sides = [
            related_losses(a, b, None, r, tiles, exchange)
            for a, b, r in ((q, k, relations), (k, q, relations.turned()))
        ]
    return (sides[0] + sides[1]) / 2


def _of_groups(sums: Tensor, far: Tensor, own: Tensor, count: Tensor, several: bool) -> Tensor:
    if not several:
        return softplus(far - own)
    # The log-sum-exp of one positive is that positive, exactly.
    pull = torch.where(count > 1, sums[1], own)
    return softplus(far - pull) + torch.where(count > 1, pull - sums[0] / count, 0.0)


class _Kernel:
    """Logits [h, m] of rows against the columns of the world, then the keys -> losses [h]."""

    def __init__(self, q: Tensor, k: Tensor, keys: Tensor | None, relations: Relations) -> None:
        counts = parallel.sizes(len(q))
        self.relations, self.keys = relations, 0 if keys is None else len(keys)
        self.own = torch.arange(len(q), device=q.device) + parallel.offset(len(q), counts)
        self.ids = None if relations.ids is None else parallel.gather(relations.ids, counts)
        self.similar = None if relations.similar is None else parallel.gather(relations.similar[1], counts)
        world = parallel.gather(k, counts)
        self.columns = world if keys is None else torch.cat([world, keys.to(world)])

    def __call__(self, s: Tensor, rows: slice) -> Tensor:
        own = self.own[rows, None]
        itself = own == torch.arange(s.shape[1], device=s.device)[None]
        if self.relations.use == "target":
            log_p = F.log_softmax(s, dim=1)
            return -(self._targets(itself, rows) * log_p).sum(1)
        w = self._weights(itself, rows)
        logits = s + torch.where(w > 0, w, 1.0).log()
        return softplus(masked_lse(logits, (w > 0) & ~itself) - s.gather(1, own)[:, 0])

    def _same(self, itself: Tensor, rows: slice) -> Tensor:
        if self.ids is None or self.relations.ids is None:
            return itself
        equal = self.relations.ids[rows, None] == self.ids[None]
        return itself | F.pad(equal, (0, self.keys), value=False)

    def _cosines(self, rows: slice) -> Tensor | None:
        if self.similar is None or self.relations.similar is None:
            return None
        return self.relations.similar[0][rows] @ self.similar.T

    @torch.no_grad()
    def _weights(self, itself: Tensor, rows: slice) -> Tensor:
        r, cosine = self.relations, self._cosines(rows)
        w = (~self._same(itself, rows)).to(self.columns.dtype)
        if cosine is None:
            return w
        known = ((1 - cosine) / (1 - r.threshold)).clamp_(0, 1) if r.use == "weigh" else cosine < r.threshold
        return w * F.pad(known.to(w), (0, self.keys), value=1.0)

    @torch.no_grad()
    def _targets(self, itself: Tensor, rows: slice) -> Tensor:
        r, cosine = self.relations, self._cosines(rows)
        target = self._same(itself, rows).to(self.columns.dtype)
        target /= target.sum(1, keepdim=True)
        if cosine is None:
            return target
        soft = (cosine / r.temperature).softmax(1)
        return (1 - r.share) * target + r.share * F.pad(soft, (0, self.keys))
