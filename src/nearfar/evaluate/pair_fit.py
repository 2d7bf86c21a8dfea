"""Small networks on top of frozen features, and the fine-tuning of an encoder, for tasks on pairs of objects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from nearfar.config import ViewsConfig
from nearfar.data.loader import make_loader
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import FloatArray, IntArray
from nearfar.evaluate.pair_data import Pairs
from nearfar.views.pairs import PairViews

BATCH = 256
LR, DECAY = 2e-3, 1e-2
FINETUNE_EPOCHS, FINETUNE_LR = 10, 3e-4

Inputs = tuple[Tensor, ...]


def train_network(
    network: nn.Module,
    train: tuple[Inputs, Tensor],
    val: tuple[Inputs, Tensor] | None,
    *,
    epochs: int,
    seed: int = 0,
) -> None:
    """Fit network(*inputs) -> scores [n, C] by cross-entropy: AdamW on a cosine; the epoch best on `val` is kept.

    Inputs are tensors [n, ...]. Without `val` the last epoch is kept.
    """
    inputs, labels = train
    generator = torch.Generator().manual_seed(seed)

    def losses() -> Iterator[Tensor]:
        for rows in torch.split(torch.randperm(len(labels), generator=generator), BATCH):
            yield F.cross_entropy(network(*(x[rows] for x in inputs)), labels[rows])

    def score() -> float:
        assert val is not None
        return float((scores(network, val[0]).argmax(1) == val[1]).double().mean())

    steps = epochs * -(-len(labels) // BATCH)
    _descend(network, losses, None if val is None else score, epochs, steps, LR)


@torch.no_grad()
def scores(network: nn.Module, inputs: Inputs) -> Tensor:
    """network(*inputs) in evaluation mode, batch by batch."""
    network.eval()
    parts = zip(*(torch.split(x, 4 * BATCH) for x in inputs), strict=True)
    return torch.cat([network(*part) for part in parts])


def mlp_probe(
    train: ArrayLike,
    labels: ArrayLike,
    test: ArrayLike,
    classes: int,
    *,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    width: int = 256,
    epochs: int = 60,
    seed: int = 0,
) -> IntArray:
    """Predicted classes [m] of one hidden layer (ReLU, dropout 0.3) on standardised features [n, D] with labels [n].

    Raises DataError for NaN or training labels of one class.
    """
    x, y = _tensor(train, "the training features"), torch.from_numpy(np.asarray(labels, np.int64))
    if int(y.min()) == int(y.max()):
        raise DataError("a probe needs two classes", found=f"{len(y)} training samples of one")
    mean, std = x.mean(0), x.std(0, correction=0).clamp(min=1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(x.shape[1], width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, classes))
        held = None
        if validation is not None:
            held = (_tensor(validation[0], "the validation features") - mean) / std, validation[1]
        val = None if held is None else ((held[0],), torch.from_numpy(np.asarray(held[1], np.int64)))
        train_network(network, (((x - mean) / std,), y), val, epochs=epochs, seed=seed)
    found = scores(network, ((_tensor(test, "the test features") - mean) / std,)).argmax(1)
    return np.asarray(found.numpy(), dtype=np.int64)


def finetuned(
    encoder: ImageEncoder, parts: dict[str, Pairs], start: tuple[FloatArray, FloatArray], seed: int
) -> IntArray:
    """Classes [m] of the test pairs after the encoder has learnt with a linear layer that starts as the probe `start`.

    Views are mirrored, and left and right of the labels with them; colours do not change. The encoder is changed in
    place and stays in evaluation mode, so its batch norms keep their statistics.
    """
    train, device = parts["train"], encoder.mean.device
    head = nn.Linear(encoder.feature_dim, len(train.data.classes)).to(device)
    head.load_state_dict({"weight": torch.from_numpy(start[0]).float(), "bias": torch.from_numpy(start[1]).float()})
    network = nn.Sequential(encoder.eval(), head)
    recipe = ViewsConfig(recipe="pairs", count=1, strength=0.0, erase=0.0)
    views = PairViews(recipe, encoder.channels, encoder.config.size, train.data.classes)
    epoch = iter(range(FINETUNE_EPOCHS))

    def losses() -> Iterator[Tensor]:
        loader = make_loader(train.data, batch_size=min(64, len(train)), seed=seed + next(epoch), drop_last=False)
        for batch in loader:
            seen = views(batch)
            label = seen["label_views"][:, 0].to(device)
            summed = F.cross_entropy(network(seen["views"][:, 0].to(device)), label, ignore_index=-1, reduction="sum")
            yield summed / (label >= 0).sum().clamp(min=1)

    def score() -> float:
        return float((predict(network, parts["val"]) == parts["val"].labels).mean())

    steps = FINETUNE_EPOCHS * -(-len(train) // 64)
    _descend(network, losses, score if "val" in parts else None, FINETUNE_EPOCHS, steps, FINETUNE_LR, train_mode=False)
    return predict(network, parts["test"])


@torch.no_grad()
def predict(network: nn.Module, pairs: Pairs) -> IntArray:
    """The likeliest class [n] of every pair, from its image."""
    device = next(network.parameters()).device
    loader = make_loader(pairs.data, batch_size=min(BATCH, len(pairs)), sampler="sequential", drop_last=False)
    found = [network(batch["image"].to(device)).argmax(1).cpu() for batch in loader]
    return np.asarray(torch.cat(found).numpy(), dtype=np.int64)


def _descend(
    network: nn.Module,
    losses: Callable[[], Iterator[Tensor]],
    score: Callable[[], float] | None,
    epochs: int,
    steps: int,
    lr: float,
    *,
    train_mode: bool = True,
) -> None:
    """Follow the losses. The weights of the epoch with the best score stay; of equal ones, or without any, the last."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, state = -1.0, None
    for _ in range(epochs):
        network.train(train_mode)
        for loss in losses():
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        if score is not None and (found := score()) >= best:
            best, state = found, copy.deepcopy(network.state_dict())
    if state is not None:
        network.load_state_dict(state)
    network.eval()


def _tensor(values: ArrayLike, name: str) -> Tensor:
    array = np.asarray(values, np.float32)
    if not np.isfinite(array).all():
        raise DataError(f"{name} hold NaN or infinity")
    return torch.from_numpy(array)
