"""Kept exponentials change nothing but the time: values, gradients, a graph walked twice, memory that stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from nearfar.losses import clip_loss, evidential, hcl, nt_xent, supcon
from nearfar.losses.core import engine, kept, slabs, tile

IDS = torch.arange(60) // 2
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "nt_xent": lambda z: nt_xent(z, IDS, memory="tiled"),
    "supcon": lambda z: supcon(z, IDS % 4, memory="tiled"),
    "clip_loss": lambda z: clip_loss(z, z.roll(1, 0) ** 2, scale=5.0, memory="tiled"),
    "hcl": lambda z: hcl(z, IDS, memory="tiled"),
    "evidential": lambda z: evidential(z, IDS % 4, IDS, progress=0.5, memory="tiled"),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(kept, "_free", {})
    with tile(8):
        yield


def answer(loss: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    x = z.clone().requires_grad_()
    value = loss(x)
    return value.detach(), torch.autograd.grad(value, x)[0]


@every_loss
@pytest.mark.parametrize("megabytes", ["0", "0.006", "0.015", "40"])
def test_any_budget_gives_the_same(
    loss: Callable[[Tensor], Tensor], megabytes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = torch.randn(60, 5, dtype=torch.float64)
    monkeypatch.setenv("NEARFAR_KEPT", "0")
    expected = answer(loss, z)
    monkeypatch.setenv("NEARFAR_KEPT", megabytes)
    for _ in range(2):  # in a fresh store, and in the one handed back
        torch.testing.assert_close(answer(loss, z), expected, rtol=1e-13, atol=1e-15)


@every_loss
def test_two_losses_at_once_and_a_graph_walked_twice(loss: Callable[[Tensor], Tensor]) -> None:
    a, b = (torch.randn(60, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    expected = [answer(loss, x.detach())[1] for x in (a, b)]
    first, second = loss(a), loss(b)
    for _ in range(2):
        torch.testing.assert_close(torch.autograd.grad(first, a, retain_graph=True)[0], expected[0])
        torch.testing.assert_close(torch.autograd.grad(second, b, retain_graph=True)[0], expected[1])


@every_loss
@pytest.mark.parametrize("event", ["error", "walk"])
def test_a_walk_that_is_broken_off_or_overtaken_harms_no_other(
    loss: Callable[[Tensor], Tensor], event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a key pressed, or by a second thread: what the first walk has overwritten is not read again."""
    x = torch.randn(60, 5, dtype=torch.float64, requires_grad=True)
    expected = answer(loss, x.detach())[1]
    value, calls, inner = loss(x), [], []

    def add_rows(*arguments: Tensor) -> None:
        calls.append(1)
        if len(calls) == 5:
            if event == "error":
                raise KeyboardInterrupt
            inner.append(torch.autograd.grad(value, x, retain_graph=True)[0])
        real(*arguments)

    real = engine.add_rows
    for module in (engine, slabs):
        monkeypatch.setattr(module, "add_rows", add_rows)
    if event == "error":
        with pytest.raises(KeyboardInterrupt):
            torch.autograd.grad(value, x, retain_graph=True)
    inner.append(torch.autograd.grad(value, x, retain_graph=True)[0])
    for got in inner:
        torch.testing.assert_close(got, expected)


def test_the_store_is_used_again_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.randn(60, 5)
    answer(LOSSES["nt_xent"], z)
    (store,) = kept._free.values()
    answer(LOSSES["nt_xent"], z)
    assert next(iter(kept._free.values())) is store
    few, many = torch.empty(1, 1), torch.empty(1, 1).expand(10**6, 1)
    assert kept.budget(many) * 4 == kept.budget(few) * 4 == 40_000_000
    monkeypatch.setenv("NEARFAR_KEPT", "0")
    assert kept.budget(many) == 0


def test_without_a_gradient_nothing_is_kept() -> None:
    supcon(torch.randn(60, 5), IDS % 4, memory="tiled")
    assert not kept._free
