"""Evidence from similarity: how much speaks for (r) and against (s) that two things belong together.

Proper evidence is r, s >= 0, zero where nothing is known, monotone in the similarity, and does not depend on how many
other pairs are in the batch; its scale `kappa` is in pseudo-observations. Each function says where it falls short.
All take cosines (or what they are made of) and return (r, s) of the same shape. `EVIDENCE` lists them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError, did_you_mean

Evidence = tuple[Tensor, Tensor]
"""(r, s): evidence for and against, each >= 0"""


class Gaussian(NamedTuple):
    """Mean and standard deviation of a population of cosines; floats or 0-dim tensors."""

    mean: Tensor | float
    std: Tensor | float


def hinge(cosine: Tensor, *, margin: Tensor | float = 0.5, kappa: float = 10.0) -> Evidence:
    """r = kappa max(0, (c - m) / (1 - m)), s = kappa max(0, (m - c) / (1 + m)): none at the margin, kappa at c = +-1.

    `margin` strictly between -1 and 1. The default evidence of DiSCO's principled form.
    """
    r = (cosine - margin).mul_(kappa / (1 - margin)).clamp_(min=0)
    s = (margin - cosine).mul_(kappa / (1 + margin)).clamp_(min=0)
    return r, s


def softplus(
    cosine: Tensor, *, margin: Tensor | float = 0.5, kappa: float = 10.0, temperature: float = 0.1
) -> Evidence:
    """r = kappa softplus((c - m) / T), s = kappa softplus((m - c) / T): smooth, but never zero (u < 1)."""
    x = (cosine - margin) / temperature
    return kappa * F.softplus(x), kappa * F.softplus(-x)


def log_likelihood_ratio(cosine: Tensor, *, near: Gaussian, far: Gaussian, kappa: float = 10.0) -> Evidence:
    """r = kappa max(0, lambda), s = kappa max(0, -lambda), lambda = log N(c; near) - log N(c; far).

    `near`: cosines of two views of one image; `far`: of different labels. Both are known without trusting that equal
    labels mean equal things, so the evidence is calibrated. Outside the two means lambda is held at its value there: a
    wider Gaussian wins in both its tails, which would make the most dissimilar pairs evidence for cohesion.
    """
    low, high = torch.as_tensor(far.mean).to(cosine), torch.as_tensor(near.mean).to(cosine)
    c = torch.maximum(torch.minimum(cosine, torch.maximum(low, high)), low)
    ratio = _log_density(c, near) - _log_density(c, far)
    return kappa * ratio.clamp(min=0), kappa * (-ratio).clamp(min=0)


def _log_density(x: Tensor, population: Gaussian) -> Tensor:
    std = torch.as_tensor(population.std).to(x).clamp(min=1e-3)
    return -0.5 * ((x - torch.as_tensor(population.mean).to(x)) / std) ** 2 - std.log()


def neighbourhood(cosine: Tensor, *, neighbours: int = 10) -> Evidence:
    """Counts of shared neighbours: r_ij = |A_i and A_j|, s_ij = k - r_ij, A_i the k columns nearest to i (i included).

    cosine: square [N, N]. "Co-cluster" taken literally. u = W / (W + k) is constant, the information is in P.
    """
    if cosine.dim() != 2 or cosine.shape[0] != cosine.shape[1]:
        raise ShapeError("neighbourhood evidence needs all pairs", found=tuple(cosine.shape), expected="[N, N]")
    k = min(neighbours, cosine.shape[1])
    member = torch.zeros_like(cosine).scatter_(1, cosine.topk(k, dim=1).indices, 1.0)
    shared = member @ member.T
    return shared, k - shared


def patches(r: Tensor, s: Tensor, *, matches: Literal["all", "best"] = "all") -> Evidence:
    """One opinion an image pair from those of their patches: cumulative fusion, i.e. evidence adds.

    r, s: [I, V, J, V'] evidence of patch p of image i and patch q of image j. `matches` "all" sums over all pairs of
    patches, "best" over each patch p of i with the patch q of j that has most net evidence r - s. Returns [I, J].
    """
    if r.dim() != 4 or r.shape != s.shape:
        raise ShapeError("patch evidence", found=(tuple(r.shape), tuple(s.shape)), expected="two of [I, V, J, V']")
    if matches == "all":
        return r.sum((1, 3)), s.sum((1, 3))
    best = (r - s).argmax(3, keepdim=True)
    return r.gather(3, best).sum((1, 3)), s.gather(3, best).sum((1, 3))


def reference(cosine: Tensor) -> Evidence:
    """r = exp(softmax_j c), s = exp(softmax_j -c), as published (DiSCO's code): for compatibility only.

    cosine: [n, N], whole rows. Never zero (u <= 1/2 always), depends on the number of columns, and is largest for s ~ 0
    on both sides: u has no usable range for large N.
    """
    return cosine.softmax(-1).exp(), (-cosine).softmax(-1).exp()


def exp_tanh(cosine: Tensor, *, temperature: float = 0.5) -> Evidence:
    """r = exp(tanh(c) / T), s = exp(tanh(-c) / T), of the evidential cross-modal literature (DECL). Never zero."""
    x = cosine.tanh() / temperature
    return x.exp(), (-x).exp()


EVIDENCE: dict[str, Callable[..., Evidence]] = {
    "hinge": hinge,
    "softplus": softplus,
    "log_likelihood_ratio": log_likelihood_ratio,
    "neighbourhood": neighbourhood,
    "patches": patches,
    "reference": reference,
    "exp_tanh": exp_tanh,
}


def evidence_function(name: str) -> Callable[..., Any]:
    """The evidence function of that name; ConfigError with the nearest name for an unknown one."""
    if name in EVIDENCE:
        return EVIDENCE[name]
    fix = did_you_mean(name, EVIDENCE)
    raise ConfigError(f"no evidence function {name!r}", expected=", ".join(EVIDENCE), fix=fix)
