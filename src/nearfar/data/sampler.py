"""The order of samples as a pure function of (seed, epoch, step), so that resuming needs no state at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from nearfar.data.dataset import Key
from nearfar.errors import ConfigError

Order = Literal["shuffle", "balanced", "sequential"]
Indices = NDArray[np.int64]

_MASK = (1 << 64) - 1


def item_seed(seed: int, epoch: int, index: int) -> int:
    """The seed of one item in one epoch: 63 bits, by chained SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    state = 0
    for part in (seed, epoch, index):
        state = splitmix(state ^ (part & _MASK))
    return state >> 1


def epoch_order(order: Order, labels: Indices, seed: int, epoch: int) -> Indices:
    """The indices of one epoch.

    shuffle: a permutation. sequential: 0 to n-1. balanced: rows of one sample a class, see `_balanced`.
    """
    if order == "sequential":
        return np.arange(len(labels), dtype=np.int64)
    if order == "shuffle":
        return np.random.default_rng((seed & _MASK, epoch)).permutation(len(labels))
    return _balanced(labels, seed, epoch)


def epoch_length(order: Order, labels: Indices) -> int:
    """How many indices `epoch_order` gives, without computing them."""
    if order != "balanced":
        return len(labels)
    known = labels[labels >= 0]
    classes = len(np.unique(known))
    return classes * -(-len(known) // classes) if classes else 0


class StepSampler(Sampler[list[Key]]):
    """Batches of keys, from one step on.

    Step s is batch s % L of epoch s // L, where L is the number of batches an epoch; the batch is cut into `world`
    contiguous parts as equal as possible, of which this is number `rank`. Nothing is remembered between iterations.

    Args:
        labels: int64 [N], -1 where unknown (such samples are left out of the balanced order).
        batch_size: of the global batch, over all ranks.
        steps: how many batches to give; None: to the end of the epoch of `start_step`.
        drop_last: leave out the incomplete batch at the end of an epoch.

    Raises ConfigError where no batch can be formed.
    """

    def __init__(
        self,
        labels: Indices,
        batch_size: int,
        *,
        order: Order = "shuffle",
        seed: int = 0,
        start_step: int = 0,
        steps: int | None = None,
        drop_last: bool = True,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.labels, self.batch_size, self.order, self.seed = labels, batch_size, order, seed
        self.start_step, self.rank, self.world = start_step, rank, world
        self._validate()
        length = epoch_length(order, labels)
        self.steps_per_epoch = length // batch_size if drop_last else -(-length // batch_size)
        self._validate_length(length, drop_last)
        left = self.steps_per_epoch - start_step % self.steps_per_epoch
        self.steps = left if steps is None else steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.start_step, self.start_step + self.steps):
            now, position = divmod(step, self.steps_per_epoch)
            if now != epoch:
                epoch, order = now, epoch_order(self.order, self.labels, self.seed, now)
            batch = order[position * self.batch_size : (position + 1) * self.batch_size]
            mine = np.array_split(batch, self.world)[self.rank]
            yield [Key(int(i), item_seed(self.seed, epoch, int(i))) for i in mine]

    def _validate(self) -> None:
        if self.order not in get_args(Order):
            raise ConfigError(f"unknown sampler {self.order!r}", expected=" | ".join(get_args(Order)))
        if not 0 <= self.rank < self.world:
            raise ConfigError("rank is not in the world", found=f"rank {self.rank} of {self.world}")
        if self.batch_size < self.world:
            raise ConfigError("the batch is smaller than the world", found=self.batch_size, expected=f">= {self.world}")
        if self.start_step < 0:
            raise ConfigError("start_step is negative", found=self.start_step)

    def _validate_length(self, length: int, drop_last: bool) -> None:
        if not length and self.order == "balanced":
            raise ConfigError(
                "the balanced sampler needs labels and there are none", fix="Use the shuffle sampler, or give labels."
            )
        if not self.steps_per_epoch:
            raise ConfigError(
                "the batch is larger than the data",
                found=f"batch_size {self.batch_size} for {length} samples",
                fix=f"Set the batch size to {length} or less." if length else "Choose a split that has samples.",
            )
        if not drop_last and 0 < length % self.batch_size < self.world:
            raise ConfigError(
                "the last batch is smaller than the world",
                found=f"{length % self.batch_size} samples for {self.world} ranks",
                fix="Drop the last batch, or change the batch size.",
            )


def splitmix(value: int) -> int:
    """One output of SplitMix64 whose state is `value`."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _balanced(labels: Indices, seed: int, epoch: int) -> Indices:
    """Each class equally often: m = ceil(labelled / classes) rows, each row one sample of every class in random order.

    A class is walked through in passes, each a permutation of all its samples, and goes on where the last epoch
    left it: within a pass none is drawn twice, and a large class is seen whole over several epochs.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels[labels >= 0])]
    rows = -(-sum(len(m) for m in members) // len(members))
    columns = [_stream(m, rows * epoch, rows * (epoch + 1), seed, k) for k, m in enumerate(members)]
    shuffled = np.random.default_rng((seed & _MASK, epoch)).permuted(np.stack(columns, axis=1), axis=1)
    return np.asarray(shuffled.reshape(-1), dtype=np.int64)


def _stream(members: Indices, start: int, stop: int, seed: int, number: int) -> Indices:
    """Positions start to stop of the endless chain of permutations of `members`."""
    n = len(members)
    first = start // n
    passes = [
        np.random.default_rng((seed & _MASK, number, p)).permutation(members) for p in range(first, -(-stop // n))
    ]
    return np.concatenate(passes)[start - first * n : stop - first * n]
