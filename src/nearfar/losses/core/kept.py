"""Exponentials of tiles kept from the forward to the backward pass, as many as a memory budget allows.

The budget is a constant; what does not fit is computed again. The store of a CPU is handed back
after the backward pass and used by the next loss: fresh pages would cost more than they save.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch
from torch import Tensor

from nearfar.losses.core.layout import environment

KEPT_MB = 40.0
"""all tiles of 4,096 rows against themselves; more would make small batches faster yet, and doubling them dearer"""
_free: dict[torch.dtype, Tensor] = {}
_lock = threading.Lock()


def budget(x: Tensor) -> int:
    """Elements like those of x that may be kept: NEARFAR_KEPT megabytes, 40 by default, 0 for none."""
    return int(environment("NEARFAR_KEPT", KEPT_MB) * 1e6) // x.element_size()


class Kept:
    """Tiles [h, w] by the order in which they come; forward asks for room, backward takes what it left there, once."""

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

    @contextmanager
    def tiles(self) -> Iterator[list[Tensor]]:
        """The kept tiles, flat, in their order, to be overwritten; afterwards the store is handed back.

        Only who asks first gets any, at once and for good: another walk of the graph, be it in a second thread or
        after an error in this one, must not read what this one has written.
        """
        with _lock:
            store, self._store = self._store, None
        if store is None:
            yield []
            return
        try:
            yield list(torch.split(store[: sum(self._places)], self._places))
        finally:
            _hand_back(store)

    def release(self) -> None:
        """Hand the store back unread."""
        with self.tiles():
            pass


def taken(kept: Kept | None) -> AbstractContextManager[list[Tensor]]:
    """Its tiles; none where nothing was kept."""
    return kept.tiles() if kept else nullcontext([])


def _hand_back(store: Tensor) -> None:
    if store.device.type == "cpu":
        with _lock:
            held = _free.get(store.dtype)
            if held is None or len(held) < len(store):
                _free[store.dtype] = store


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
