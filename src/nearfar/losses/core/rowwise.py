"""Any loss whose rows are independent, on slabs of whole rows: the dense kernel itself, in the memory of one slab."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from nearfar.losses.core.layout import Block, slabs
from nearfar.losses.core.slabs import SlabPlan, slab_sums


def row_slabs(x: Tensor, y: Tensor, kernel: Callable[[Tensor, slice], Tensor], outputs: int, whole: int = 1) -> Tensor:
    """[Q, n] of kernel(x[rows] @ y.T [h, m], rows) -> [Q, h], for x [n, D] and y [m, D], both differentiable.

    Four units with the recomputation, and the kernel's temporaries on h x m elements. whole: rows kept in one slab.
    """

    def run(s: Tensor, _level: Tensor, b: Block, _source: int) -> Tensor:
        return kernel(s, slice(b.i0, b.i1))

    cut = slabs(0, len(x), 0, len(y), whole)
    return slab_sums(x, y, x.new_zeros(0, len(x)), SlabPlan((cut,), run, outputs))
