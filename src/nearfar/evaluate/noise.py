"""Finding wrong labels: how much the embedding's opinions speak against each sample's label."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.spatial.evidence import hinge
from nearfar.spatial.opinions import Opinion

BLOCK = 1024
"""rows compared with all others at a time"""


def label_doubt(
    z: NDArray[np.floating] | Tensor,
    labels: NDArray[np.integer] | Tensor,
    *,
    neighbours: int = 20,
    kappa: float = 10.0,
    prior_weight: float = 2.0,
    rounds: int = 2,
) -> NDArray[np.float64]:
    """Doubt in each label, 0 (trusted) to 1 (disbelieved), from embeddings z [N, D] and labels [N]; float64 [N].

    Each of the `neighbours` nearest samples j of i is a source with the evidence of the pair, r_ij = hinge evidence of
    its cosine (margin: midpoint of the mean cosine of nearest neighbours and of all pairs). It speaks for "the label of
    i is right" where j has the same label, against it where j has another. The sources are fused cumulatively, with
    their evidence divided by their number (neighbours of one sample resemble each other, so they are not independent),
    and the doubt is 1 - P = d + u/2. In every further round a source counts by the projected probability of its own
    label (trust discounting, Josang 2016, chapter 14).

    Labels below zero are unknown: they give no evidence and get doubt 0. Raises ShapeError, DataError (NaN, too few
    samples), ConfigError.
    """
    unit, y = _checked(z, labels)
    if neighbours < 1 or rounds < 1:
        raise ConfigError("label doubt", found=f"neighbours {neighbours}, rounds {rounds}", expected="both >= 1")
    cosine, index = _nearest(unit, y >= 0, neighbours)
    near, far = cosine.mean(), (unit.mean(0) ** 2).sum()
    r, _ = hinge(cosine, margin=((near + far) / 2).clamp(-0.99, 0.99), kappa=kappa / cosine.shape[1])
    agree = y[index] == y[:, None]
    trust = torch.ones(len(unit), dtype=unit.dtype)
    for _ in range(rounds):
        heard = r * trust[index]
        speaks_for, against = torch.where(agree, heard, 0.0).sum(1), torch.where(agree, 0.0, heard).sum(1)
        opinion = Opinion.from_evidence(speaks_for, against, prior_weight=prior_weight)
        trust = opinion.projected()
    return cast(NDArray[np.float64], torch.where(y >= 0, 1 - trust, 0.0).numpy())


def ranking(
    doubt: NDArray[np.floating], wrong: NDArray[np.bool_], ks: tuple[int, ...] = (10, 50, 100)
) -> dict[str, float]:
    """How well doubt [N] ranks the wrong labels [N] bool: average_precision, base_rate, precision_at_K where K <= N."""
    doubt, wrong = np.asarray(doubt), np.asarray(wrong, dtype=bool)
    if doubt.shape != wrong.shape or doubt.ndim != 1:
        raise ShapeError("doubt and truth do not fit", found=(doubt.shape, wrong.shape), expected="two of [N]")
    if not wrong.any():
        raise DataError("no label is wrong", expected="at least one wrong label to find")
    order = np.argsort(-doubt, kind="stable")
    found = {"average_precision": float(average_precision_score(wrong, doubt)), "base_rate": float(wrong.mean())}
    return found | {f"precision_at_{k}": float(wrong[order[:k]].mean()) for k in ks if k <= len(doubt)}


def _checked(z: NDArray[np.floating] | Tensor, labels: NDArray[np.integer] | Tensor) -> tuple[Tensor, Tensor]:
    rows, y = torch.as_tensor(z).detach().cpu().double(), torch.as_tensor(labels).detach().cpu().long()
    if rows.dim() != 2 or y.shape != rows.shape[:1]:
        found = f"embeddings {tuple(rows.shape)}, labels {tuple(y.shape)}"
        raise ShapeError("embeddings and labels do not fit", found=found, expected="[N, D] and [N]")
    if int((y >= 0).sum()) < 2:
        raise DataError(
            "label doubt needs neighbours", found=f"{int((y >= 0).sum())} labelled samples", expected=">= 2"
        )
    bad = (~rows.isfinite().all(1)).nonzero().flatten()
    if len(bad):
        raise DataError(
            "embeddings must be finite", where=f"row {int(bad[0])}", found=f"{len(bad)} rows with NaN or inf"
        )
    return torch.nn.functional.normalize(rows, dim=1), y


def _nearest(unit: Tensor, known: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines and indices [N, k'] of the nearest labelled others, k' <= k."""
    k = min(k, int(known.sum()) - 1)
    parts = []
    for start in range(0, len(unit), BLOCK):
        cosine = unit[start : start + BLOCK] @ unit.T
        cosine[:, ~known] = -2.0
        rows = torch.arange(len(cosine))
        cosine[rows, rows + start] = -2.0
        parts.append(cosine.topk(k, dim=1))
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])
