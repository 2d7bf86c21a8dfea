"""Keys that travel from rank to rank, so that none ever holds more than one other rank's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from nearfar import parallel


@dataclass(frozen=True)
class Ring:
    """The ranks in a circle; `counts`: rows of each."""

    counts: parallel.Sizes

    def rotate(self, y: Tensor, dy: Tensor | None = None) -> Iterator[tuple[int, tuple[Tensor, Tensor | None]]]:
        """Every rank's rows in turn, own rows first: (rank they come from, (rows, their gradient)).

        A gradient travels with its rows, is added to in place on the way, and is in `dy` once it is back home. All
        ranks must go round together.
        """
        home, ranks = parallel.rank(), len(self.counts)
        block, d_block = y, None if dy is None else dy.clone()
        for step in range(ranks):
            source = (home - step) % ranks
            yield source, (block, d_block)
            if step + 1 < ranks or d_block is not None:
                rows = self.counts[(source - 1) % ranks]
                block = _pass_on(block, rows)
                d_block = None if d_block is None else _pass_on(d_block, rows)
        if dy is not None and d_block is not None:
            dy.copy_(d_block)


def _pass_on(x: Tensor, rows: int) -> Tensor:
    """Send x to the next rank and receive that many rows from the one before."""
    ranks, home = parallel.world_size(), parallel.rank()
    received = x.new_empty(rows, *x.shape[1:])
    operations = [dist.P2POp(dist.isend, x.contiguous(), (home + 1) % ranks)] if len(x) else []
    if rows:
        operations.append(dist.P2POp(dist.irecv, received, (home - 1) % ranks))
    for work in dist.batch_isend_irecv(operations) if operations else []:
        work.wait()
    if x.is_cuda:
        torch.cuda.current_stream().synchronize()
    return received
