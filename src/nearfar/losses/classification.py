"""Losses of a classifier with yes-or-no answers, unbalanced classes, and the preservation of frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar import parallel
from nearfar.errors import ConfigError, ShapeError
from nearfar.losses._common import embeddings, full_precision, one_of

BinaryKind = Literal["bce", "focal", "class_balanced", "class_balanced_focal"]


def effective_number_weights(counts: Sequence[int], beta: float = 0.999) -> tuple[float, ...]:
    """Weights (1 - beta) / (1 - beta^n) of classes with n samples each, scaled to mean 1 (Cui et al. 2019, eq. 2).

    0 <= beta < 1: 0 weighs all classes alike, towards 1 the weights become inverse frequencies.
    Raises ConfigError for a beta out of range or a class without samples.
    """
    if not 0 <= beta < 1:
        raise ConfigError("beta of effective numbers", found=beta, expected="0 or more and less than 1")
    if not counts or min(counts) < 1:
        raise ConfigError(
            "every class needs samples", found=f"counts {tuple(counts)}", fix="Leave out classes that do not occur."
        )
    raw = [(1 - beta) / (1 - beta**count) for count in counts]
    return tuple(weight * len(raw) / sum(raw) for weight in raw)


@full_precision
def binary_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    kind: BinaryKind = "bce",
    pos_weight: float = 1.0,
    gamma: float = 2.0,
    counts: tuple[int, int] | None = None,
    beta: float = 0.999,
) -> Tensor:
    """Mean over logits and labels (0 or 1) of one shape, [B] or [B, K]; a negative label is unknown and left out.

    With s = logit where the label is 1, else -logit, an element's loss is named by `kind`:

    - "bce": w log(1 + e^-s), w = pos_weight where the label is 1, else 1;
    - "focal": w (1 - p)^gamma log(1 + e^-s), p = 1 / (1 + e^-s) (Lin et al. 2017, eq. 4, without alpha);
    - "class_balanced", "class_balanced_focal": the same two with the class's `effective_number_weights` for w, from
      counts = (negatives, positives) of the training data.

    The mean is the world's (`parallel.global_mean`). Raises ShapeError where shapes differ, ConfigError for an unknown
    kind, other labels, numbers out of range, counts missing, or pos_weight beside class weights.
    """
    negative, positive = _class_weights(kind, pos_weight, counts, beta)
    _check(logits, labels, gamma)
    logits = embeddings(logits, normalize=False)
    known, yes = labels >= 0, labels > 0
    s = torch.where(yes, logits, -logits)
    losses = F.softplus(-s) * (negative + (positive - negative) * yes.to(s))
    if kind.endswith("focal"):
        losses = losses * (gamma * F.logsigmoid(-s)).exp()
    return parallel.global_mean(torch.where(known, losses, 0.0).sum(), known.sum())


def preservation(z: Tensor, frozen: Tensor) -> Tensor:
    """[B]: 1 - cosine of z [B, D] and the frozen encoder's embedding [B, D] of the same sample, without gradient there.

    For unit vectors D / 2 times the mean squared error; unlike that one it does not vanish with the width.
    Raises ShapeError where shapes differ.
    """
    if z.dim() != 2 or z.shape != frozen.shape:
        raise ShapeError(
            "embeddings and their frozen copies must have one shape",
            found=f"{tuple(z.shape)} and {tuple(frozen.shape)}",
            expected="[B, D] both",
        )
    return 1 - (embeddings(z, True) * embeddings(frozen.detach(), True)).sum(1)


def _class_weights(kind: str, pos_weight: float, counts: tuple[int, int] | None, beta: float) -> tuple[float, float]:
    """Of negatives and of positives."""
    one_of("kind", kind, get_args(BinaryKind))
    if not pos_weight > 0:
        raise ConfigError("the weight of positives must be positive", where="pos_weight", found=pos_weight)
    if not kind.startswith("class_balanced"):
        return 1.0, pos_weight
    if counts is None or len(counts) != 2:
        raise ConfigError(
            f"{kind!r} needs the counts of both classes", found=f"counts {counts}", fix="Pass (negatives, positives)."
        )
    if pos_weight != 1:
        raise ConfigError(f"{kind!r} and pos_weight both weigh the classes", fix="Leave pos_weight at 1.")
    negative, positive = effective_number_weights(counts, beta)
    return negative, positive


def _check(logits: Tensor, labels: Tensor, gamma: float) -> None:
    if not gamma >= 0:
        raise ConfigError("gamma of the focal loss is 0 or more", found=gamma)
    if logits.shape != labels.shape:
        raise ShapeError(
            "one label a logit",
            found=f"logits {tuple(logits.shape)}, labels {tuple(labels.shape)}",
            expected="one shape",
        )
    legal = (labels < 0) | (labels == 0) | (labels == 1)
    if not torch.compiler.is_compiling() and not bool(legal.all()):
        raise ConfigError("labels of yes-or-no answers are 0, 1 or unknown (negative)", found=labels[~legal][0].item())


class BinaryLoss(nn.Module):
    """Module twin of `binary_loss`."""

    def __init__(
        self,
        kind: BinaryKind = "bce",
        *,
        pos_weight: float = 1.0,
        gamma: float = 2.0,
        counts: tuple[int, int] | None = None,
        beta: float = 0.999,
    ) -> None:
        super().__init__()
        _class_weights(kind, pos_weight, counts, beta)
        self.kind, self.pos_weight, self.gamma, self.counts, self.beta = kind, pos_weight, gamma, counts, beta

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `binary_loss`."""
        return binary_loss(
            logits,
            labels,
            kind=self.kind,
            pos_weight=self.pos_weight,
            gamma=self.gamma,
            counts=self.counts,
            beta=self.beta,
        )
