"""Windows of labelled scenes as samples, for training on them without their labels or with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from nearfar.data.dataset import Key, Record, SampleDataset
from nearfar.data.sample import Sample
from nearfar.data.scenes import Source
from nearfar.data.series import draw_window
from nearfar.errors import DataError

_MASK = (1 << 64) - 1


class SceneDataset(SampleDataset):
    """One sample a scene: a window of size x size pixels and, of a series, `dates` different dates (0: all).

    Samples have `series`, `days`, `valid`, `gsd` and `image` as those of `SeriesDataset`, and `target` [size, size].
    Window and dates are a function of the key's seed; seed 0 takes the centre and the first dates in order.
    `label` is -1. DataError names a scene that is smaller than the window or has too few dates.
    """

    def __init__(
        self, records: Sequence[Record], source: Source, root: Path | None = None, *, size: int = 64, dates: int = 0
    ) -> None:
        self.records, self.source, self.root = list(records), source, root
        self.size, self.dates, self.has_masks = size, dates, False
        self.channels, self.classes = source.channels, source.classes
        self.labels = np.full(len(self.records), -1, np.int64)
        self.true_labels = self.labels.copy()
        self.groups = tuple(r.group for r in self.records)
        self.ids = tuple(r.id for r in self.records)
        self._shapes: dict[str, tuple[int, int]] = {}
        counts = {len(source.days(record)) for record in self.records}
        if not dates and len(counts) > 1:
            raise DataError(
                "scenes have different numbers of dates",
                where=root,
                found=f"{min(counts)} to {max(counts)}",
                fix=f"Set --data.dates to {min(counts)} or less: so many are drawn for a sample.",
            )

    def __getitem__(self, key: int | Key) -> Sample:
        index, seed = self._place(key)
        record = self.records[index]
        rng = np.random.default_rng(seed & _MASK) if seed else None
        days = self.source.days(record)
        times = self._draw(record, len(days), rng)
        rows, cols = self._window(record, rng)
        pixels, valid = self.source.pixels(record, rows, cols)
        series = torch.from_numpy(pixels[times])
        return Sample(
            image=series[0],
            index=index,
            label=-1,
            id=record.id,
            group=record.group,
            seed=int(seed),
            series=series,
            days=torch.tensor([days[t] for t in times]),
            valid=torch.from_numpy(valid[times]),
            gsd=self.source.gsd,
            target=torch.from_numpy(self.source.target(record, rows, cols)),
        )

    def raw(self, index: int) -> dict[str, NDArray[Any]]:
        """The whole first date in reflectance, [H, W, C]."""
        record = self.records[index]
        height, width = self.source.shape(record)
        pixels, _ = self.source.pixels(record, slice(0, height), slice(0, width))
        return {next(iter(self.channels.modalities)): np.moveaxis(pixels[0], 0, -1)}

    def subset(self, indices: Iterable[int]) -> Self:
        chosen = [self.records[int(i)] for i in indices]
        return type(self)(chosen, self.source, self.root, size=self.size, dates=self.dates)

    def _draw(self, record: Record, count: int, rng: np.random.Generator | None) -> list[int]:
        if count < self.dates:
            raise DataError(
                "the scene has too few dates",
                where=record.paths[0],
                found=count,
                expected=f"at least {self.dates} (data.dates)",
                fix="Lower --data.dates.",
            )
        wanted = self.dates or count
        order = np.arange(count) if rng is None or not self.dates else rng.permutation(count)
        return [int(t) for t in order[:wanted]]

    def _window(self, record: Record, rng: np.random.Generator | None) -> tuple[slice, slice]:
        if record.id not in self._shapes:
            self._shapes[record.id] = self.source.shape(record)
        return draw_window(self._shapes[record.id], self.size, rng, "scene", record.paths[0])
