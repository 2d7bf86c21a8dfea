"""What the ranks of `gloo_pool` do with the gradients of scenes."""

from __future__ import annotations

import torch
from torch import nn

from nearfar.errors import NonFiniteError
from nearfar.scenes.gradients import Gradients


def averaged(rank: int) -> list[float]:
    """Two steps of gradient 2 * rank on a parameter that grows between them, as a cloud of points does."""
    weights = nn.Parameter(torch.zeros(3))
    optimiser = torch.optim.SGD([weights], lr=1.0)
    gradients = Gradients(optimiser)
    for size in (3, 5):
        weights.data = torch.zeros(size)
        gradients.begin()
        weights.grad = torch.full((size,), 2.0 * rank)
        optimiser.step()
    return [float(value) for value in weights.detach()]


def one_fails(rank: int) -> str:
    """Rank 0 has no gradients."""
    weights = nn.Parameter(torch.zeros(3))
    optimiser = torch.optim.SGD([weights], lr=1.0)
    gradients = Gradients(optimiser)
    gradients.begin()
    if rank == 0:
        gradients.absent()
        return "told"
    weights.grad = torch.ones(3)
    try:
        optimiser.step()
    except NonFiniteError:
        gradients.absent()  # not a second exchange, which nobody would answer
        return "left out" if bool((weights == 0).all()) else "changed"
    return "went on"
