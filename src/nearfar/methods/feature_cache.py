"""Features of a frozen encoder, computed once for every sample instead of once in every epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def is_frozen(module: nn.Module) -> bool:
    """Whether nothing in it learns or changes from call to call: no trainable weight, and all of it evaluating."""
    return not any(p.requires_grad for p in module.parameters()) and not any(part.training for part in module.modules())


class FeatureCache:
    """Rows [B, D] of features by the samples' index, as long as neither the weights nor the sample changed.

    A stored row is used where the index, a checksum of the input and the module's weights (by memory address and
    torch's count of changes in place), device and autocast type are those it was computed with. Other rows are computed
    sample by sample: a matrix product rounds by the place of a row in its batch, and features must be the same bit for
    bit in whatever batch a sample comes first, after a resume too. Not part of a checkpoint, which fills it anew.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self._stamp: tuple[Any, ...] = ()
        self._rows = self._sums = torch.empty(0)
        self._filled = torch.empty(0, dtype=torch.bool)

    def __len__(self) -> int:
        """Samples whose features are kept."""
        return int(self._filled.sum())

    @torch.no_grad()
    def __call__(self, module: nn.Module, index: Tensor, content: Tensor, compute: Callable[[int], Tensor]) -> Tensor:
        """Features [B, D] of samples with `index` int64 [B] and the inputs `content` [B, ...], without gradient.

        `compute` gives those [1, D] of one row of the batch; zeros at the end of a row of `content` do not count.
        """
        stamp = _stamp(module)
        if stamp != self._stamp:
            self.clear()
            self._stamp = stamp
        sums = checksum(content)
        unknown = self._unknown(index, sums)
        if len(unknown):
            self._keep(index[unknown], sums[unknown], torch.cat([compute(row) for row in unknown.tolist()]))
        return self._rows[index]

    def _unknown(self, index: Tensor, sums: Tensor) -> Tensor:
        """Rows of the batch that are not stored, or were stored for another input."""
        if not len(self._filled):
            return torch.arange(len(index), device=index.device)
        place = index.clamp(max=len(self._filled) - 1)
        known = (place == index) & self._filled[place] & (self._sums[place] == sums)
        return (~known).nonzero()[:, 0]

    def _keep(self, index: Tensor, sums: Tensor, features: Tensor) -> None:
        missing = int(index.max()) + 1 - len(self._filled)
        if missing > 0:
            # Doubling, so that samples which come in any order cost a logarithmic number of copies.
            self._grow(max(missing, len(self._filled)), features, sums)
        self._rows[index], self._sums[index], self._filled[index] = features, sums, True

    def _grow(self, count: int, features: Tensor, sums: Tensor) -> None:
        old = len(self._filled)
        rows, known = features.new_zeros(old + count, *features.shape[1:]), sums.new_zeros(old + count)
        filled = torch.zeros(old + count, dtype=torch.bool, device=sums.device)
        if old:
            rows[:old], known[:old], filled[:old] = self._rows, self._sums, self._filled
        self._rows, self._sums, self._filled = rows, known, filled


def checksum(content: Tensor) -> Tensor:
    """int64 [B] of each row of [B, ...]: of its bits and their places, in whole numbers, so the same in every batch."""
    flat = content.detach().contiguous().flatten(1)
    words = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()]
    place = torch.arange(1, flat.shape[1] + 1, device=flat.device) * 2654435761 + 1
    return (flat.view(words).to(torch.int64) * place).sum(1)


def _stamp(module: nn.Module) -> tuple[Any, ...]:
    tensors = [*module.parameters(), *module.buffers()]
    device = tensors[0].device.type if tensors else "cpu"
    precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return (device, precision, *((t.data_ptr(), t._version) for t in tensors))
