"""Points that come and go while a field learns, with what its optimiser knows of those that stay.

Published: points of no influence are removed; new ones are random mixtures of three neighbours where the cloud is
uneven (PAPR, SMCL). The published code makes new optimisers each time, and so forgets Adam's moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.optim import Optimizer

from nearfar.scenes.point_options import PointOptions
from nearfar.scenes.points import ROWS, PointField

UNEVEN_OVER = 10
MIXED = 3


@dataclass(frozen=True)
class Change:
    """What a step did to the cloud, for the log."""

    step: int
    removed: int
    added: int
    points: int


def prune(field: PointField, optimiser: Optimizer | None, below: float = 0.0) -> int:
    """Removes points whose influence is `below` or less and returns how many; as many as a ray asks always stay."""
    influence = field.influence.detach()
    keep = influence > below
    short = field.options.neighbours - int(keep.sum())
    if short > 0:
        keep[influence.masked_fill(keep, -torch.inf).topk(short).indices] = True
    rows = keep.nonzero()[:, 0]
    removed = len(influence) - len(rows)
    if removed:
        _resize(field, optimiser, rows, {})
    return removed


def densify(
    field: PointField, optimiser: Optimizer | None, number: int, most: int, generator: torch.Generator | None = None
) -> int:
    """Adds up to `number` points, `most` in all, and returns how many.

    Seeds are the points whose distances to their 10 neighbours vary most; each gives a random convex mixture of its 3
    nearest in place, influence and features. Adam's moments of new points are zero. `generator` lives on the CPU.
    """
    count = len(field.points)
    number = min(number, most - count, count)
    if number < 1 or count <= MIXED:
        return 0
    places = field.points.detach().cpu().double().numpy()
    distances, neighbours = cKDTree(places).query(places, k=min(UNEVEN_OVER, count - 1) + 1)
    spread = torch.from_numpy(distances[:, 1:]).std(dim=1, correction=0)
    seeds = spread.topk(number).indices
    mixed = torch.from_numpy(neighbours[:, 1 : MIXED + 1])[seeds].to(field.points.device)
    shares = torch.rand(number, MIXED, generator=generator).to(field.points.device)
    shares = shares / shares.sum(dim=1, keepdim=True)
    new = {name: _mix(getattr(field, name).detach(), mixed, shares) for name in ROWS}
    _resize(field, optimiser, torch.arange(count, device=field.points.device), new)
    return number


def adapt(
    field: PointField,
    optimiser: Optimizer | None,
    options: PointOptions,
    step: int,
    generator: torch.Generator | None = None,
) -> Change | None:
    """What the schedule of `options` asks after step `step` (from 1); None where the cloud stays as it is.

    As published, points are added from the first removal on, if any are to be removed at all.
    """
    removed = added = 0
    if _due(step, options.prune_every, options.prune_from, options.prune_until):
        removed = prune(field, optimiser, options.prune_below)
    if _due(step, options.add_every, options.add_from, options.add_until):
        added = densify(field, optimiser, options.add_number, options.max_points, generator)
    return Change(step, removed, added, len(field.points)) if removed or added else None


def _due(step: int, every: int, start: int, end: int) -> bool:
    return every > 0 and start <= step < end and step % every == 0


def _mix(values: Tensor, rows: Tensor, shares: Tensor) -> Tensor:
    picked = values[rows]
    return (picked * shares.reshape(*shares.shape, *[1] * (picked.ndim - 2))).sum(dim=1)


def _resize(field: PointField, optimiser: Optimizer | None, rows: Tensor, new: dict[str, Tensor]) -> None:
    """Every row parameter becomes its `rows` and then the new ones, and so does what the optimiser keeps of it."""
    for name in ROWS:
        parameter = getattr(field, name)
        before = parameter.data
        added = new.get(name, before[:0])
        parameter.data = torch.cat([before[rows], added])
        parameter.grad = None
        state = {} if optimiser is None else optimiser.state.get(parameter, {})
        for key, value in state.items():
            if torch.is_tensor(value) and value.shape == before.shape:
                state[key] = torch.cat([value[rows], torch.zeros_like(added)])
