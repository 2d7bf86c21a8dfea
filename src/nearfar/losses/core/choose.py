"""Dense or tiled: by size alone, alike on every rank."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from nearfar import parallel
from nearfar.errors import ConfigError

Memory = Literal["auto", "dense", "tiled"]
MEMORY = ("auto", "dense", "tiled")
AUTO_PAIRS = 512 * 512
"""pairs of a rank from which "auto" takes tiles: where they begin to be faster on a CPU"""


def tiled(memory: str, exchange: str, rows: Tensor, keys: Tensor | None = None, later: int = 1) -> bool:
    """Whether to compute in tiles. ConfigError for an unknown name, or for a ring with dense memory.

    later: how many times AUTO_PAIRS a loss needs before tiles pay, where they are costlier than usual.
    """
    from nearfar.losses._common import one_of

    one_of("memory", memory, MEMORY)
    one_of("exchange", exchange, ("gather", "ring"))
    if exchange == "ring" and memory == "dense":
        raise ConfigError("a ring has no dense form", found="memory='dense', exchange='ring'", fix="Use memory='auto'.")
    if memory != "auto" or exchange == "ring":
        return memory != "dense"
    # The largest rank decides for all: ranks that disagree would wait for each other.
    counts = parallel.sizes(len(rows))
    return max(counts) * (sum(counts) + (0 if keys is None else len(keys))) > later * AUTO_PAIRS
