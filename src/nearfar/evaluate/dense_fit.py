"""Training a decoder on tiles of labelled scenes; what is chosen is chosen on validation tiles alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nearfar.errors import NonFiniteError
from nearfar.evaluate.bootstrap import FloatArray
from nearfar.evaluate.confusion import IGNORED, best_threshold, iou, pixel_confusion
from nearfar.evaluate.decoders import Pyramid
from nearfar.evaluate.dense import DenseModel
from nearfar.evaluate.metrics import macro
from nearfar.evaluate.tiles import Tiles

BATCH = 8
EPOCH_TILES = 4096
"""tiles an epoch at most, drawn anew for each"""
LEAST_STEPS = 200
"""steps at least, in however many epochs, where tiles are few"""
_LR, _ENCODER_LR, _DECAY = 4e-3, 1e-4, 1e-4


@dataclass(frozen=True)
class Fit:
    """What was chosen on the validation tiles: the epoch, its score, and for change the threshold.

    `score` (mean IoU, or F1 of change) is NaN and nothing was chosen without validation tiles: then it is the last
    epoch and a threshold of 0.5.
    """

    epochs: int
    best_epoch: int
    score: float
    threshold: float = 0.5
    losses: tuple[float, ...] = ()


def fit_decoder(model: DenseModel, train: Tiles, val: Tiles, epochs: int, seed: int = 0) -> Fit:
    """Train the decoder (and with `model.finetune` the encoder) on `train`; the best epoch on `val` stays.

    AdamW on a cosine, cross-entropy over labelled pixels plus, for change, the Dice loss; every batch is turned and
    mirrored at random. Raises NonFiniteError where the loss diverges.
    """
    count = min(len(train), EPOCH_TILES)
    steps = math.ceil(count / BATCH)
    epochs = max(epochs, math.ceil(LEAST_STEPS / steps))
    optimizer = _optimizer(model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    rng = np.random.default_rng(seed)
    best, state, losses = Fit(epochs, epochs, math.nan), None, []
    for epoch in range(1, epochs + 1):
        losses.append(_epoch(model, train, rng.permutation(len(train))[:count], rng, optimizer, schedule))
        if len(val) and _judged(epoch, epochs):
            score, threshold = validate(model, val)
            if not score < best.score:  # also the first, NaN; of equal ones the later
                best = Fit(epochs, epoch, score, threshold)
                state = copy.deepcopy(_learned(model).state_dict())
    if state is not None:
        _learned(model).load_state_dict(state)
    model.eval()
    return Fit(best.epochs, best.best_epoch, best.score, best.threshold, tuple(losses))


@torch.no_grad()
def validate(model: DenseModel, tiles: Tiles) -> tuple[float, float]:
    """(score, threshold) on tiles: mean IoU and 0.5, or for change the best F1 and the threshold that gives it."""
    model.eval()
    probabilities: list[FloatArray] = []
    truths: list[FloatArray] = []
    confusion: Any = 0
    for maps, target in tiles.passes(BATCH):
        scores = model.decoder(maps, tuple(target.shape[-2:]))
        if model.kind == "change":
            counted = target != IGNORED
            probabilities.append(scores.softmax(1)[:, 1][counted].cpu().double().numpy())
            truths.append(target[counted].cpu().numpy())
        else:
            confusion = confusion + pixel_confusion(target.cpu(), scores.argmax(1).cpu(), scores.shape[1])
    if model.kind == "change":
        threshold, score = best_threshold(np.concatenate(probabilities), np.concatenate(truths) == 1)
        return score, threshold
    return float(macro(iou, confusion)), 0.5


def map_loss(scores: Tensor, target: Tensor, change: bool) -> Tensor:
    """Mean cross-entropy of scores [B, K, H, W] over the pixels that count (0 for none), for change plus Dice.

    Dice of the class 1, 1 - (2 sum p y + 1) / (sum p + sum y + 1) over the batch (Milletari et al. 2016): changed
    pixels are few, and cross-entropy alone is content to miss them.
    """
    counted = target != IGNORED
    losses = F.cross_entropy(scores, target, ignore_index=IGNORED, reduction="sum") / counted.sum().clamp(min=1)
    if not change:
        return losses
    p, y = scores.softmax(1)[:, 1][counted], (target[counted] == 1).to(scores.dtype)
    return losses + 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)


def turned(maps: Pyramid, target: Tensor, turns: int, mirror: bool) -> tuple[Pyramid, Tensor]:
    """Maps and targets [..., s, s] turned by quarters and mirrored alike."""

    def turn(x: Tensor) -> Tensor:
        x = x.flip(-1) if mirror else x
        return torch.rot90(x, turns, (-2, -1))

    return [turn(m) for m in maps], turn(target)


def _epoch(
    model: DenseModel, train: Tiles, order: Any, rng: np.random.Generator, optimizer: Any, schedule: Any
) -> float:
    model.train()
    total = 0.0
    for indices in _batches(order):
        maps, target = turned(*train.batch(indices), int(rng.integers(4)), bool(rng.integers(2)))
        scores = model.decoder(maps, tuple(target.shape[-2:]))
        loss = map_loss(scores, target, model.kind == "change")
        if not bool(loss.isfinite()):
            raise NonFiniteError("the decoder's loss is not finite", fix="Check the pixels with `nearfar data check`.")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        total += float(loss.detach()) * len(indices)
    return total / len(order)


def _batches(order: Any) -> Iterator[list[int]]:
    indices = [int(i) for i in order]
    yield from (indices[start : start + BATCH] for start in range(0, len(indices), BATCH))


def _judged(epoch: int, epochs: int) -> bool:
    """Some 20 times, evenly, and at the end: what is validated more often is chosen by chance."""
    return epoch == epochs or epoch % max(1, epochs // 20) == 0


def _learned(model: DenseModel) -> torch.nn.Module:
    return model if model.finetune else model.decoder


def _optimizer(model: DenseModel) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [{"params": list(model.decoder.parameters()), "lr": _LR}]
    if model.finetune:
        groups.append({"params": list(model.encoder.parameters()), "lr": _ENCODER_LR})
    return torch.optim.AdamW(groups, weight_decay=_DECAY)
