"""What the ranks of `gloo_pool` do in the tests; tensors travel as NumPy arrays."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from loss_batch import make_batch
from loss_cases import BY_NAME
from torch import Tensor, nn

from nearfar import parallel
from nearfar.losses import CLIPLoss, Relations, clip_loss, nt_xent, supcon
from nearfar.losses.core import engine, tile
from nearfar.memory import Queue

INPUTS = 5


def shard(sizes: tuple[int, ...], rank: int) -> torch.Tensor:
    """Row numbers of a rank."""
    return torch.arange(sum(sizes))[sum(sizes[:rank]) : sum(sizes[: rank + 1])]


def loss_and_gradient(
    name: str, labels: list[int], views: int, rows: Tensor, form: str = "function"
) -> tuple[float, np.ndarray]:
    """Loss of the rows, and its gradient in the weights of a small model that makes the embeddings."""
    batch = make_batch(labels, views=views)
    source = torch.Generator().manual_seed(3)
    x = torch.randn(len(labels), INPUTS, generator=source, dtype=torch.float64)
    weight = torch.randn(INPUTS, batch.z[0].numel(), generator=source, dtype=torch.float64, requires_grad=True)
    z = torch.tanh(x[rows] @ weight).reshape(len(rows), views, batch.z.shape[-1])
    loss = getattr(BY_NAME[name], form)(replace(batch.rows(rows), z=z))
    loss.backward()
    assert weight.grad is not None
    return loss.item(), weight.grad.numpy()


def loss_share(
    rank: int, name: str, labels: list[int], views: int, sizes: tuple[int, ...], form: str = "function"
) -> tuple[float, np.ndarray, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss, gradient = loss_and_gradient(name, labels, views, shard(sizes, rank), form)
    return loss, gradient, [str(w.message) for w in caught]


def gather_share(rank: int, sizes: tuple[int, ...], dtype: str, fallback: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The gathered rows, and the gradient of a different weighting on every rank."""
    x = (torch.arange(sum(sizes) * 6).reshape(-1, 3, 2) % 5)[shard(sizes, rank)].to(getattr(torch, dtype))
    if not x.is_floating_point():
        return _with(fallback, lambda: parallel.gather(x)).numpy(), None
    x.requires_grad_()

    def both() -> Tensor:
        gathered = parallel.gather(x)
        (gathered * (rank + 1) * torch.arange(len(gathered))[:, None, None]).sum().backward()
        return gathered

    gathered = _with(fallback, both)
    assert x.grad is not None
    return gathered.detach().numpy(), x.grad.numpy()


def curvature_share(rank: int, sizes: tuple[int, ...]) -> np.ndarray:
    """Second derivative through rows of other ranks: of the squared gradient of a dense loss."""
    z = torch.randn(sum(sizes), 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = shard(sizes, rank)
    mine = z[rows].requires_grad_()
    loss = supcon(mine, rows % 2, memory="dense") / len(sizes)
    gradient = torch.autograd.grad(loss, mine, create_graph=True)[0]
    return torch.autograd.grad(gradient.square().sum(), mine)[0].numpy()


def _with(fallback: bool, call: Any) -> Tensor:
    kept = dist.all_gather_into_tensor, dist.reduce_scatter_tensor

    def refuse(*_: object) -> None:
        raise RuntimeError("backend does not support this")

    if fallback:
        dist.all_gather_into_tensor = dist.reduce_scatter_tensor = refuse
    try:
        result: Tensor = call()
    finally:
        dist.all_gather_into_tensor, dist.reduce_scatter_tensor = kept
    return result


def bookkeeping(rank: int, sizes: tuple[int, ...]) -> dict[str, Any]:
    n = sizes[rank]
    total = torch.full((n,), 2.0).sum()
    return {
        "rank": parallel.rank(),
        "world": parallel.world_size(),
        "sizes": parallel.sizes(n),
        "offset": parallel.offset(n),
        "sum": parallel.global_sum(torch.tensor([n, 1])).tolist(),
        "mean": float(parallel.global_mean(total, torch.tensor(n))),
    }


def enqueue_shares(rank: int, sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    queue = Queue(2, 5)
    rows = shard(sizes, rank)
    queue.enqueue(rows[:, None].expand(-1, 2).double(), rows)
    keys, labels = queue.contents()
    return keys.numpy(), labels.numpy()


class TwoViews(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
        self.clip = CLIPLoss().double()

    def forward(self, x: Tensor) -> Tensor:
        z = self.net(x.flatten(0, 1)).reshape(len(x), 2, 3)
        return nt_xent(z) + self.clip(z[:, 0], z[:, 1])


def clip_in_tiles(
    rank: int, sizes: tuple[int, ...], ids: list[int] | None, use: str, temperature: float, dtype: str = "float64"
) -> tuple[float, np.ndarray, int]:
    """Loss and gradient, in a small model's weights and the scale, and pairs multiplied in the forward pass."""
    source, mine, pairs = torch.Generator().manual_seed(4), shard(sizes, rank), 0
    x = torch.randn(sum(sizes), 2, INPUTS, generator=source, dtype=torch.float64).to(getattr(torch, dtype))
    weight = torch.randn(INPUTS, 4, generator=source, dtype=torch.float64).to(x).requires_grad_()
    scale = x.new_tensor(1 / temperature).requires_grad_()
    z0, z1 = torch.tanh(x[mine] @ weight).unbind(1)
    known = None if ids is None else Relations(torch.tensor(ids)[mine], use=use)  # type: ignore[arg-type]
    product = engine.outer

    def counted(a: Tensor, b: Tensor) -> Tensor:
        nonlocal pairs
        pairs += len(a) * len(b)
        return product(a, b)

    engine.outer = counted
    try:
        with tile(3):
            loss = clip_loss(z0, z1, scale=scale, relations=known, memory="tiled")
    finally:
        engine.outer = product
    loss.backward()
    return loss.item(), torch.cat([weight.grad.flatten(), scale.grad[None]]).numpy(), pairs


def scatter_share(rank: int, sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Own rows of the sum over ranks, the gradient of weighting them by their number, and the largest over ranks."""
    x = (torch.arange(sum(sizes) * 2.0).reshape(-1, 2) * (rank + 1)).requires_grad_()
    own = parallel.scatter_sum(x, parallel.sizes(sizes[rank]))
    (own * shard(sizes, rank)[:, None]).sum().backward()
    return own.detach().numpy(), x.grad.numpy(), parallel.global_max(-x).numpy()


def parameter_gradients(model: nn.Module) -> np.ndarray:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).numpy()


def ddp_inputs(n: int) -> Tensor:
    return torch.randn(n, 2, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def ddp_share(rank: int, sizes: tuple[int, ...]) -> np.ndarray:
    """Gradient after a real DistributedDataParallel backward, learned CLIP scale included."""
    model = nn.parallel.DistributedDataParallel(TwoViews())
    model(ddp_inputs(sum(sizes))[shard(sizes, rank)]).backward()
    return parameter_gradients(model)


def die_or_gather(rank: int, victim: int) -> None:
    if rank == victim:
        os._exit(1)
    parallel.gather(torch.ones(2, 2))


def joined(name: str, labels: list[int], views: int) -> tuple[float, np.ndarray]:
    """The single-process answer."""
    return loss_and_gradient(name, labels, views, torch.arange(len(labels)))
