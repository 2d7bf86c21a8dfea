"""The two-pass step (GradCache, Gao et al. 2021): a contrastive batch of any size in the memory of one chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from nearfar.methods.base import Batch, Method, Output, Projections

Project = Callable[[Batch], Projections]


def two_pass_step(
    method: Method,
    batch: Batch,
    rows: int,
    *,
    project: Project,
    backward: Callable[[Tensor], None],
    unsynced: Callable[[], AbstractContextManager[Any]],
    scale: float = 1.0,
) -> Output:
    """Accumulate the gradient of `scale * method.step(batch).loss`, `rows` samples of the network at a time.

    First pass: projections without a graph; the loss on all of them gives their gradients. Second pass: each chunk
    again, with the same random numbers, its projections pulled along those gradients. Equal to the one-pass step for
    networks that treat samples independently; batch norm sees chunks instead of the batch, and sees them twice.

    Args:
        batch: with `views`; tensors and lists of the batch's length are cut in chunks, the rest goes to every chunk.
        project: `method.project`, through whatever wraps the method.
        backward: called with each loss to differentiate, e.g. the engine's (it may scale).
        unsynced: context in which gradients stay local; only the last chunk is outside of it.

    Returns the step's output, detached.
    """
    chunks = list(_chunks(batch, rows))
    states = []
    projections: list[Projections] = []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_rng_state(chunk))
            projections.append(project(chunk))
    joined = {name: torch.cat([part[name] for part in projections]) for name in projections[0]}
    leaves = {name: tensor.detach().requires_grad_(tensor.is_floating_point()) for name, tensor in joined.items()}
    out = method.criterion(leaves, batch)
    with unsynced():
        # Unscaled by the caller's loss scaling: the second pass applies it once.
        torch.autograd.backward(out.loss * scale)
    gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    start = 0
    for number, (chunk, state) in enumerate(zip(chunks, states, strict=True)):
        size = len(next(iter(projections[number].values())))
        pulls = {name: gradient[start : start + size] for name, gradient in gradients.items()}
        start += size
        with _nothing() if number == len(chunks) - 1 else unsynced():
            with _replayed(state):
                again = project(chunk)
            backward(_pull(again, pulls))
    return Output(out.loss.detach(), out.parts)


def _pull(projections: Projections, gradients: dict[str, Tensor]) -> Tensor:
    """A scalar whose gradient is `gradients`; zero times each other projection keeps them in DDP's graph."""
    terms = [(projections[name] * gradient).sum() for name, gradient in gradients.items()]
    return torch.stack([term for term in terms if term.requires_grad]).sum()


def _chunks(batch: Batch, rows: int) -> Iterator[Batch]:
    count = len(batch["views"])

    def cut(value: Any, start: int) -> Any:
        if isinstance(value, Tensor | list) and (not isinstance(value, Tensor) or value.ndim) and len(value) == count:
            return value[start : start + rows]
        return value

    for start in range(0, count, rows):
        yield {key: cut(value, start) for key, value in batch.items()}


def _rng_state(batch: Batch) -> tuple[Tensor, Tensor | None]:
    device = batch["views"].device
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


@contextmanager
def _replayed(state: tuple[Tensor, Tensor | None]) -> Iterator[None]:
    """The random numbers of the first pass; afterwards the generators go on where they were."""
    cpu, cuda = state
    with torch.random.fork_rng(devices=[] if cuda is None else [torch.cuda.current_device()]):
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda)
        yield


@contextmanager
def _nothing() -> Iterator[None]:
    yield
