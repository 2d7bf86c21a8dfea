"""InfoNCE of mirrored views (SMCL, 2025): the view from the other side attracts, the opposite one and all others repel.

Also what the published code computes in its place, for comparison.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar import parallel
from nearfar.errors import ShapeError
from nearfar.losses._common import anchor_mean, embeddings, full_precision, inverse, masked_lse, softplus


@full_precision
def mirror_nce(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    temperature: float = 0.05,
    in_batch: bool = True,
    valid: Tensor | None = None,
    ids: Tensor | None = None,
    normalize: bool = True,
) -> Tensor:
    """Each anchor a_i finds its mirrored view p_i among negatives; a, p and n are [N, D].

        l_i = -log( t(a_i, p_i) / (t(a_i, p_i) + v_i t(a_i, n_i) + sum over j != i of t(a_i, p_j) + t(a_i, n_j)) )

    with t(x, y) = exp(x.y / T). `in_batch=False` leaves the sum out: the loss that SMCL's figures describe. The sum
    runs over all ranks.

    valid bool [N] (v, default all): False where the opposite view is no negative, because the object looks the same
        from there. ids int64 [N, 3]: which picture anchor, positive and negative of each row are; a p_j or n_j that is
        the same picture as a_i or p_i is no negative of i; nor is n_j where a_j is the picture of a_i and v_j is False.

    Anchors without a negative anywhere leave the mean. Raises ShapeError where shapes do not fit, ConfigError for a
    temperature that is not positive.
    """
    scale = inverse(temperature)
    _check(anchor, positive, negative, valid, ids)
    a, p, n = (embeddings(x, normalize) for x in (anchor, positive, negative))
    counts = parallel.sizes(len(a))
    own = torch.arange(len(a), device=a.device) + parallel.offset(len(a), counts)
    valid = torch.ones_like(own, dtype=torch.bool) if valid is None else valid.to(a.device)
    if ids is not None:
        ids = ids.to(a.device)
        valid = valid & (ids[:, 2:] != ids[:, :2]).all(1)
    if in_batch:
        columns = torch.cat([parallel.gather(p, counts), parallel.gather(n, counts)])
        similarities, allowed = a @ columns.T, _others(own, counts, valid, ids)
    else:
        similarities, allowed = (a * n).sum(1, keepdim=True), valid[:, None]
    losses = softplus(masked_lse(similarities * scale, allowed) - (a * p).sum(1) * scale)
    contrasted = allowed.any(1)
    return parallel.global_mean(torch.where(contrasted, losses, 0.0).sum(), contrasted.sum())


def _others(own: Tensor, counts: parallel.Sizes, valid: Tensor, ids: Tensor | None) -> Tensor:
    """[n, 2 m]: which p_j and then n_j of the m rows of the world are negatives of the n own rows."""
    itself = own[:, None] == torch.arange(sum(counts), device=own.device)
    near, far = ~itself, ~itself | valid[:, None]
    if ids is None:
        return torch.cat([near, far], 1)
    pictures, known = parallel.gather(ids, counts), parallel.gather(valid, counts)
    mine = ids[:, :2]
    near = near & ~_among(mine, pictures[:, 1])
    alike = (ids[:, :1] == pictures[:, 0]) & ~known
    return torch.cat([near, far & ~alike & ~_among(mine, pictures[:, 2])], 1)


def _among(mine: Tensor, others: Tensor) -> Tensor:
    """[n, m]: whether picture j of others [m] is one of mine [n, k]."""
    return (mine[:, :, None] == others).any(1)


class MirrorNCE(nn.Module):
    """Module twin of `mirror_nce`."""

    def __init__(self, *, temperature: float = 0.05, in_batch: bool = True, normalize: bool = True) -> None:
        super().__init__()
        self.temperature, self.in_batch, self.normalize = temperature, in_batch, normalize

    def forward(
        self, anchor: Tensor, positive: Tensor, negative: Tensor, valid: Tensor | None = None, ids: Tensor | None = None
    ) -> Tensor:
        """See `mirror_nce`."""
        return mirror_nce(
            anchor,
            positive,
            negative,
            temperature=self.temperature,
            in_batch=self.in_batch,
            valid=valid,
            ids=ids,
            normalize=self.normalize,
        )


@full_precision
def published_mirror_loss(anchor: Tensor, positive: Tensor, negative: Tensor, *, temperature: float = 0.05) -> Tensor:
    """What SMCL's published code computes of maps [B, C, H, W] under the name InfoNCE. Do not train with it.

    With a_bch the W numbers of one line of one channel, at unit length,

        L = mean over b, h of -log( e^(a_b0h.p_b0h / T) / sum over c of e^(a_bch.p_bch / T) + e^(a_bch.n_bch / T) )

    Similarities are taken along the width of the map and contrasted over channels. Channel 0 of the positive is drawn
    near; every other channel of the positive is pushed away as the negative is, and no other image takes part. Equal
    positives and reversed negatives, which should cost nothing, cost log C; positives that are reversed in all channels
    but the first cost almost nothing.

    Raises ShapeError unless the three maps have one shape, ConfigError for a temperature that is not positive.
    """
    scale = inverse(temperature)
    if anchor.dim() != 4 or not anchor.shape == positive.shape == negative.shape:
        raise ShapeError(
            "three maps of one shape are compared",
            found=", ".join(str(tuple(x.shape)) for x in (anchor, positive, negative)),
            expected="[B, C, H, W] each",
        )
    a, p, n = (embeddings(x, normalize=True) for x in (anchor, positive, negative))
    logits = torch.cat([(a * p).sum(-1), (a * n).sum(-1)], 1) * scale
    losses = -F.log_softmax(logits, dim=1)[:, 0].mean(1)
    return anchor_mean(losses, torch.ones_like(losses, dtype=torch.bool), "published mirror loss")


def _check(anchor: Tensor, positive: Tensor, negative: Tensor, valid: Tensor | None, ids: Tensor | None) -> None:
    if anchor.dim() != 2 or not anchor.shape == positive.shape == negative.shape:
        raise ShapeError(
            "anchors, positives and negatives do not fit",
            found=", ".join(str(tuple(x.shape)) for x in (anchor, positive, negative)),
            expected="[N, D] each",
        )
    for name, x, shape in (("valid", valid, (len(anchor),)), ("ids", ids, (len(anchor), 3))):
        if x is not None and x.shape != shape:
            raise ShapeError(f"{name} do not fit the rows", found=tuple(x.shape), expected=shape)
