"""What the ranks of `test_spatialclip` do."""

from __future__ import annotations

from typing import Any

import numpy as np
from loops import ddp_gradients, in_double
from studies import make, study

from nearfar.methods.base import Batch
from nearfar.methods.spatialclip import SpatialCLIP


def build(kind: str) -> tuple[SpatialCLIP, Batch]:
    """A method in double precision, and its views of ten samples."""
    options: dict[str, Any] = {"fusion": "softmax", "structures": 0.5, "dropout": 0.3}
    method = make(**(options if kind == "all" else {"modalities": ("text",)})).double()
    return method, method.views(in_double(study()))


def gradients(rank: int, kind: str, chunk: int) -> dict[str, np.ndarray]:
    return ddp_gradients(rank, *build(kind), chunk)
