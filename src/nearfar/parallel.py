"""Exact contrast over all ranks: ragged gather with gradient, row offsets, sums and means over the world.

Without a process group everything is a no-op, so one code path serves a laptop and a cluster; there is no rank or
world-size argument: the default process group, where one exists, is found. Every function here is a collective: all
ranks must call it, in the same order, a rank without rows too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

Sizes = tuple[int, ...]
"""rows of every rank, in rank order"""


def world_size() -> int:
    """Ranks of the default process group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Own rank in the default process group; 0 without one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def sizes(n: int) -> Sizes:
    """Rows of every rank, where this one has `n`. Ask once and pass it on when several tensors are gathered."""
    return (n,) if world_size() == 1 else _exchange(n)


def offset(n: int, counts: Sizes | None = None) -> int:
    """Row of the gathered tensor at which this rank's `n` rows start. `counts`: what `sizes(n)` returned."""
    return sum((counts or sizes(n))[: rank()])


def gather(x: Tensor, counts: Sizes | None = None) -> Tensor:
    """Rows of all ranks, in rank order: [n_r, ...] on rank r becomes [sum of n_r, ...] on every rank.

    Any dtype, any and also unequal n_r, zero included; trailing shapes and dtype must agree. The backward pass sums
    over ranks the gradient of the own rows, so a gradient through other ranks' losses is not lost. Where one rank's
    tensor requires a gradient, every rank's must. `counts`: what `sizes(len(x))` returned, to save an exchange.
    """
    if world_size() == 1:
        return x
    gathered: Tensor = _gather_ranks(x, counts or sizes(len(x)))
    return gathered


def scatter_sum(x: Tensor, counts: Sizes) -> Tensor:
    """The transpose of `gather`: [sum of n_r, ...] on every rank, added up over ranks, of which each keeps its rows.

    Rank r gets [n_r, ...]. The backward pass gathers the gradient of all rows on every rank. `counts`: what
    `sizes(n_r)` returned.
    """
    if world_size() == 1:
        return x
    own: Tensor = _scatter_ranks(x, counts)
    return own


def global_sum(x: Tensor) -> Tensor:
    """Sum over ranks, elementwise, same shape on every rank; without gradient (for counts)."""
    return x.detach() if world_size() == 1 else _all_reduce(x, "SUM")


def global_max(x: Tensor) -> Tensor:
    """Largest over ranks, elementwise, same shape on every rank; without gradient (for shifts of exponents)."""
    return x.detach() if world_size() == 1 else _all_reduce(x, "MAX")


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """The rank's share of a mean over the world: `R * total / (sum over ranks of count)`.

    With `total` the rank's own sum of anchor losses and `count` its number of anchors, the average of the results over
    ranks is the mean over all anchors of the world, and after DDP's averaging so is the gradient, for any row counts.
    A count of zero in the world gives `R * total`, which keeps the graph: a zero where `total` is an empty sum.
    """
    return total * world_size() / global_sum(count).clamp(min=1)


Function = TypeVar("Function", bound=Callable[..., Any])


def _eager(function: Function) -> Function:
    # A collective breaks the graph of torch.compile; without a process group none of these is reached.
    return cast(Function, torch.compiler.disable(function))  # type: ignore[no-untyped-call]


@_eager
def _exchange(n: int) -> Sizes:
    counts = torch.zeros(world_size(), dtype=torch.int64, device=_device())
    counts[rank()] = n
    dist.all_reduce(counts)
    return tuple(counts.tolist())


def _device() -> torch.device:
    accelerator = torch.accelerator.current_accelerator()
    on_cpu = accelerator is None or any(name in str(dist.get_backend()) for name in ("gloo", "mpi"))
    return torch.device("cpu") if on_cpu or accelerator is None else accelerator


@_eager
def _all_reduce(x: Tensor, operation: str) -> Tensor:
    reduced = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(reduced, getattr(dist.ReduceOp, operation))
    return reduced


@_eager
def _gather_ranks(x: Tensor, counts: Sizes) -> Any:
    return _Gather.apply(x, counts)


class _Gather(torch.autograd.Function):
    """torch.distributed.nn.functional.all_gather is deprecated and wants equal rows, hence our own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: Sizes) -> Tensor:
        ctx.counts = counts
        if x.dtype == torch.bool:
            return _all_gather(x.to(torch.uint8), counts).to(torch.bool)
        return _all_gather(x.detach(), counts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _scatter_ranks(grad, ctx.counts), None  # itself differentiable, as is gather's below


@_eager
def _scatter_ranks(x: Tensor, counts: Sizes) -> Any:
    return _Scatter.apply(x, counts)


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: Sizes) -> Tensor:
        ctx.counts = counts
        return _reduce_scatter(x.detach(), counts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _gather_ranks(grad, ctx.counts), None


def _all_gather(x: Tensor, counts: Sizes) -> Tensor:
    rows = max(counts)
    mine = _pad(x, rows)
    out = mine.new_empty((len(counts) * rows, *x.shape[1:]))

    def by_sum() -> None:
        out.zero_()[rank() * rows : (rank() + 1) * rows] = mine
        dist.all_reduce(out)

    _first_supported(lambda: dist.all_gather_into_tensor(out, mine), by_sum)
    blocks = out.view(len(counts), rows, *x.shape[1:])
    return torch.cat([block[:n] for block, n in zip(blocks, counts, strict=True)])


def _reduce_scatter(grad: Tensor, counts: Sizes) -> Tensor:
    rows = max(counts)
    blocks = torch.cat([_pad(block, rows) for block in torch.split(grad, list(counts))])
    mine = grad.new_empty((rows, *grad.shape[1:]))

    def by_sum() -> None:
        dist.all_reduce(blocks)
        mine.copy_(blocks[rank() * rows : (rank() + 1) * rows])

    _first_supported(lambda: dist.reduce_scatter_tensor(mine, blocks), by_sum)
    return mine[: counts[rank()]]


def _pad(x: Tensor, rows: int) -> Tensor:
    return F.pad(x, (0, 0) * (x.dim() - 1) + (0, rows - len(x))).contiguous()


def _first_supported(collective: Callable[[], object], by_all_reduce: Callable[[], None]) -> None:
    # Some backends lack the tensor collectives and say so before communicating, on every rank alike.
    try:
        collective()
    except (NotImplementedError, RuntimeError) as error:
        if not isinstance(error, NotImplementedError) and "support" not in str(error):
            raise
        by_all_reduce()
