"""Exponentials of tiles kept from the forward to the backward pass, as many as a memory budget allows.

The budget is a constant; what does not fit is computed again. The store of a CPU is handed back
after the backward pass and used by the next loss: fresh pages would cost more than they save.
"""

from __future__ import annotations

import os
import threading
from functools import cache

import torch
from torch import Tensor

KEPT_MB = 40.0
"""all tiles of 4,096 rows against themselves; more would make small batches faster yet, and doubling them dearer"""
_free: dict[torch.dtype, Tensor] = {}
_lock = threading.Lock()


def budget(x: Tensor) -> int:
    """Elements like those of x that may be kept: NEARFAR_KEPT megabytes, 40 by default, 0 for none."""
    return int(float(os.environ.get("NEARFAR_KEPT", KEPT_MB)) * 1e6) // x.element_size()


class Kept:
    """Tiles [h, w] by the order in which they come; forward asks for room, backward for what it left there, once."""

    def __init__(self, x: Tensor, pairs: int, share: int = 1) -> None:
        """For at most `pairs` elements, and one of `share` parts of the budget."""
        elements = min(budget(x) // share, pairs)
        self._store: Tensor | None = _take(x, elements)
        self._left = elements
        self._places: list[int] = []

    def room(self, height: int, width: int) -> Tensor | None:
        """Where to put the next tile; None once the store is full."""
        if self._store is None or height * width > self._left:
            self._left = 0
            return None
        start = sum(self._places)
        self._places.append(height * width)
        self._left -= height * width
        return self._store[start : start + height * width].view(height, width)

    def tiles(self) -> list[Tensor]:
        """The kept tiles, flat, in their order; no more after `release`."""
        if self._store is None:
            return []
        return list(torch.split(self._store[: sum(self._places)], self._places))

    def release(self) -> None:
        """Hand the store back: what it held is gone."""
        if self._store is not None and self._store.device.type == "cpu":
            with _lock:
                held = _free.get(self._store.dtype)
                if held is None or len(held) < len(self._store):
                    _free[self._store.dtype] = self._store
        self._store, self._places = None, []


@cache
def keep_freed_memory() -> None:
    """Let glibc keep what tiles free for the next tile; its default hands a megabyte back and faults it in again.

    It learns from the largest block that was mapped and freed, up to 32 MB. This one is never touched, so it costs
    nothing; other allocators are not affected.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8, device="cpu")


def _take(x: Tensor, elements: int) -> Tensor | None:
    if not elements:
        return None
    with _lock:
        held = _free.pop(x.dtype, None) if x.device.type == "cpu" else None
    return held if held is not None and len(held) >= elements else x.new_empty(elements)
