"""Plain loops for the contrast of graphs and of their nodes, straight from the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def _views(b: Any) -> tuple[np.ndarray, np.ndarray]:
    z = b.z.detach().double().numpy()
    z = z / np.linalg.norm(z, axis=-1, keepdims=True)
    return z[:, 0], z[:, 1]


def graph_oracle(b: Any) -> float:
    """The mean of two cross-entropies."""
    first, second = _views(b)
    total = 0.0
    for x, y in ((first, second), (second, first)):
        for i in range(len(x)):
            weights = [math.exp(x[i] @ other / b.temperature) for other in y]
            total -= math.log(weights[i] / sum(weights))
    return total / (2 * len(first))


def node_oracle(same_view: bool) -> Callable[[Any], float]:
    """Node by node, with and without the negatives of its own view."""

    def oracle(b: Any) -> float:
        first, second = _views(b)
        total = 0.0
        for x, y in ((first, second), (second, first)):
            for i in range(len(x)):
                own = math.exp(x[i] @ y[i] / b.temperature)
                rivals = [other for k in range(len(x)) if k != i for other in ((y[k], x[k]) if same_view else (y[k],))]
                total -= math.log(own / (own + sum(math.exp(x[i] @ other / b.temperature) for other in rivals)))
        return total / (2 * len(first))

    return oracle
