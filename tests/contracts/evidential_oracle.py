"""Plain loops over rows for the principled evidential loss, straight from the formulas; and its registered cases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def _unit(z: Any) -> np.ndarray:
    a = z.detach().double().numpy()
    return a / np.linalg.norm(a, axis=-1, keepdims=True)


def principled_oracle(
    *, progress: float, margin: float | str = "adaptive", gamma: float = 1.0, keys: bool = False, balanced: bool = False
) -> Callable[[Any], float]:
    """Hinge evidence with kappa 10 and W 2; a(t) = progress."""

    def oracle(b: Any) -> float:
        views = b.z.shape[1]
        z, n = _unit(b.z).reshape(-1, b.z.shape[-1]), len(b.z) * views
        y = b.labels.repeat_interleave(views).tolist()
        ids = [("row", i) for i in b.uid.repeat_interleave(views).tolist()]
        if keys:
            z, y = np.concatenate([z, _unit(b.keys)]), y + b.key_labels.tolist()
            ids += [("key", k) for k in range(len(b.keys))]
        s, m = z @ z.T, len(z)

        def strong(i: int, j: int) -> bool:
            return i != j and ids[i] == ids[j]

        def positives(i: int) -> list[int]:
            return [j for j in range(m) if strong(i, j) or (j != i and y[i] >= 0 and y[i] == y[j])]

        def negatives(i: int) -> list[int]:
            return [j for j in range(m) if y[i] >= 0 and y[j] >= 0 and y[i] != y[j]]

        near = [s[i, j] for i in range(n) for j in range(m) if strong(i, j)] or [1.0]
        far = [s[i, j] for i in range(n) for j in negatives(i)]
        c = (np.mean(near) + np.mean(far)) / 2 if margin == "adaptive" else float(margin)

        def weight(i: int, j: int) -> float:
            r, q = 10 * max(0.0, (s[i, j] - c) / (1 - c)), 10 * max(0.0, (c - s[i, j]) / (1 + c))
            return 1.0 if strong(i, j) else (r + progress * 2) / (r + q + 2)

        losses: list[float] = []
        classes: list[int] = []
        for i in range(n):
            w = {j: weight(i, j) for j in positives(i)}
            rivals = negatives(i)
            if not rivals or sum(w.values()) == 0:
                continue
            beta = np.exp(gamma * s[i, rivals] / b.temperature)
            rival = len(rivals) * np.sum(beta / beta.sum() * np.exp(s[i, rivals] / b.temperature))
            pull = sum(wj * math.log1p(rival * math.exp(-s[i, j] / b.temperature)) for j, wj in w.items())
            losses.append(pull / sum(w.values()))
            classes.append(y[i])
        if balanced:
            by_class = [np.mean([x for x, k in zip(losses, classes, strict=True) if k == c]) for c in set(classes)]
            return float(np.mean(by_class))
        return float(np.mean(losses))

    return oracle
