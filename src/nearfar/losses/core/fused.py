"""The sweep in two Triton launches on a GPU, where it is known to be right; anywhere else, tiles.

It serves what InfoNCE, CLIP, NT-Xent with two views and SupCon ask for (log-sum-exps at one temperature) on float32
rows, which losses make of half precision ones. Before its first use in a form on a device it solves a small problem in
that form and compares with tiles in float64; where it differs or cannot be compiled, that form stays with tiles.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from nearfar.losses.core.layout import Layout
from nearfar.losses.core.once import first_derivative
from nearfar.losses.core.sums import Power, Wanted
from nearfar.losses.core.weights import Side

if TYPE_CHECKING:
    from nearfar.losses.core.engine import Plan

Sweep = Callable[[Tensor, Tensor | None, "Plan"], tuple[Tensor, Tensor]]
WIDEST = 256
"""numbers a row up to which a block of rows and its gradient fit the registers of a program"""
TOLERANCE = 1e-4
"""relative error above which a kernel is not trusted; one that is right has about 1e-6"""
_PLAIN = (Power(1.0, 1.0),)


class Form(NamedTuple):
    """All that decides which kernels are compiled."""

    device: torch.device
    width: int
    linear: bool
    near: bool
    twins: bool
    symmetric: bool
    two_sided: bool


_trusted: dict[Form, bool] = {}


def available(device: torch.device) -> bool:
    """Whether kernels may be tried: a GPU, triton installed, and NEARFAR_FUSED not 0."""
    return device.type == "cuda" and os.environ.get("NEARFAR_FUSED", "1") != "0" and _installed()


@cache
def _installed() -> bool:
    return find_spec("triton") is not None


def fused_or(tiles: Sweep, x: Tensor, y: Tensor | None, plan: Plan) -> tuple[Tensor, Tensor]:
    """`engine.sweep` by kernels where they serve and are trusted, by `tiles` otherwise."""
    if available(x.device) and _serves(x, y, plan) and trusted(_form(x, plan), tiles):
        return _kernel_sweep(x, y, plan)
    return tiles(x, y, plan)


def _serves(x: Tensor, y: Tensor | None, plan: Plan) -> bool:
    tensors = [x] if y is None else [x, y]
    rows = all(t.dtype == torch.float32 and len(t) and 0 < t.shape[1] <= WIDEST for t in tensors)
    return rows and plan.ring is None and plan.wanted.powers == _PLAIN


def _form(x: Tensor, plan: Plan) -> Form:
    twins = plan.layouts[0].row_numbers is not None
    return Form(x.device, x.shape[1], plan.wanted.linear, plan.wanted.near, twins, plan.symmetric, plan.two_sided)


def trusted(form: Form, tiles: Sweep) -> bool:
    """Whether kernels of this form agree with tiles; tried once, with a warning where they do not."""
    if form not in _trusted:
        try:
            error = _error(form, tiles)
            reason = "" if error <= TOLERANCE else f"a small problem is off by {error:.1e}"
        except Exception as problem:  # whatever a compiler may raise: tiles are always there
            reason = f"{type(problem).__name__}: {problem}"
        first = not any(form.device == f.device and not right for f, right in _trusted.items())
        _trusted[form] = not reason
        if reason and first:
            warnings.warn(f"no fused kernel on {form.device}, tiles are used instead ({reason})", stacklevel=2)
    return _trusted[form]


def _error(form: Form, tiles: Sweep) -> float:
    """The largest relative error of sums and gradients, on a problem that does not divide into blocks."""
    with torch.inference_mode(False), torch.enable_grad():
        x, y, plan = _problem(form)
        got = _answers(_kernel_sweep, x, y, plan)
        expected = _answers(tiles, x.double(), None if y is None else y.double(), plan)
    errors = [float((a - b).norm() / b.norm()) for a, b in zip(got, expected, strict=True)]
    return max(errors) if all(e >= 0 for e in errors) else float("nan")


def _problem(form: Form) -> tuple[Tensor, Tensor | None, Plan]:
    from nearfar.losses.core.engine import Plan

    # Nothing here depends on the caller's random state, default device or default dtype.
    generator, cpu = torch.Generator("cpu").manual_seed(0), torch.device("cpu")
    n, m = 150, 150 if form.symmetric else 130
    numbers = torch.arange(n, device=form.device)
    mixed = torch.randint(0, 4, (n,), generator=generator, device=cpu).sort().values
    groups = numbers if form.two_sided else mixed.to(form.device)
    own, theirs = (numbers, numbers[:m]) if form.twins else (None, None)
    layout = Layout(groups, groups[:m], own, theirs, form.symmetric, 64)
    raw = (torch.randn(k, form.width, generator=generator, device=cpu, dtype=torch.float32) for k in (n, m))
    x, y = (3.0 * torch.nn.functional.normalize(t, dim=1).to(form.device) for t in raw)
    plan = Plan((layout,), Wanted(form.linear, form.near, _PLAIN), form.two_sided)
    return x, None if form.symmetric else y, plan


def _answers(sweep: Sweep, x: Tensor, y: Tensor | None, plan: Plan) -> list[Tensor]:
    """The sums that are wanted, and the gradients of one weighting of them."""
    inputs = [t.detach().requires_grad_() for t in (x, y) if t is not None]
    rows, columns = sweep(inputs[0], None if y is None else inputs[1], plan)
    kept = [k for k, wanted in enumerate((plan.wanted.linear, plan.wanted.near, True)) if wanted]
    sums = [side[kept] for side in (rows, columns) if side.shape[1]]
    # A row or column without near ones has half the most negative number for a sum: no part in an error.
    sums = [torch.where(s > -1e30, s, 0.0) for s in sums]
    total = sum((s * torch.linspace(0.1, 1.0, s.numel(), device=s.device).view_as(s)).sum() for s in sums)
    return [s.detach() for s in sums] + list(torch.autograd.grad(total, inputs))  # type: ignore[arg-type]


def _kernel_sweep(x: Tensor, y: Tensor | None, plan: Plan) -> tuple[Tensor, Tensor]:
    return cast(tuple[Tensor, Tensor], _Fused.apply(x, y, plan))


def _kernels() -> ModuleType:
    from nearfar.losses.core import fused_kernels

    return fused_kernels


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, plan: Plan) -> tuple[Tensor, Tensor]:
        x, y = x.detach().contiguous(), None if y is None else y.detach().contiguous()
        other, layout = x if y is None else y, plan.layouts[0]
        rows = _kernels().sums(x, other, layout, plan.wanted)
        columns = rows.new_empty(len(rows), 0)
        if plan.two_sided:
            columns = _kernels().sums(other, x, _mirrored(layout), plan.wanted)
        ctx.plan = plan
        ctx.save_for_backward(x, y, rows, columns)
        return rows, columns

    @staticmethod
    @first_derivative
    def backward(ctx: Any, row_grad: Tensor, column_grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, rows, columns = ctx.saved_tensors
        plan, layout = ctx.plan, ctx.plan.layouts[0]
        mine = Side(rows, row_grad)
        theirs = mine if plan.symmetric else Side(columns, column_grad) if plan.two_sided else None
        dx = _kernels().gradient(x, x if y is None else y, layout, plan.wanted, mine, theirs)
        dy = None
        if y is not None and ctx.needs_input_grad[1]:
            dy = _kernels().gradient(y, x, _mirrored(layout), plan.wanted, theirs, mine)
        return dx, dy, None


def _mirrored(a: Layout) -> Layout:
    """Columns for rows."""
    return Layout(a.columns, a.rows, a.column_numbers, a.row_numbers, False, a.size)
