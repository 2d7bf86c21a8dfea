"""The learning rate as a pure function of the step, so a resumed run needs no scheduler state."""

from __future__ import annotations

import math


def cosine(step: int, total: int, warmup: int, peak: float, floor: float) -> float:
    """Linear warm-up over `warmup` steps to `peak`, then half a cosine that ends at `floor` with the last step.

    Steps count from 0; the first one already moves (peak / warmup).
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return _half_cosine((step - warmup) / max(1, total - 1 - warmup), peak, floor)


def published(epoch: int, epochs: int, warmup: int, peak: float, floor: float) -> float:
    """DiSCO's published schedule, constant within an epoch: floor + (peak - floor) (e/w)^2, then half a cosine.

    The cosine would reach `floor` one epoch after the last.
    """
    if epoch < warmup:
        return floor + (peak - floor) * (epoch / warmup) ** 2
    return _half_cosine((epoch - warmup) / max(1, epochs - warmup), peak, floor)


def _half_cosine(progress: float, peak: float, floor: float) -> float:
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
