"""Batches from a dataset: collated dicts, in a resumable order, with short errors where a worker process dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nearfar.data.dataset import Key, SampleDataset
from nearfar.data.sample import Sample
from nearfar.data.sampler import Order, StepSampler
from nearfar.errors import NearfarError

Batch = dict[str, Any]
"""a collated `Sample`: tensors with a leading B, numbers as int64 or float32 [B], strings and tuples as lists"""


def collate(samples: list[Sample]) -> Batch:
    """Samples with the same keys as one batch."""
    return {key: _join([cast("dict[str, Any]", s)[key] for s in samples]) for key in samples[0]}


def make_loader(
    dataset: SampleDataset,
    *,
    batch_size: int,
    views: Callable[[Batch], Batch] | None = None,
    sampler: Order = "shuffle",
    seed: int = 0,
    start_step: int = 0,
    steps: int | None = None,
    drop_last: bool | None = None,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> DataLoader[Batch]:
    """A loader whose order is a pure function of (seed, epoch, step): `start_step` goes on exactly where a run stopped.

    Args:
        batch_size: over all ranks; this rank gets its `world`-th part.
        views: applied to every collated batch (in the worker, where there are workers).
        sampler: shuffle, balanced (each class equally often) or sequential.
        seed: also decides each item's `seed`: a hash of (seed, epoch, index).
        start_step: global step of the first batch.
        steps: how many batches; None: to the end of the epoch.
        drop_last: leave out an epoch's incomplete last batch; None: except in the sequential order.
        workers: loader processes; 0 loads in this one and keeps decoded images in memory.

    Raises ConfigError where no batch can be formed; while iterating, DataError for bad files and NearfarError where a
    worker process dies.
    """
    if drop_last is None:
        drop_last = sampler != "sequential"
    batches = StepSampler(
        dataset.labels,
        batch_size,
        order=sampler,
        seed=seed,
        start_step=start_step,
        steps=steps,
        drop_last=drop_last,
        rank=rank,
        world=world,
    )
    return _Loader(
        _Caught(dataset) if workers else dataset,
        batch_sampler=batches,
        collate_fn=_Collate(views),
        num_workers=workers,
        # A generator of its own: DataLoader would otherwise draw from the global one and break exact resume.
        generator=torch.Generator().manual_seed(seed),
    )


class _Loader(DataLoader[Any]):
    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        try:
            for batch in super().__iter__():
                if isinstance(batch, NearfarError):
                    raise batch
                yield batch
        except RuntimeError as error:
            if "DataLoader worker" not in str(error) or isinstance(error, NearfarError):
                raise
            raise NearfarError(
                "a loader process died",
                found=str(error).splitlines()[0],
                fix="It was most likely killed for memory: lower --train.workers or the image size.",
            ) from error


class _Caught(Dataset[Any]):
    """Hands errors out as values: raised in a worker, they would arrive wrapped in the text of a traceback."""

    def __init__(self, dataset: SampleDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Key) -> Sample | NearfarError:
        try:
            return self.dataset[key]
        except NearfarError as error:
            return error


@dataclass
class _Collate:
    views: Callable[[Batch], Batch] | None

    def __call__(self, samples: list[Sample | NearfarError]) -> Batch | NearfarError:
        for sample in samples:
            if isinstance(sample, NearfarError):
                return sample
        batch = collate(cast("list[Sample]", samples))
        return batch if self.views is None else self.views(batch)


def _join(values: list[Any]) -> Any:
    if isinstance(values[0], Tensor):
        return torch.stack(values)
    if isinstance(values[0], str | tuple):
        return list(values)
    return torch.tensor(values, dtype=torch.float32 if isinstance(values[0], float) else torch.int64)
