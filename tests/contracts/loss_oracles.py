"""The plain losses as loops over rows, straight from the formulas; batches are `loss_batch.LossBatch`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearfar import parallel


def pair_weights(batch: Any) -> Tensor:
    """[rows, columns] with the keys last; zeros among them."""
    mine = batch.uid.repeat_interleave(batch.z.shape[1])
    columns = torch.cat([parallel.gather(mine), torch.arange(len(batch.keys))])
    return ((mine[:, None] * 2 + columns[None] * 3) % 4).to(batch.z.dtype) / 2


def _unit(z: Tensor) -> np.ndarray:
    a = z.detach().double().numpy()
    return a / np.linalg.norm(a, axis=-1, keepdims=True)


def _nce_oracle(q: np.ndarray, k: np.ndarray, scale: float, extra: np.ndarray, in_batch: bool = True) -> float:
    losses = []
    for i in range(len(q)):
        own = math.exp(scale * q[i] @ k[i])
        others = [math.exp(scale * q[i] @ k[j]) for j in range(len(k)) if j != i and in_batch]
        others += [math.exp(scale * q[i] @ e) for e in extra]
        losses.append(-math.log(own / (own + sum(others))))
    return float(np.mean(losses))


def info_nce_oracle(keys: bool, in_batch: bool = True) -> Callable[[Any], float]:
    def oracle(b: Any) -> float:
        z, extra = _unit(b.z), _unit(b.keys)[: None if keys else 0]
        return _nce_oracle(z[:, 0], z[:, 1], 1 / b.temperature, extra, in_batch)

    return oracle


def clip_oracle(b: Any) -> float:
    z, none = _unit(b.z), _unit(b.keys)[:0]
    forth = _nce_oracle(z[:, 0], z[:, 1], 1 / b.temperature, none)
    return (forth + _nce_oracle(z[:, 1], z[:, 0], 1 / b.temperature, none)) / 2


def smooth_clip_oracle(smoothing: float) -> Callable[[Any], float]:
    """Cross-entropy of both sides against smoothed targets."""

    def oracle(b: Any) -> float:
        z = _unit(b.z)
        s = z[:, 0] @ z[:, 1].T / b.temperature
        n, total = len(s), 0.0
        for logits in (s, s.T):
            for i in range(n):
                log_p = logits[i] - math.log(np.exp(logits[i]).sum())
                total -= sum(((j == i) * (1 - smoothing) + smoothing / n) * log_p[j] for j in range(n))
        return total / (2 * n)

    return oracle


def teacher(batch: Any) -> Tensor:
    """[n, 3], a second embedding of every sample, alike on every rank."""
    return torch.stack([torch.sin(batch.uid.double() * f + 0.3) for f in (1.0, 2.0, 0.5)], 1)


def related_oracle(use: str, ids: bool, similar: bool, keys: bool, sides: int) -> Callable[[Any], float]:
    """`Relations` with threshold 0.4, temperature 0.3 and share 0.5, from the formula."""

    def one_side(b: Any, q: np.ndarray, k: np.ndarray, c: np.ndarray) -> float:
        extra, y, n = _unit(b.keys)[: None if keys else 0], b.labels.tolist(), len(q)
        losses = []
        for i in range(n):
            same = [j for j in range(n) if j == i or (ids and y[i] >= 0 and y[i] == y[j])]
            target = [float(j == i) for j in range(n)]
            w = [1.0] * n
            if use == "target":
                target = [float(j in same) / len(same) for j in range(n)]
                if similar:
                    soft = np.exp(c[i] / 0.3) / np.exp(c[i] / 0.3).sum()
                    target = [0.5 * t + 0.5 * p for t, p in zip(target, soft, strict=True)]
            else:
                cut = [1.0] * n
                if similar and use == "ignore":
                    cut = [float(c[i, j] < 0.4) for j in range(n)]
                elif similar:
                    cut = [min(max((1 - c[i, j]) / 0.6, 0.0), 1.0) for j in range(n)]
                w = [0.0 if j in same else cut[j] for j in range(n)]
            s = [q[i] @ k[j] / b.temperature for j in range(n)]
            total = math.exp(s[i]) + sum(w[j] * math.exp(s[j]) for j in range(n) if j != i)
            total += sum(math.exp(q[i] @ e / b.temperature) for e in extra)
            losses.append(sum(t * (math.log(total) - x) for t, x in zip(target, s, strict=True)))
        return float(np.mean(losses))

    def oracle(b: Any) -> float:
        z, t = _unit(b.z), _unit(teacher(b))
        forth = one_side(b, z[:, 0], z[:, 1], t @ t[:, ::-1].T)
        return forth if sides == 1 else (forth + one_side(b, z[:, 1], z[:, 0], t[:, ::-1] @ t.T)) / 2

    return oracle


def pairwise_oracle(form: str, weights: dict[tuple[str, str], float]) -> Callable[[Any], float]:
    """Weighted sum over pairs of modalities; groups are of the text alone, and sample u lacks modality u mod 4."""

    def oracle(b: Any) -> float:
        z = {"image": _unit(b.z[:, 0]), "text": _unit(b.z[:, 1]), "boxes": _unit(b.z[:, 1].roll(1, 1))}
        total = 0.0
        for pair, weight in weights.items():
            absent = [list(z).index(name) for name in pair] if form == "present" else []
            rows = [i for i, u in enumerate(b.uid.tolist()) if u % 4 not in absent]
            grouped = form == "labels" or (form == "groups" and "text" in pair)
            y = [b.labels[i].item() if grouped else -1 for i in rows]
            total += weight * _several_positives(z[pair[0]][rows], z[pair[1]][rows], y, b.temperature)
        return total

    return oracle


def _several_positives(a: np.ndarray, b: np.ndarray, y: list[int], temperature: float) -> float:
    s, total = a @ b.T / temperature, 0.0
    for logits in (s, s.T):
        for i, row in enumerate(logits):
            same = [j for j in range(len(y)) if j == i or (y[i] >= 0 and y[i] == y[j])]
            total += float(np.mean([math.log(np.exp(row).sum()) - row[j] for j in same]))
    return total / (2 * len(y))


def supervised_oracle(form: str, weighted: bool = False, keys: bool = False) -> Callable[[Any], float]:
    def oracle(b: Any) -> float:
        z, y = _unit(b.z).reshape(-1, b.z.shape[-1]), b.labels.repeat_interleave(b.z.shape[1]).tolist()
        n = len(z)
        w = pair_weights(b).numpy() if weighted else np.ones((n, n + len(b.keys)))
        if keys:
            z, y = np.concatenate([z, _unit(b.keys)]), y + b.key_labels.tolist()
        t = np.exp(z @ z.T / b.temperature)
        losses = []
        for i in range(n):
            positives = [j for j in range(len(z)) if j != i and y[i] >= 0 and y[j] == y[i]]
            total = sum(w[i, j] for j in positives)
            if total == 0:
                continue
            everyone = sum(t[i, j] for j in range(len(z)) if j != i)
            rivals = sum(t[i, j] for j in range(len(z)) if j != i and j not in positives)
            if form == "out":
                terms = [w[i, j] * -math.log(t[i, j] / everyone) for j in positives]
                losses.append(sum(terms) / total)
            elif form == "in":
                losses.append(-math.log(sum(w[i, j] * t[i, j] for j in positives) / total / everyone))
            else:
                losses.append(float(np.mean([-math.log(t[i, j] / (t[i, j] + rivals)) for j in positives])))
        return float(np.mean(losses))

    return oracle


def hcl_oracle(b: Any) -> float:
    """beta 1, tau_plus 0.1."""
    z, y = _unit(b.z).reshape(-1, b.z.shape[-1]), b.labels.repeat_interleave(b.z.shape[1]).tolist()
    t, n = np.exp(z @ z.T / b.temperature), len(b.labels) * b.z.shape[1]
    losses = []
    for i in range(n):
        positives = [j for j in range(n) if j != i and y[i] >= 0 and y[j] == y[i]]
        rivals = [j for j in range(n) if j != i and j not in positives]
        if not positives or not rivals:
            continue
        hard = sum(t[i, k] ** 2 for k in rivals) / sum(t[i, k] for k in rivals)
        least = math.exp(-1 / b.temperature)
        far = [len(rivals) * max((hard - 0.1 * t[i, p]) / 0.9, least) for p in positives]
        losses.append(float(np.mean([math.log1p(f / t[i, p]) for f, p in zip(far, positives, strict=True)])))
    return float(np.mean(losses))
