"""Fused kernels: their numbers in Triton's interpreter, whether they compile, and the way back to tiles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.losses import supcon
from nearfar.losses.core import fused
from nearfar.losses.core.engine import Plan, _Sweep
from nearfar.losses.core.layout import Layout
from nearfar.losses.core.sums import Power, Wanted

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
CPU = torch.device("cpu")
FORM = fused.Form(CPU, 8, True, True, True, True, False)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The way a GPU takes, on CPU tensors."""
    monkeypatch.setattr(fused, "available", lambda device: True)
    monkeypatch.setattr(fused, "_trusted", {})
    yield


def problem() -> tuple[Tensor, Tensor]:
    return torch.randn(70, 8, requires_grad=True), torch.randint(0, 4, (70,))


def use(monkeypatch: pytest.MonkeyPatch, error: float) -> dict[str, int]:
    """Tiles in place of kernels, wrong by `error`; counts their launches."""
    calls = {"sums": 0, "gradient": 0}

    def sums(x: Tensor, y: Tensor, layout: Layout, wanted: Wanted) -> Tensor:
        calls["sums"] += 1
        return _Sweep.apply(x, None if y is x else y, Plan((layout,), wanted))[0] * (1 + error)

    def gradient(x: Tensor, y: Tensor, layout: Layout, wanted: Wanted, rows: Any, columns: Any) -> Tensor:
        calls["gradient"] += 1
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(_Sweep.apply(x, None, Plan((layout,), wanted))[0], x, rows.grad)[0]

    monkeypatch.setattr(fused, "_kernels", lambda: SimpleNamespace(sums=sums, gradient=gradient))
    return calls


def answer(z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    loss = supcon(z, labels, memory="tiled")
    return loss.detach(), torch.autograd.grad(loss, z)[0]


def test_right_kernels_are_used(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = use(monkeypatch, 0.0)
    z, labels = problem()
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer(z, labels)
        assert calls == {"sums": 2, "gradient": 2}, "the check and the loss"
        answer(z, labels)
    assert calls == {"sums": 3, "gradient": 3}, "checked once"
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("error", [1e-3, float("nan")])
def test_wrong_kernels_are_never_used(on_cpu: None, monkeypatch: pytest.MonkeyPatch, error: float) -> None:
    z, labels = problem()
    calls = use(monkeypatch, error)
    with pytest.warns(UserWarning, match="tiles are used instead") as caught:
        got = [answer(z, labels) for _ in range(2)]
    assert len(caught) == 1
    assert calls["sums"] == 1, "only the check"
    monkeypatch.setattr(fused, "available", lambda device: False)
    expected = answer(z, labels)
    assert all(torch.equal(a, b) for pair in got for a, b in zip(pair, expected, strict=True))


def test_wrong_gradients_are_found(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, 0.0)
    right = fused._kernels()

    def gradient(*arguments: Any) -> Tensor:
        return right.gradient(*arguments) * 1.01

    monkeypatch.setattr(fused, "_kernels", lambda: SimpleNamespace(sums=right.sums, gradient=gradient))
    with pytest.warns(UserWarning, match=r"off by 1\.0e-02"):
        assert not fused.trusted(FORM, _Sweep.apply)


@needs_triton
def test_kernels_that_cannot_be_launched_leave_tiles(on_cpu: None) -> None:
    """Without its interpreter Triton refuses CPU tensors."""
    with pytest.warns(UserWarning, match="no fused kernel on cpu"):
        loss, _ = answer(*problem())
    assert torch.isfinite(loss)


def test_one_warning_a_device(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, 1e-3)
    with pytest.warns(UserWarning) as caught:
        for width in (8, 12):
            assert not fused.trusted(FORM._replace(width=width), _Sweep.apply)
    assert len(caught) == 1


def test_check_does_not_depend_on_defaults(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, 0.0)
    old = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            x, y, plan = fused._problem(FORM._replace(symmetric=False))
    finally:
        torch.set_default_dtype(old)
    assert y is not None and x.dtype == y.dtype == torch.float32
    assert {x.device, y.device, plan.layouts[0].rows.device} == {CPU}
    with torch.inference_mode():
        assert fused.trusted(FORM, _Sweep.apply)


def test_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_installed", lambda: True)
    assert fused.available(torch.device("cuda"))
    assert not fused.available(CPU)
    monkeypatch.setenv("NEARFAR_FUSED", "0")
    assert not fused.available(torch.device("cuda"))
    monkeypatch.delenv("NEARFAR_FUSED")
    monkeypatch.setattr(fused, "_installed", lambda: False)
    assert not fused.available(torch.device("cuda"))


@pytest.mark.parametrize(
    ("x", "powers"),
    [
        (torch.zeros(4, 8, dtype=torch.float64), (1.0,)),
        (torch.zeros(4, fused.WIDEST + 1), (1.0,)),
        (torch.zeros(0, 8), (1.0,)),
        (torch.zeros(4, 8), (2.0,)),
        (torch.zeros(4, 8), (1.0, 2.0)),
    ],
    ids=["float64", "wide", "empty", "squares", "two powers"],
)
def test_what_kernels_do_not_serve_stays_with_tiles(on_cpu: None, x: Tensor, powers: tuple[float, ...]) -> None:
    numbers = torch.arange(len(x))
    layout = Layout(numbers, numbers, numbers, numbers, True, 64)
    plan = Plan((layout,), Wanted(True, False, tuple(Power(p, p) for p in powers)))
    taken = []

    def tiles(x: Tensor, y: Tensor | None, plan: Plan) -> tuple[Tensor, Tensor]:
        taken.append(plan)
        return x, x

    fused.fused_or(tiles, x, None, plan)
    assert taken == [plan] and not fused._trusted


@needs_triton
@pytest.mark.slow
def test_interpreted_kernels_against_float64() -> None:
    """In a process of its own: the variable must be set before triton is imported, and would change later tests."""
    script = [sys.executable, str(HERE / "fused_interpreted.py")]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(script, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) > 20 and "no fused kernel" not in done.stderr
    right = [r["value"] <= 1e-5 and r["gradient"] <= 1e-5 for r in results]
    used = [r["sums_launches"] > 0 and r["gradient_launches"] > 0 for r in results]
    assert all(right) and all(used), results


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["_sum_kernel", "_gradient_kernel"])
@pytest.mark.parametrize("width", [20, 128, 256])
def test_kernels_compile_for_a_gpu(kernel: str, width: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The interpreter runs what the compiler refuses; compiling needs no GPU."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("Triton was imported as an interpreter")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton import compile as build
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from nearfar.losses.core import fused_kernels

    function = getattr(fused_kernels, kernel)
    flags = fused_kernels._constants(torch.zeros(1, width), problem_layout(), Wanted(True, True, ()))
    constants = flags | ({"ROWS": True, "COLUMNS": True} if kernel == "_gradient_kernel" else {})
    signature = {name: "constexpr" if name in constants else type_of(name) for name in function.arg_names}
    places = {(function.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(function, signature=signature, constexprs=places)
    built = build(source, target=GPUTarget("cuda", 80, 32), options=fused_kernels.OPTIONS)
    assert built.metadata.shared < 99 * 1024, "what a program has on small GPUs"


def problem_layout() -> Layout:
    numbers = torch.arange(4)
    return Layout(numbers, numbers, numbers, numbers, True, 64)


def type_of(argument: str) -> str:
    if argument in {"n", "m", "floor"}:
        return "fp32" if argument == "floor" else "i32"
    return "*i64" if argument.endswith(("groups", "numbers")) else "*fp32"
