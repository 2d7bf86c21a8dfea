"""Contrast over time through several heads: SeCo (Mañas et al. 2021) and CACo (Mall et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from nearfar import parallel
from nearfar.errors import ConfigError, ShapeError
from nearfar.losses._common import anchor_mean, embeddings, full_precision, inverse, masked_lse, one_of, softplus

Negatives = Literal["queue", "other_keys", "caco"]


@full_precision
def temporal_nce_heads(
    q: Tensor,
    k: Tensor,
    queue: Tensor,
    *,
    temperature: float = 0.07,
    negatives: Negatives = "other_keys",
    halves: Tensor | None = None,
    queue_halves: Tensor | None = None,
    changed: Tensor | None = None,
    normalize: bool = True,
) -> Tensor:
    """InfoNCE of each head, [H]; `temporal_nce` is their sum.

    q [H, N, D]: the query through head i. k [H, H, N, D]: k[i, j] is key view j through head i, from the teacher;
    k[i, i] is head i's positive. queue [H, K, D]: each head's past keys, the same on every rank; K may be 0.

        l = sum over heads i of mean over b of -log( t(q_ib, k_iib) / (t(q_ib, k_iib) + sum over n of t(q_ib, n)) )

    with t(x, y) = exp(x.y / T) and the negatives n of head i named by `negatives`:

    - "queue": queue[i] (MoCo, one head or more).
    - "other_keys": and for i > 0 k[i, j], j != i, of all samples of all ranks, the own one too (SeCo). Head 0 is to be
      invariant to everything and has no such negatives.
    - "caco": queue[i] of the row's own period alone, the other keys as before, and k[i, i] of the rows of the other
      period; of the own place, that is a negative only where the place changed.

    halves [N], for "caco": 2 * place + period (0 older, 1 newer), below zero unknown; places are numbered over all
    ranks. queue_halves [K]: likewise, the labels of the queue. changed [N] bool: see `ChangeFlags`.

    Raises ShapeError where shapes do not fit, ConfigError for unknown negatives, halves that are missing or do nothing,
    or a temperature that is not positive.
    """
    one_of("negatives", negatives, get_args(Negatives))
    scale = inverse(temperature)
    _check_heads(q, k, queue)
    history = _history(q, queue, negatives, halves, queue_halves, changed)
    unit, keys, past = (embeddings(x, normalize) for x in (q, k, queue))
    counts = parallel.sizes(q.shape[1])
    world = parallel.gather(keys.permute(2, 0, 1, 3), counts).permute(1, 2, 0, 3)
    world_halves = None if history is None else parallel.gather(history.halves, counts)
    total = []
    for i in range(len(q)):
        others = [world[i, j] for j in range(len(q)) if j != i and i > 0 and negatives != "queue"]
        columns = [past[i].to(unit), *others]
        masks = [torch.ones(q.shape[1], len(column), dtype=torch.bool, device=q.device) for column in columns]
        if history is not None and world_halves is not None:
            masks[0] = history.same_period()
            columns.append(world[i, i])
            masks.append(history.opposite(world_halves))
        rivals = masked_lse(unit[i] @ torch.cat(columns).T * scale, torch.cat(masks, 1))
        losses = softplus(rivals - (unit[i] * keys[i, i]).sum(1) * scale)
        total.append(anchor_mean(losses, torch.ones_like(losses, dtype=torch.bool), "temporal NCE"))
    return torch.stack(total)


def temporal_nce(
    q: Tensor,
    k: Tensor,
    queue: Tensor,
    *,
    temperature: float = 0.07,
    negatives: Negatives = "other_keys",
    halves: Tensor | None = None,
    queue_halves: Tensor | None = None,
    changed: Tensor | None = None,
    normalize: bool = True,
) -> Tensor:
    """Sum over the heads of `temporal_nce_heads`, which says what the arguments are."""
    return temporal_nce_heads(
        q,
        k,
        queue,
        temperature=temperature,
        negatives=negatives,
        halves=halves,
        queue_halves=queue_halves,
        changed=changed,
        normalize=normalize,
    ).sum()


class TemporalNCE(nn.Module):
    """Module twin of `temporal_nce`."""

    def __init__(
        self, *, temperature: float = 0.07, negatives: Negatives = "other_keys", normalize: bool = True
    ) -> None:
        super().__init__()
        self.temperature, self.normalize = temperature, normalize
        self.negatives: Negatives = negatives

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        queue: Tensor,
        halves: Tensor | None = None,
        queue_halves: Tensor | None = None,
        changed: Tensor | None = None,
    ) -> Tensor:
        """See `temporal_nce`."""
        return temporal_nce(
            q,
            k,
            queue,
            temperature=self.temperature,
            negatives=self.negatives,
            halves=halves,
            queue_halves=queue_halves,
            changed=changed,
            normalize=self.normalize,
        )


@dataclass(frozen=True)
class _History:
    """Which place and period the rows [n] and the queue's columns [K] show, and whether the rows' places changed."""

    halves: Tensor
    queue_halves: Tensor
    changed: Tensor

    def same_period(self) -> Tensor:
        """[n, K]: the column is known to be of the row's period."""
        known = (self.halves >= 0)[:, None] & (self.queue_halves >= 0)
        return known & (self.halves[:, None] % 2 == self.queue_halves % 2)

    def opposite(self, world: Tensor) -> Tensor:
        """[n, m] for the halves [m] of all ranks' rows: of the other period, and elsewhere or changed since."""
        known = (self.halves >= 0)[:, None] & (world >= 0)
        elsewhere = self.halves[:, None] // 2 != world // 2
        return known & (self.halves[:, None] % 2 != world % 2) & (elsewhere | self.changed[:, None])


def _history(
    q: Tensor,
    queue: Tensor,
    negatives: str,
    halves: Tensor | None,
    queue_halves: Tensor | None,
    changed: Tensor | None,
) -> _History | None:
    given = {"halves": halves, "queue_halves": queue_halves, "changed": changed}
    wrong = [name for name, value in given.items() if (value is None) == (negatives == "caco")]
    if wrong:
        state, fix = ("missing", "Pass all three.") if negatives == "caco" else ("without use", "Use 'caco'.")
        raise ConfigError(f"{' and '.join(wrong)} {state}", where=f"negatives={negatives!r}", fix=fix)
    if halves is None or queue_halves is None or changed is None:
        return None
    expected = {"halves": (q.shape[1],), "queue_halves": (queue.shape[1],), "changed": (q.shape[1],)}
    for name, value in (("halves", halves), ("queue_halves", queue_halves), ("changed", changed)):
        if value.shape != expected[name]:
            raise ShapeError(
                f"{name} does not fit",
                found=f"{tuple(value.shape)}, q {tuple(q.shape)}, queue {tuple(queue.shape)}",
                expected=expected[name],
            )
    return _History(halves.to(q.device), queue_halves.to(q.device), changed.to(q.device, torch.bool))


def _check_heads(q: Tensor, k: Tensor, queue: Tensor) -> None:
    heads = q.shape[0]
    fits = q.dim() == 3 and k.shape == (heads, *q.shape) and queue.dim() == 3
    if not fits or heads == 0 or queue.shape[::2] != q.shape[::2]:
        raise ShapeError(
            "queries, keys and queue do not fit",
            found=f"q {tuple(q.shape)}, k {tuple(k.shape)}, queue {tuple(queue.shape)}",
            expected="q [H, N, D], k [H, H, N, D], queue [H, K, D]",
        )
