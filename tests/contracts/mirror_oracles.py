"""Plain loops for the losses of mirrored views and of spectra, straight from the formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def mirror_ids(b: Any) -> Tensor:
    """Pictures of anchor, positive and negative [n, 3]: some p_j and n_j are the picture of another a_i or p_i."""
    return torch.stack([b.labels + 10, b.labels + 20, torch.where(b.uid % 3 == 0, b.labels + 21, 100 + b.uid)], 1)


def maps(b: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors, positives and negatives [n, 2, 1, 2] from two views of four numbers."""
    shape = (len(b.z), 2, 1, 2)
    return b.z[:, 0].reshape(shape), b.z[:, 1].reshape(shape), b.z[:, 1].roll(1, 1).reshape(shape)


def mirror_oracle(in_batch: bool) -> Callable[[Any], float]:
    """Row by row, negative by negative."""

    def oracle(b: Any) -> float:
        a, p = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in b.z.detach().double().numpy().transpose(1, 0, 2))
        n, ids, valid = np.roll(p, 1, 1), mirror_ids(b).tolist(), (b.labels != 1).tolist()
        losses = []
        for i in range(len(a)):
            rivals = []
            for j in range(len(a)) if in_batch else (i,):
                alike = not valid[j] and ids[j][0] == ids[i][0]
                if ids[j][2] not in ids[i][:2] and not alike and (j != i or valid[i]):
                    rivals.append(n[j])
                if j != i and ids[j][1] not in ids[i][:2]:
                    rivals.append(p[j])
            if rivals:
                total = sum(math.exp(a[i] @ x / b.temperature) for x in rivals)
                losses.append(math.log1p(total / math.exp(a[i] @ p[i] / b.temperature)))
        return float(np.mean(losses))

    return oracle


def published_oracle(b: Any) -> float:
    """Lines of a map, channel by channel."""
    a, p, n = (x.detach().double().numpy() for x in maps(b))
    a, p, n = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, p, n))
    losses = []
    for i in range(len(a)):
        for h in range(a.shape[2]):
            pairs = [a[i, c, h] @ x[i, c, h] / b.temperature for x in (p, n) for c in range(a.shape[1])]
            losses.append(math.log(sum(math.exp(s - pairs[0]) for s in pairs)))
    return float(np.mean(losses))


def _focal(x: np.ndarray, y: np.ndarray, alpha: float, log: bool) -> float:
    values = []
    for line in x - y:
        size = np.abs(np.fft.fft2(line, norm="ortho"))
        raw = np.log1p(size**alpha) if log else size**alpha
        values.append(np.mean(raw / raw.max() * size**2))
    return float(np.mean(values))


def focal_oracle(alpha: float, log: bool) -> Callable[[Any], float]:
    """Channel by channel, with numpy's transform."""

    def oracle(b: Any) -> float:
        x, y, _ = (m.detach().double().numpy() for m in maps(b))
        return float(np.mean([_focal(x[i], y[i], alpha, log) for i in range(len(x))]))

    return oracle


def spectral_oracle(margin: float) -> Callable[[Any], float]:
    """The same, of positives and of negatives."""

    def oracle(b: Any) -> float:
        a, p, n = (m.detach().double().numpy() for m in maps(b))
        losses = []
        for i, valid in enumerate((b.labels != 1).tolist()):
            far = min(_focal(a[i], n[i], 1.0, False), margin) if valid else 0.0
            losses.append(_focal(a[i], p[i], 1.0, False) - far)
        return float(np.mean(losses))

    return oracle
