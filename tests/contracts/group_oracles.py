"""Plain loops for group attraction and contrast over time, straight from the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def _unit(z: Tensor) -> np.ndarray:
    a = z.detach().double().numpy()
    return a / np.linalg.norm(a, axis=-1, keepdims=True)


def group_oracle(form: str) -> Callable[[Any], float]:
    """The views are the groups."""

    def oracle(b: Any) -> float:
        z, n = b.z.detach().double().numpy(), len(b.z)
        q, unit = z.mean(1) / np.linalg.norm(z.mean(1), axis=1, keepdims=True), _unit(b.z)
        if form == "attract":
            return float(np.mean([1 - unit[i, g] @ q[i] for i in range(n) for g in range(z.shape[1])]))
        if form == "reference_margin":
            distances = [np.linalg.norm(z[i, g] - q[i] + 1e-6) for i in range(n) for g in range(z.shape[1])]
            return float(np.mean([(1 - d) ** 2 for d in distances]))
        losses = []
        for g in range(z.shape[1]):
            for near, far in ((unit[:, g], q), (q, unit[:, g])):
                for i in range(n):
                    others = [x[j] for x in (near, far) for j in range(n) if j != i]
                    own = near[i] @ far[i] / b.temperature
                    rivals = sum(math.exp(near[i] @ x / b.temperature) for x in others)
                    losses.append(math.log1p(rivals / math.exp(own)))
        return float(np.mean(losses))

    return oracle


def place_oracle(in_batch: bool) -> Callable[[Any], float]:
    """The second view and its opposite are the two positives; labels are places."""

    def oracle(b: Any) -> float:
        z, keys, places, past = _unit(b.z), _unit(b.keys), b.labels.tolist(), b.key_labels.tolist()
        total = 0.0
        for positive in (z[:, 1], -z[:, 1]):
            for i, place in enumerate(places):
                rivals = [x for x, other in zip(keys, past, strict=True) if place < 0 or other != place]
                if in_batch:
                    others = (j for j in range(len(places)) if j != i and (place < 0 or places[j] != place))
                    rivals += [positive[j] for j in others]
                own = math.exp(z[i, 0] @ positive[i] / b.temperature)
                total += math.log1p(sum(math.exp(z[i, 0] @ x / b.temperature) for x in rivals) / own)
        return total / len(places)

    return oracle


def temporal_inputs(b: Any) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Tensor]]:
    """Two heads: rotations of the components stand for their outputs."""
    q = torch.stack([b.z[:, 0], b.z[:, 0].roll(1, -1)])
    views = b.z.transpose(0, 1)
    k, queue = torch.stack([views, views.roll(1, -1)]), torch.stack([b.keys, b.keys.roll(1, -1)])
    known = {"halves": b.uid, "queue_halves": torch.tensor([0, 1, -1]), "changed": b.uid % 3 == 0}
    return (q, k, queue), known


def temporal_oracle(negatives: str) -> Callable[[Any], float]:
    def oracle(b: Any) -> float:
        inputs, known = temporal_inputs(b)
        (q, k, queue), past = map(_unit, inputs), known["queue_halves"].tolist()
        halves, total = b.uid.tolist(), 0.0
        for i in range(2):
            losses = []
            for row, half in enumerate(halves):
                rivals = list(queue[i])
                if negatives == "caco":
                    rivals = [x for x, h in zip(queue[i], past, strict=True) if h >= 0 and h % 2 == half % 2]
                if negatives != "queue" and i > 0:
                    rivals += list(k[i, 1 - i])
                for x, h in zip(k[i, i], halves, strict=True):
                    if negatives == "caco" and h % 2 != half % 2 and (h // 2 != half // 2 or known["changed"][row]):
                        rivals.append(x)
                own = math.exp(q[i, row] @ k[i, i, row] / b.temperature)
                losses.append(math.log1p(sum(math.exp(q[i, row] @ x / b.temperature) for x in rivals) / own))
            total += float(np.mean(losses))
        return total

    return oracle
