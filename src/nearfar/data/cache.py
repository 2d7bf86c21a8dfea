"""Decoded samples in memory, up to a budget of bytes."""

from __future__ import annotations

import threading
from collections.abc import Hashable

from torch import Tensor
from torch.utils.data import get_worker_info

Item = tuple[Tensor, Tensor | None]
"""image and mask"""


class SampleCache:
    """Keeps items until the budget is spent; nothing is thrown out, so all epochs cost the same.

    Loader workers, which each have a copy, share the budget. A copy sent to a spawned process starts empty.
    """

    def __init__(self, budget: int) -> None:
        self.budget, self.used = budget, 0
        self._items: dict[Hashable, Item] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Item | None:
        """The item, where it was kept."""
        return self._items.get(key)

    def put(self, key: Hashable, item: Item) -> None:
        """Keeps the item if the budget allows."""
        nbytes = sum(part.nbytes for part in item if part is not None)
        worker = get_worker_info()
        with self._lock:
            if self.used + nbytes <= self.budget // (worker.num_workers if worker else 1):
                self._items[key] = item
                self.used += nbytes

    def __reduce__(self) -> tuple[type[SampleCache], tuple[int]]:
        return SampleCache, (self.budget,)
