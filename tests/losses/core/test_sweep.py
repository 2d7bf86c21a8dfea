"""Sums of the core and their gradients against plain tensors of all pairs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nearfar.losses.core import Contrast, Pairs, Power, bank_lse, row_slabs, tile, two_sided
from nearfar.losses.core import engine as engine_module
from nearfar.losses.core.sums import OnlineSums

POWERS = [
    (Power(1.0, 1.0),),
    (Power(1.0, 1.0), Power(2.0, 2.0)),
    (Power(0.5, 0.5), Power(1.5, 1.5)),
    (Power(1.0, 1.0), Power(-1.0, -1.0)),
]
SCALES = [0.01, 10.0, 3000.0]


def rows(n: int, dim: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(n, dim, dtype=dtype), dim=1).requires_grad_()


def lse(s: Tensor, mask: Tensor) -> Tensor:
    return s.masked_fill(~mask, -torch.inf).logsumexp(1)


def agree(x: list[Tensor], got: Tensor, expected: Tensor, tolerance: float = 1e-11) -> None:
    """Values, and gradients of one random weighting."""
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
    weight = torch.randn_like(expected)
    gradients = [torch.autograd.grad((out * weight).sum(), x) for out in (got, expected)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=float(b.abs().max()) * tolerance)


def near_far(groups: Tensor) -> tuple[Tensor, Tensor]:
    same = groups[:, None] == groups[None]
    return same & ~torch.eye(len(groups), dtype=torch.bool), ~same


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("powers", POWERS, ids=lambda p: ",".join(str(q.exponent) for q in p))
def test_sums_and_gradients(powers: tuple[Power, ...], scale: float) -> None:
    x, groups = rows(23), torch.arange(23) % 4
    near, far = near_far(groups)
    with tile(5):
        got = Contrast(x, groups).sums(scale, powers, linear=True, near=True)
    s = scale * x @ x.T
    expected = [(s * near).sum(1), lse(s, near), *(lse(p.exponent * s, far) for p in powers)]
    agree([x], got, torch.stack(expected))


def test_inverses_of_large_exponentials() -> None:
    """Of rows of length 40: what keeps exp(1600) small would let the inverse of exp(-1600) overflow."""
    x, groups = rows(23).detach().mul(40).requires_grad_(), torch.arange(23) % 4
    far = near_far(groups)[1]
    with tile(5):
        got = Contrast(x, groups).sums(1.0, (Power(1.0, 1.0), Power(-1.0, -1.0)))[2:]
    s = x @ x.T
    agree([x], got, torch.stack([lse(s, far), lse(-s, far)]))


def test_sums_without_a_gradient_leave_later_ones_theirs() -> None:
    x, groups = rows(23), torch.arange(23) % 4
    contrast = Contrast(x, groups)
    with torch.no_grad():
        constant = contrast.sums(2.0, POWERS[0])[2]
    assert not constant.requires_grad
    for _ in range(2):  # and a backward pass leaves the next one its own
        agree([x], contrast.sums(2.0, POWERS[0])[2], lse(2.0 * x @ x.T, near_far(groups)[1]))


def test_autocast_around_the_sums_changes_nothing() -> None:
    x, groups = rows(40, dtype=torch.float32), torch.arange(40) % 4

    def every() -> list[Tensor]:
        return [
            Contrast(x, groups).sums(5.0, POWERS[0], near=True)[1:],
            Contrast(x, groups).pair_sums(
                lambda s, level, pairs: (s * pairs.near).sum(1)[None], x.new_zeros(0, 40), 1, 5.0
            ),
            two_sided(x, x.flip(0))[1][2],
            bank_lse(x, x.detach()),
            row_slabs(x, x, lambda s, rows: s.logsumexp(1)[None], 1),
        ]

    expected = every()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = every()
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_weights_of_negatives_may_be_held_constant() -> None:
    """LSE(s + g stop(s)) - LSE(g stop(s)), as a row kernel writes it."""
    x, groups = rows(17), torch.arange(17) % 3
    far = near_far(groups)[1]
    with tile(4):
        beta, both = Contrast(x, groups).sums(8.0, (Power(0.5, 0.0), Power(1.5, 1.0)))[2:]
    s = 8.0 * x @ x.T
    constant = 0.5 * s.detach()
    agree([x], both - beta, lse(s + constant, far) - lse(constant, far))


def test_keys_are_columns_like_others() -> None:
    x, keys = rows(13), rows(7)
    groups, key_groups = torch.arange(13) % 4, torch.arange(7) % 5
    with tile(3):
        got = Contrast(x, groups, keys=keys, key_groups=key_groups).sums(6.0, POWERS[0], linear=True, near=True)
    s = 6.0 * x @ torch.cat([x, keys]).T
    extra = groups[:, None] == key_groups[None]
    near = torch.cat([near_far(groups)[0], extra], 1)
    far = torch.cat([near_far(groups)[1], ~extra], 1)
    agree([x, keys], got, torch.stack([(s * near).sum(1), lse(s, near), lse(s, far)]))


@pytest.mark.parametrize("scale", SCALES)
def test_both_sides_from_one_pass(scale: float) -> None:
    x, y = rows(14), rows(14)
    with tile(4):
        near, far = two_sided(scale * x, y)[:2]
        got = torch.stack([near[0], near[2], far[2]])
    s = scale * x @ y.T
    other = ~torch.eye(14, dtype=torch.bool)
    agree([x, y], got, torch.stack([s.diagonal(), lse(s, other), lse(s.T, other)]))


def test_rows_that_the_constant_shift_loses_go_online(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row opposite to all others: e^(s - m) is 0 in single precision for all its negatives."""
    made: list[OnlineSums] = []
    online = OnlineSums
    monkeypatch.setattr(engine_module, "OnlineSums", lambda *a: made.append(online(*a)) or made[-1])
    x = torch.tensor([[1.0, 0.0]]).repeat(6, 1)
    x[0] = -x[0]
    x = (x + 0.01 * torch.randn(6, 2)).requires_grad_()
    groups = torch.arange(6)
    with tile(2):
        got = Contrast(x, groups).sums(100.0, POWERS[0])[2]
    assert len(made) == 1
    s = (x.double() @ x.double().T) * 100.0
    torch.testing.assert_close(got, lse(s, ~torch.eye(6, dtype=torch.bool)).float(), rtol=1e-6, atol=1e-5)
    got.sum().backward()
    assert x.grad.isfinite().all()
    made.clear()
    with tile(2):
        Contrast(x, groups).sums(20.0, POWERS[0])
    assert not made


def test_rows_without_near_or_far_columns_have_no_gradient() -> None:
    x = rows(4)
    with tile(2):
        got = Contrast(x, torch.zeros(4, dtype=torch.int64)).sums(5.0, POWERS[0], near=True)
    assert (got[2] < torch.finfo(got.dtype).min / 4).all() and got[1].isfinite().all()
    torch.where(got[2] > 0, got[2], 0.0).sum().backward()
    assert not x.grad.any()


def test_pair_sums_with_a_level() -> None:
    x, keys, groups = rows(90), rows(30), torch.arange(90) % 7
    key_groups, level = torch.arange(30) % 9, torch.randn(1, 90, dtype=torch.float64, requires_grad=True)

    def kernel(s: Tensor, known: Tensor, pairs: Pairs) -> Tensor:
        return ((s - known[0, :, None]).tanh() * pairs.near).sum(1)[None]

    got = Contrast(x, groups, keys=keys, key_groups=key_groups).pair_sums(kernel, level, 1, 3.0)[0]
    s = 3.0 * x @ torch.cat([x, keys]).T
    near = torch.cat([near_far(groups)[0], groups[:, None] == key_groups[None]], 1)
    agree([x, keys, level], got, ((s - level[0, :, None]).tanh() * near).sum(1))


def test_pair_sums_say_which_rows_and_columns() -> None:
    x, groups = rows(40), torch.randint(0, 5, (40,))
    table = torch.randn(40, 40, dtype=torch.float64)

    def kernel(s: Tensor, _level: Tensor, pairs: Pairs) -> Tensor:
        return (table[pairs.rows[:, None], pairs.columns[None]] * pairs.near * s).sum(1)[None]

    got = Contrast(x, groups).pair_sums(kernel, x.new_zeros(0, 40), 1, 1.0)[0]
    agree([x], got, (table * near_far(groups)[0] * (x @ x.T)).sum(1))


def test_row_slabs_are_the_dense_kernel() -> None:
    x, y = rows(50), rows(20)
    got = row_slabs(x, y, lambda s, which: torch.stack([s.exp().sum(1), s.amax(1) * which.start]), 2)
    s = x @ y.T
    agree([x, y], got[0], s.exp().sum(1))


class TestBank:
    @pytest.mark.parametrize("scale", SCALES)
    @pytest.mark.parametrize("learn", [False, True], ids=["fixed", "learned"])
    def test_value_and_gradient(self, scale: float, learn: bool) -> None:
        x, keys = rows(11), rows(9).detach().requires_grad_(learn)
        with tile(4):
            got = bank_lse(scale * x, keys)
        agree([x, keys] if learn else [x], got, (scale * x @ keys.T).logsumexp(1))

    def test_several_heads(self) -> None:
        x, keys = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True), torch.randn(5, 3, 4).double()
        agree([x], bank_lse(x, keys), torch.einsum("nhd,khd->nhk", x, keys).logsumexp(2))

    def test_no_keys_are_no_rivals(self) -> None:
        x = rows(3)
        got = bank_lse(x, x.detach()[:0])
        assert (got < torch.finfo(got.dtype).min / 4).all()
        got.sum().backward()
        assert not x.grad.any()

    def test_what_the_shift_loses_goes_online(self) -> None:
        x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
        keys = torch.tensor([[-1.0, 0.1], [-0.9, -0.2], [-1.0, 0.0]])
        got = bank_lse(100.0 * x, keys)
        torch.testing.assert_close(got, (100.0 * x.double() @ keys.double().T).logsumexp(1).float(), rtol=1e-6, atol=0)
        got.sum().backward()
        assert x.grad.isfinite().all() and x.grad[0, 0] != 0


def test_a_graph_may_be_walked_twice() -> None:
    x = rows(9)
    with tile(4):
        out = Contrast(x, torch.arange(9) // 2).sums(4.0, POWERS[0], linear=True)[2].sum()
    first = torch.autograd.grad(out, x, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(out, x)[0])


@pytest.mark.slow
def test_compiled_code_may_hold_tiles() -> None:
    def function(x: Tensor) -> Tensor:
        with tile(4):
            return Contrast(x * 2, torch.arange(9) // 2).sums(4.0, POWERS[0])[2].sum()

    torch.compiler.reset()
    x = rows(9)
    compiled = torch.compile(function, backend="aot_eager")
    expected, got = function(x), compiled(x)
    torch.testing.assert_close(torch.autograd.grad(got, x), torch.autograd.grad(expected, x), rtol=1e-12, atol=1e-13)
