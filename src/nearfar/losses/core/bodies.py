"""The elementwise work on a far tile, as functions that torch.compile can fuse into one pass over it.

Compiled on CUDA devices; elsewhere plain. NEARFAR_COMPILE=0 turns it off; the name of a backend ("inductor",
"aot_eager") turns it on for every device. Where compiling fails, plain PyTorch serves, after one warning.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from nearfar.losses.core.exponentials import LOG2E

_failed: set[str] = set()


def exponential_sums(s: Tensor, shift: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    """Leave exp(s - shift) in room [h, w], which may be s, and return its sums over columns [h] and over rows [w]."""
    u = room.copy_(torch.add(-LOG2E * shift, s, alpha=LOG2E).exp2())  # as `exponential` does
    return u.sum(1), u.sum(0)


def weigh(u: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """u [h, w] times a factor of its row [h] plus one of its column [w]."""
    return u * (rows[:, None] + columns[None])


def backend(device: torch.device) -> str:
    """What compiles for a device; empty: nothing does."""
    chosen = os.environ.get("NEARFAR_COMPILE", "inductor" if device.type == "cuda" else "0")
    return "" if chosen == "0" or chosen in _failed else chosen


def run(body: Callable[..., Any], *arguments: Tensor) -> Any:
    """body(*arguments), compiled where `backend` says so."""
    name = backend(arguments[0].device)
    if not name:
        return body(*arguments)
    try:
        return _compiled(body, name)(*arguments)
    except Exception as problem:  # whatever a compiler may raise, before it has run anything
        _failed.add(name)
        warnings.warn(f"tiles are not compiled by {name} ({type(problem).__name__}: {problem})", stacklevel=2)
        return body(*arguments)


@cache
def _compiled(body: Callable[..., Any], name: str) -> Callable[..., Any]:
    return torch.compile(body, fullgraph=True, dynamic=True, backend=name)
