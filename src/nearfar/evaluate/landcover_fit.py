"""Three ways to a classifier of patches: a linear probe, scores of each band group with its textures, and fine-tuning.

All give weights of `landcover_maps.PatchClassifier`. What is chosen (regularisation, epoch) is chosen by balanced
accuracy on validation patches; without any, the probe takes cross-validation and the others the last epoch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nearfar.encoders.image import ImageEncoder
from nearfar.evaluate.landcover_data import Patches
from nearfar.evaluate.landcover_maps import patch_features, probabilities
from nearfar.evaluate.linear import linear_probe
from nearfar.evaluate.metrics import balanced_accuracy, confusion_matrix

Labelled = tuple[Tensor, Tensor]
"""features [n, G, F], labels [n]"""

_BATCH = 64
_LR, _ENCODER_LR, _DECAY = 1e-3, 1e-4, 1e-4


@dataclass(frozen=True)
class Classifier:
    """weight [G, K, F] and bias [G, K], balanced accuracy on validation patches (NaN without), and what was chosen."""

    weight: Tensor
    bias: Tensor
    score: float
    chosen: dict[str, float]


def fit_linear(train: Labelled, val: Labelled | None, classes: int, seed: int = 0) -> Classifier:
    """A logistic regression on the pooled features (G = 1), its strength C chosen on `val`."""
    held = None if val is None else (val[0][:, 0].numpy(), val[1].numpy())
    test = train[0][:, 0].numpy() if held is None else held[0]
    probe = linear_probe(train[0][:, 0].numpy(), train[1].numpy(), test, classes, validation=held, seed=seed)
    score = math.nan if val is None else _score(probe.predicted, val[1], classes)
    weight, bias = (torch.from_numpy(x).float()[None] for x in (probe.weight, probe.bias))
    return Classifier(weight, bias, score, {"C": probe.strength})


def fit_parts(train: Labelled, val: Labelled | None, classes: int, epochs: int, seed: int = 0) -> Classifier:
    """Linear scores of every part, the mean of their softmax fitted by its negative log-likelihood.

    SACo's released model takes the cross-entropy of that mean as if it were scores, which costs 1.46 even where it is
    right; the likelihood does not. AdamW on a cosine, features standardised.
    """
    features, labels = train
    mean, std = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)
    parts, width = features.shape[1:]
    generator = torch.Generator().manual_seed(seed)
    weight = (torch.randn(parts, classes, width, generator=generator) * 0.01).requires_grad_()
    bias = torch.zeros(parts, classes, requires_grad=True)
    standard = (features - mean) / std
    held = None if val is None else ((val[0] - mean) / std, val[1])

    def epoch(step: Callable[[Tensor], None]) -> None:
        for rows in torch.split(torch.randperm(len(labels), generator=generator), _BATCH):
            found = probabilities(standard[rows], weight, bias)
            step(F.nll_loss(found.clamp(min=1e-12).log(), labels[rows]))

    def score() -> float:
        if held is None:
            return math.nan
        return _score(probabilities(held[0], weight, bias).argmax(1), held[1], classes)

    steps = epochs * -(-len(labels) // _BATCH)
    groups = [{"params": [weight, bias], "lr": _LR}]
    state = _best_epoch(groups, epochs, steps, epoch, score, lambda: (weight.detach().clone(), bias.detach().clone()))
    (w, b), best = state
    folded = w / std[:, None]
    return Classifier(folded, b - (folded * mean[:, None]).sum(2), best[0], {"epoch": best[1]})


def fit_encoder(
    encoder: ImageEncoder, train: Patches, val: Patches | None, classes: int, epochs: int, seed: int = 0
) -> Classifier:
    """A linear layer on the pooled features, and the encoder with it, on patches turned and mirrored at random.

    The layer starts as the linear probe (Kumar et al. 2022): a random one would first distort the features. The encoder
    is changed in place and stays in evaluation mode, so its batch norms keep their statistics.
    """
    frozen = {
        name: frozen_features(encoder, part) for name, part in (("train", train), ("val", val)) if part is not None
    }
    probe = fit_linear(frozen["train"], frozen.get("val"), classes, seed)
    head = nn.Linear(encoder.feature_dim, classes).to(encoder.mean.device)
    head.load_state_dict({"weight": probe.weight[0], "bias": probe.bias[0]})
    rng, count = np.random.default_rng(seed), iter(range(epochs))

    def scores(x: Tensor) -> Tensor:
        found: Tensor = head(patch_features(encoder, x, False)[:, 0])
        return found

    def epoch(step: Callable[[Tensor], None]) -> None:
        for x, labels in train.batches("shuffle", seed + next(count)):
            turned = torch.rot90(x.flip(-1) if rng.integers(2) else x, int(rng.integers(4)), (-2, -1))
            step(F.cross_entropy(scores(turned), labels.to(head.weight.device)))

    def score() -> float:
        if val is None:
            return math.nan
        return _score(torch.cat([scores(x).argmax(1) for x, _ in val.batches()]), torch.from_numpy(val.labels), classes)

    groups = [{"params": list(head.parameters()), "lr": _LR}, {"params": list(encoder.parameters()), "lr": _ENCODER_LR}]
    steps = epochs * -(-len(train.labels) // _BATCH)
    both = nn.ModuleList([encoder.eval(), head])
    state, best = _best_epoch(groups, epochs, steps, epoch, score, lambda: copy.deepcopy(both.state_dict()))
    both.load_state_dict(state)
    return Classifier(head.weight.detach()[None], head.bias.detach()[None], best[0], {"epoch": best[1]})


@torch.no_grad()
def frozen_features(encoder: ImageEncoder, patches: Patches, histograms: bool = False) -> Labelled:
    """Features of all patches, see `patch_features`, on the CPU, and their labels."""
    found = [patch_features(encoder, x, histograms).cpu() for x, _ in patches.batches()]
    return torch.cat(found), torch.from_numpy(patches.labels)


def _best_epoch(
    groups: list[dict[str, Any]],
    epochs: int,
    steps: int,
    epoch: Callable[[Callable[[Tensor], None]], None],
    score: Callable[[], float],
    snapshot: Callable[[], Any],
) -> tuple[Any, tuple[float, int]]:
    """Train and return the snapshot of the best epoch with (score, epoch); of equal ones the last, NaN: the last."""
    optimizer = torch.optim.AdamW(groups, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def step(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()

    best, state = (math.nan, 0), None
    for number in range(1, epochs + 1):
        epoch(step)
        with torch.no_grad():
            found = score()
        if not found < best[0]:
            best, state = (found, number), snapshot()
    return state, best


def _score(predicted: Any, labels: Tensor, classes: int) -> float:
    guess = predicted.cpu().numpy() if isinstance(predicted, Tensor) else predicted
    return float(balanced_accuracy(confusion_matrix(labels.numpy(), guess, classes)))
