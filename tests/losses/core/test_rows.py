from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from nearfar.losses.core.rows import SMALL, in_order, inverse_order, unit_rows


def rows(n: int = 1100, d: int = 64, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=dtype)
    z[3], z[5] = 0.0, 1e-14  # no direction; shorter than F.normalize divides by
    return z.requires_grad_()


@pytest.mark.parametrize("shape", [(1100, 64), (550, 2, 64)])
def test_unit_rows_are_those_of_normalize_and_so_is_their_gradient(shape: tuple[int, ...]) -> None:
    z = rows()
    assert z.numel() > SMALL
    weight = torch.randn(shape, dtype=z.dtype)
    ours, theirs = unit_rows(z.view(shape)), F.normalize(z.view(shape), dim=-1)
    assert torch.equal(ours, theirs)
    got, expected = (torch.autograd.grad(u.pow(2).mul(weight).sum(), z)[0] for u in (ours, theirs))
    long = torch.tensor([i not in (3, 5) for i in range(len(z))])
    torch.testing.assert_close(got[long], expected[long], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got[~long], expected[~long], rtol=1e-12, atol=1e-12)


def test_second_derivative_of_unit_rows() -> None:
    z = rows()[10:].detach().requires_grad_()
    direction = torch.randn_like(z)
    second = []
    for unit in (unit_rows(z), F.normalize(z, dim=-1)):
        first = torch.autograd.grad(unit.pow(3).sum(), z, create_graph=True)[0]
        second.append(torch.autograd.grad((first * direction).sum(), z)[0])
    torch.testing.assert_close(second[0], second[1], rtol=1e-10, atol=1e-12)


def _along(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(function(forward_ad.make_dual(z, torch.ones_like(z)))).tangent


def _many(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    return torch.autograd.grad(function(z), z, torch.tensor([1.0, 2.0], dtype=z.dtype), is_grads_batched=True)[0]


def _compiled(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    return torch.autograd.grad(torch.compile(function, backend="aot_eager", fullgraph=True)(z), z)[0]


@pytest.mark.parametrize("of", [torch.func.grad, _along, _many, _compiled], ids=["func", "along", "many", "compiled"])
def test_other_ways_to_differentiate_know_unit_rows(of: Callable[..., Tensor]) -> None:
    z, found = rows()[10:].detach().requires_grad_(), []
    for unit in (unit_rows, lambda z: F.normalize(z, dim=-1)):
        torch.compiler.reset()
        function = lambda z, unit=unit: unit(z).pow(3).sum()  # noqa: E731
        found.append(of(function)(z) if of is torch.func.grad else of(function, z))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-12)


def test_rows_in_order_and_back() -> None:
    x = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    order = torch.randperm(20)
    moved = in_order(x, order, 3.0)
    assert torch.equal(moved, x[order] * 3)
    assert torch.equal(order[inverse_order(order)], torch.arange(20))
    weight = torch.randn(20, 3, dtype=torch.float64)
    moved.mul(weight).sum().backward()
    assert torch.equal(x.grad, 3 * weight[inverse_order(order)])
