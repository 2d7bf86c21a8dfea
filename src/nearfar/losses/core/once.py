"""First derivatives alone, and not in silence."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nearfar.errors import ConfigError
from nearfar.losses.core.rows import transformed


def first_derivative(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A Function's backward that refuses to be differentiated: ConfigError where a graph of the gradient is wanted.

    once_differentiable alone is not enough: torch.autograd.grad goes round the error that it leaves in the graph, and
    returns a second derivative in which the part through this function is missing.
    """
    first: Callable[..., Any] = once_differentiable(backward)

    @wraps(backward)
    def run(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():
            raise ConfigError(
                "a loss in tiles, or of opinions, has first derivatives alone",
                found="create_graph=True",
                fix="Pass memory='dense', except to the principled evidential loss.",
            )
        return first(ctx, *gradients)

    return cast(Callable[..., Any], run)


def once(x: Tensor) -> Tensor:
    """x itself, whose gradient refuses to be differentiated: for values that carry a gradient made by hand."""
    return x if transformed() else cast(Tensor, _Once.apply(x))


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad
