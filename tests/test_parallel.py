"""Without a process group everything is a no-op; with one, see tests/distributed."""

from __future__ import annotations

import torch

from nearfar import parallel


def test_gather_without_a_group_is_the_tensor_itself() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert parallel.gather(x) is x
    assert parallel.scatter_sum(x, (3,)) is x and not parallel.global_max(x).requires_grad


def test_the_world_is_one_rank() -> None:
    assert (parallel.world_size(), parallel.rank(), parallel.sizes(5), parallel.offset(5)) == (1, 0, (5,), 0)


def test_sums_and_means() -> None:
    total = torch.tensor(6.0, requires_grad=True)
    assert not parallel.global_sum(total).requires_grad and parallel.global_sum(total) == 6
    mean = parallel.global_mean(total, torch.tensor(4))
    mean.backward()
    assert mean == 1.5 and total.grad == 0.25


def test_a_mean_of_nothing_is_a_zero_with_a_graph() -> None:
    z = torch.randn(3, requires_grad=True)
    mean = parallel.global_mean(z[:0].sum(), torch.tensor(0))
    mean.backward()
    assert mean == 0 and torch.equal(z.grad, torch.zeros(3))


def test_no_graph_break_without_a_group() -> None:
    x = torch.randn(3, 2)
    compiled = torch.compile(lambda x: parallel.gather(x) + parallel.offset(3), backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), x)
