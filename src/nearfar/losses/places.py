"""InfoNCE for places seen more than once: what the queue remembers of a row's own place is no negative."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar import parallel
from nearfar.errors import ShapeError
from nearfar.losses._common import anchor_mean, check_keys, embeddings, full_precision, inverse, masked_lse, softplus


@full_precision
def place_nce(
    q: Tensor,
    k: Tensor,
    *,
    keys: Tensor,
    ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    temperature: float = 0.1,
    in_batch: bool = True,
    normalize: bool = True,
) -> Tensor:
    """InfoNCE of each row against each of P positives of its own, [P]; their sum is the loss of SACo (two positives).

        l_p = mean over b of -log( t(q_b, k_pb) / (t(q_b, k_pb) + sum over negatives n of t(q_b, n)) )

    with t(x, y) = exp(x.y / T). q [N, D]; k [P, N, D] from the teacher; negatives are `keys` [K, D], a queue that is
    the same on every rank (K may be 0), and with `in_batch` the rows k_pc, c != b, of all ranks.

    ids [N] and key_ids [K], both or neither: which place a row and a key show, over all ranks. A negative of the row's
    own place is left out, because another date or an older view of it is no other place; ids below zero are unknown and
    equal none. With one positive, no ids and K > 0 this is `info_nce`.

    Raises ShapeError where shapes do not fit or only one of the ids is given, ConfigError for a temperature that is not
    positive.
    """
    scale = inverse(temperature)
    _check(q, k, keys, ids, key_ids)
    unit, positives, past = (embeddings(x, normalize) for x in (q, k, keys))
    n, counts = len(q), parallel.sizes(len(q))
    mine = torch.arange(n, device=q.device) + parallel.offset(n, counts)
    world = parallel.gather(positives.transpose(0, 1), counts).transpose(0, 1)
    elsewhere = mine[:, None] != torch.arange(world.shape[1], device=q.device)
    allowed = torch.ones(n, len(past), dtype=torch.bool, device=q.device)
    if ids is not None and key_ids is not None:
        ids = ids.to(q.device)
        elsewhere = elsewhere & _differ(ids, parallel.gather(ids, counts))
        allowed = _differ(ids, key_ids.to(q.device))
    remembered = masked_lse(unit @ past.to(unit).T * scale, allowed)
    total = []
    for positive, everyone in zip(positives, world, strict=True):
        rivals = remembered
        if in_batch:
            rivals = torch.logaddexp(remembered, masked_lse(unit @ everyone.T * scale, elsewhere))
        losses = softplus(rivals - (unit * positive).sum(1) * scale)
        total.append(anchor_mean(losses, torch.ones_like(losses, dtype=torch.bool), "place NCE"))
    return torch.stack(total)


class PlaceNCE(nn.Module):
    """Module twin of `place_nce`."""

    def __init__(self, *, temperature: float = 0.1, in_batch: bool = True, normalize: bool = True) -> None:
        super().__init__()
        self.temperature, self.in_batch, self.normalize = temperature, in_batch, normalize

    def forward(
        self, q: Tensor, k: Tensor, keys: Tensor, ids: Tensor | None = None, key_ids: Tensor | None = None
    ) -> Tensor:
        """See `place_nce`."""
        return place_nce(
            q,
            k,
            keys=keys,
            ids=ids,
            key_ids=key_ids,
            temperature=self.temperature,
            in_batch=self.in_batch,
            normalize=self.normalize,
        )


def _differ(ids: Tensor, others: Tensor) -> Tensor:
    """[n, m]: not known to be the same place."""
    return (ids[:, None] != others) | (ids < 0)[:, None]


def _check(q: Tensor, k: Tensor, keys: Tensor, ids: Tensor | None, key_ids: Tensor | None) -> None:
    if q.dim() != 2 or k.dim() != 3 or k.shape[1:] != q.shape or len(k) == 0:
        raise ShapeError(
            "queries and their positives do not fit",
            found=f"q {tuple(q.shape)}, k {tuple(k.shape)}",
            expected="q [N, D], k [P, N, D]",
        )
    check_keys(q, keys)
    given = [None if x is None else tuple(x.shape) for x in (ids, key_ids)]
    if given != [None, None] and given != [(len(q),), (len(keys),)]:
        raise ShapeError(
            "one place a row and a key, or none at all",
            found=f"ids {given[0]}, key_ids {given[1]}",
            expected=f"ids {(len(q),)}, key_ids {(len(keys),)}",
        )
