"""What the ranks of `test_csip` do."""

from __future__ import annotations

import numpy as np
import test_csip
from loops import ddp_gradients, in_double

from nearfar.methods.base import Batch
from nearfar.methods.csip import CSIP


def build() -> tuple[CSIP, Batch]:
    """A method in double precision, and its views of ten pairs."""
    method = test_csip.make(label_smoothing=0.1, threshold=0.8, same_image="mask").double()
    return method, in_double(method.views(test_csip.pairs()))


def gradients(rank: int, chunk: int) -> dict[str, np.ndarray]:
    return ddp_gradients(rank, *build(), chunk)
