"""The contrast core: log-sum-exps and pair sums of similarities in tiles, linear in memory, with exact gradients.

See docs/core.md. The losses use `Contrast`, `two_sided`, `bank_lse` and `row_slabs`; so may other code.
"""

from nearfar.losses.core.bank import bank_lse
from nearfar.losses.core.choose import AUTO_PAIRS, Memory, tiled
from nearfar.losses.core.contrast import Contrast, Exchange, Pairs, two_sided
from nearfar.losses.core.layout import tile
from nearfar.losses.core.rowwise import row_slabs
from nearfar.losses.core.softplus import Terms
from nearfar.losses.core.sums import Power

__all__ = [
    "AUTO_PAIRS",
    "Contrast",
    "Exchange",
    "Memory",
    "Pairs",
    "Power",
    "Terms",
    "bank_lse",
    "row_slabs",
    "tile",
    "tiled",
    "two_sided",
]
