"""Alignment of any number of modalities: the two-sided InfoNCE of every pair of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from nearfar import parallel
from nearfar.errors import ConfigError, ShapeError, did_you_mean
from nearfar.losses._common import embeddings, inverse
from nearfar.losses.core import Exchange, Memory
from nearfar.losses.info_nce import clip_loss
from nearfar.losses.relations import Relations

Pair = tuple[str, str]


def pairwise_info_nce(
    z: Mapping[str, Tensor],
    *,
    scale: float | Tensor,
    weights: Mapping[Pair, float] | None = None,
    groups: Mapping[str, Tensor] | None = None,
    labels: Tensor | None = None,
    present: Tensor | None = None,
    normalize: bool = True,
    memory: Memory = "auto",
    exchange: Exchange = "gather",
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over pairs (a, b) of modalities of weight_ab * `clip_loss`(z[a], z[b]), each z [B, D], row i one sample.

    Returns the loss and its detached parts, unweighted, by name: "image-text" where z has them in this order. Exact
    over ranks as every loss; only rows that hold both modalities are gathered, and ranks may have unequal numbers.

    Args:
        scale: multiplies the cosines (1 / temperature); may be a scalar tensor that learns, see `PairwiseInfoNCE`.
        weights: of the pairs, in either order of their names; a pair that is left out, or has weight 0, is not
            computed. None: 1 each.
        groups: modality -> ids [B]. Rows of equal id show the same there (equal captions): in every pair of this
            modality all of them are positives, -log p averaged over them. Negative ids are unknown and equal none.
        labels: [B], the supervised form: in every pair all rows of one label are positives (L_out of Khosla et al.
            2020, across modalities). Negative labels are unknown. Not together with groups.
        present: [B, K] bool, columns in the order of z: a pair is computed on the rows that have both.
        memory, exchange: see `nearfar.losses`.

    Raises ShapeError where shapes do not fit, ConfigError for unknown names, negative weights, fewer than two
    modalities, or a pair both modalities of which have groups of their own.
    """
    _check(z, groups, labels, present)
    loss = torch.stack([embeddings(rows[:0], False).sum() for rows in z.values()]).sum() * scale
    parts: dict[str, Tensor] = {}
    for (a, b), weight in _shares(list(z), weights).items():
        ids = labels if labels is not None else _group(groups or {}, a, b)
        rows = _with_both(list(z), a, b, present)
        part = _pair_loss(z[a], z[b], ids, rows, scale, normalize, memory, exchange)
        parts[f"{a}-{b}"] = part.detach()
        loss = loss + weight * part
    return loss, parts


def _pair_loss(
    a: Tensor,
    b: Tensor,
    ids: Tensor | None,
    rows: Tensor | None,
    scale: float | Tensor,
    normalize: bool,
    memory: Memory,
    exchange: Exchange,
) -> Tensor:
    if rows is not None:
        a, b, ids = a[rows], b[rows], None if ids is None else ids.to(a.device)[rows]
        if sum(parallel.sizes(len(a))) == 0:  # no row of the world has both: a zero with a graph
            return (embeddings(a, False).sum() + embeddings(b, False).sum()) * scale
    known = None if ids is None else Relations(ids, use="target")
    return clip_loss(a, b, scale=scale, relations=known, normalize=normalize, memory=memory, exchange=exchange)


def _shares(names: Sequence[str], weights: Mapping[Pair, float] | None) -> dict[Pair, float]:
    """Weights that are not zero, of pairs in the order of the names."""
    pairs = list(combinations(names, 2))
    if weights is None:
        return dict.fromkeys(pairs, 1.0)
    shares: dict[Pair, float] = {}
    for (a, b), weight in weights.items():
        for name in (a, b):
            _known(name, names, "weights")
        pair = (a, b) if (a, b) in pairs else (b, a)
        if pair not in pairs or pair in shares:
            fault = "a modality is not aligned with itself" if a == b else "a pair has one weight"
            raise ConfigError(fault, where="weights", found=f"{a}-{b}")
        if not 0 <= weight < math.inf:
            raise ConfigError("weights of pairs are 0 or more", where=f"weights {a}-{b}", found=weight)
        shares[pair] = float(weight)
    return {pair: shares[pair] for pair in pairs if shares.get(pair, 0.0) > 0}


def _group(groups: Mapping[str, Tensor], a: str, b: str) -> Tensor | None:
    ids = [groups[name] for name in (a, b) if name in groups]
    if len(ids) == 2 and ids[0] is not ids[1]:
        # "Equal here or equal there" is no equivalence, so it has no ids.
        raise ConfigError(
            "both modalities of a pair have groups", where="groups", found=f"{a}, {b}", fix="Pass those of one."
        )
    return ids[0] if ids else None


def _with_both(names: Sequence[str], a: str, b: str, present: Tensor | None) -> Tensor | None:
    return None if present is None else present[:, names.index(a)] & present[:, names.index(b)]


def _check(
    z: Mapping[str, Tensor], groups: Mapping[str, Tensor] | None, labels: Tensor | None, present: Tensor | None
) -> None:
    if len(z) < 2:
        raise ConfigError("alignment is of two modalities or more", found=", ".join(z) or "none")
    shape = next(iter(z.values())).shape
    if len(shape) != 2 or any(rows.shape != shape for rows in z.values()):
        found = ", ".join(f"{name} {tuple(rows.shape)}" for name, rows in z.items())
        raise ShapeError("modalities must have one shape", found=found, expected="[B, D] all")
    if labels is not None and groups:
        raise ConfigError("labels and groups both say what is positive", fix="Pass one of them.")
    for name in groups or {}:
        _known(name, list(z), "groups")
    for name, ids in {**(groups or {}), **({} if labels is None else {"labels": labels})}.items():
        if ids.shape != shape[:1]:
            raise ShapeError("one id a row", where=name, found=tuple(ids.shape), expected=f"({shape[0]},)")
    if present is not None and (present.shape != (shape[0], len(z)) or present.dtype != torch.bool):
        found = f"{present.dtype} {tuple(present.shape)}"
        raise ShapeError("present is a mask of rows and modalities", found=found, expected=f"bool {(shape[0], len(z))}")


def _known(name: str, names: Sequence[str], where: str) -> None:
    if name not in names:
        fix = did_you_mean(name, names, quote="'")
        raise ConfigError(f"unknown modality {name!r}", where=where, expected=", ".join(names), fix=fix)


class PairwiseInfoNCE(nn.Module):
    """Module twin of `pairwise_info_nce` with a learned scale, exp(log_scale), kept between `smallest` and `largest`.

    The limits are those of SpatialCLIP's code (1 and 50); all pairs share the scale.
    """

    def __init__(
        self,
        weights: Mapping[Pair, float] | None = None,
        *,
        temperature: float = 0.07,
        smallest: float = 1.0,
        largest: float = 50.0,
        normalize: bool = True,
        memory: Memory = "auto",
        exchange: Exchange = "gather",
    ) -> None:
        super().__init__()
        if not 0 < smallest <= largest:
            raise ConfigError(
                "limits of the scale", found=f"{smallest} to {largest}", expected="0 < smallest <= largest"
            )
        self.weights, self.normalize, self.memory, self.exchange = weights, normalize, memory, exchange
        self.smallest, self.largest = smallest, largest
        self.log_scale = nn.Parameter(torch.tensor(math.log(inverse(temperature))))

    def forward(
        self,
        z: Mapping[str, Tensor],
        *,
        groups: Mapping[str, Tensor] | None = None,
        labels: Tensor | None = None,
        present: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `pairwise_info_nce`."""
        with torch.no_grad():  # on the value, not in the graph: a clamp there would stop the gradient for good
            self.log_scale.clamp_(math.log(self.smallest), math.log(self.largest))
        return pairwise_info_nce(
            z,
            scale=self.log_scale.exp(),
            weights=self.weights,
            groups=groups,
            labels=labels,
            present=present,
            normalize=self.normalize,
            memory=self.memory,
            exchange=self.exchange,
        )
