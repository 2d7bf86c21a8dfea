"""Compiled tile bodies give the numbers of plain ones, and a compiler that fails is done without."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nearfar.losses import clip_loss, evidential, nt_xent, supcon
from nearfar.losses.core import bodies, tile

IDS = torch.arange(50) // 2
LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "nt_xent": lambda z: nt_xent(z, IDS, memory="tiled"),
    "supcon": lambda z: supcon(z, IDS % 4, temperature=0.01, memory="tiled"),
    "clip_loss": lambda z: clip_loss(z, z.roll(1, 0) ** 2, scale=5.0, memory="tiled"),
    "evidential": lambda z: evidential(z, IDS % 4, IDS, progress=0.5, memory="tiled"),
}


def answer(loss: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    x = z.clone().requires_grad_()
    with tile(8):
        value = loss(x)
    return value.detach(), torch.autograd.grad(value, x)[0]


def check(backend: str, monkeypatch: pytest.MonkeyPatch, *names: str) -> int:
    """Losses through a backend; returns how many calls went through compiled bodies."""
    z, calls, compiled = torch.randn(50, 5, dtype=torch.float64), [], bodies._compiled
    monkeypatch.setattr(bodies, "_failed", set())
    for loss in (LOSSES[name] for name in names):
        monkeypatch.delenv("NEARFAR_COMPILE", raising=False)
        expected = answer(loss, z)
        monkeypatch.setenv("NEARFAR_COMPILE", backend)
        monkeypatch.setattr(bodies, "_compiled", lambda *a: calls.append(a) or compiled(*a))
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="tiles are not compiled")
            got = answer(loss, z)
        monkeypatch.setattr(bodies, "_compiled", compiled)
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-14)
    return len(calls)


def test_traced_bodies_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[torch.fx.GraphModule] = []

    def counting(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    bodies._compiled.cache_clear()
    compile_with = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **o: compile_with(f, **(o | {"backend": counting})))
    assert check("eager", monkeypatch, "nt_xent") > 20
    assert len(graphs) >= 2, "both bodies were traced, each in one graph"
    bodies._compiled.cache_clear()


@pytest.mark.slow
def test_inductor_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch._inductor")
    torch.compiler.reset()
    assert check("inductor", monkeypatch, *LOSSES) > 20


def test_a_compiler_that_fails_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.randn(50, 5)
    expected = answer(LOSSES["nt_xent"], z)
    monkeypatch.setattr(bodies, "_failed", set())
    monkeypatch.setenv("NEARFAR_COMPILE", "no such backend")
    with pytest.warns(UserWarning, match="tiles are not compiled by no such backend"):
        first = answer(LOSSES["nt_xent"], z)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = answer(LOSSES["nt_xent"], z)
    for got in (first, second):
        assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])


def test_only_gpus_compile_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEARFAR_COMPILE", raising=False)
    assert bodies.backend(torch.device("cpu")) == "" and bodies.backend(torch.device("cuda")) == "inductor"
    monkeypatch.setenv("NEARFAR_COMPILE", "0")
    assert bodies.backend(torch.device("cuda")) == ""
