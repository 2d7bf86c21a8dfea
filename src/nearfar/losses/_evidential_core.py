"""The principled loss of all anchors and its gradient in one pass, block of rows by block of rows.

The cosines are the only [n, m] tensor: each block of them is replaced by the gradient of its anchors' losses, which is
then all that the backward pass needs. Autograd would keep seven such tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.losses._opinion_weights import PairMasks
from nearfar.losses.core.once import once

Block = Callable[[slice], PairMasks]
Weigh = Callable[[Tensor, slice, PairMasks], Tensor]
"""cosines of the block, its rows, its masks -> weights, 0 outside the positives"""


class Problem(NamedTuple):
    """What a block of rows is computed from, beside the embeddings."""

    masks: Block
    weigh: Weigh
    scale: float
    """1 / temperature"""
    gamma: float
    block: int
    """rows at a time"""


def anchor_losses(anchors: Tensor, columns: Tensor, cosine: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
    """Loss [n] of every anchor, and whether it has a positive with weight and a negative, [n] bool.

    cosine: anchors @ columns.T [n, m] without a graph; it is overwritten.
    """
    with torch.no_grad():
        losses, valid = [anchors.new_zeros(0)], [torch.zeros(0, dtype=torch.bool, device=anchors.device)]
        for start in range(0, len(anchors), problem.block):
            rows = slice(start, start + problem.block)
            part, holds, cosine[rows] = block_losses(cosine[rows], rows, problem)
            losses.append(part)
            valid.append(holds)
    # A term of value zero whose gradient is that of the losses: sum over j of gradient_ij d(a_i . c_j).
    moved = cosine @ columns
    linear = (anchors.detach() * moved).sum(1) + (anchors * moved.detach()).sum(1)
    return once(torch.cat(losses) + (linear - linear.detach())), torch.cat(valid)


def block_losses(cosine: Tensor, rows: slice, problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Losses [r], validity [r] and d losses / d cosine [r, m] of a block of r rows."""
    masks = problem.masks(rows)
    weights = problem.weigh(cosine, rows, masks)
    total, count = weights.sum(1), masks.negative.sum(1)
    has = count > 0
    valid = ~(total <= 0) & has  # a sum that is NaN is held, so that the loss tells
    weights = weights.mul_(torch.where(valid, 1 / total, 0.0)[:, None])
    s = cosine * problem.scale
    top = torch.where(masks.negative, s, -torch.inf).amax(1)
    top = torch.where(has, top, 0.0)[:, None]
    near = (s - top).clamp_(max=0)  # exponents of the negatives; the positives' may not overflow before they are cut
    t = near.exp().mul_(masks.negative)
    beta = t if problem.gamma == 1 else near.mul_(problem.gamma).exp_().mul_(masks.negative)
    beta_sum = torch.where(has, beta.sum(1), 1.0)
    t = t * beta
    t_sum = torch.where(has, t.sum(1), 1.0)
    log_m = (count.clamp(min=1).to(s.dtype).log() + t_sum.log() - beta_sum.log())[:, None] + top
    x = s.sub_(log_m)
    losses = -(weights * F.logsigmoid(x)).sum(1)  # softplus(-x)
    pull = weights.mul_(x.neg_().sigmoid_())
    gradient = t.mul_((pull.sum(1) / t_sum)[:, None]).sub_(pull).mul_(problem.scale)
    return losses, valid, gradient
