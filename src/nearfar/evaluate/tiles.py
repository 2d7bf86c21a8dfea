"""Square tiles of labelled scenes, and the features that a frozen encoder gives of them, computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearfar.evaluate.confusion import IGNORED
from nearfar.evaluate.decoders import Pyramid
from nearfar.evaluate.dense import Dated, DenseModel, padded
from nearfar.evaluate.transfer import BandChoice, PixelStatistics
from nearfar.evaluate.windowed import spans

if TYPE_CHECKING:
    from nearfar.data.scenes import LabelledScene

BUDGET = 2 * 2**30
"""bytes of features kept in memory; tiles beyond them are encoded anew every time"""
MEASURED = 256  # tiles whose pixels fix the statistics


@dataclass(frozen=True)
class Tile:
    """A window of a scene."""

    scene: LabelledScene
    rows: slice
    cols: slice


class Labelled(NamedTuple):
    """A tile read: dated pixels of the encoder's channels, and target int64 [s, s] with 255 where nothing counts."""

    place: Dated
    target: Tensor


def tiles_of(scenes: Sequence[LabelledScene], side: int) -> list[Tile]:
    """Tiles of side x side pixels that cover the scenes; smaller scenes are one tile."""
    return [
        Tile(scene, rows, cols)
        for scene in scenes
        for rows, _ in spans(scene.shape[0], side, 0)
        for cols, _ in spans(scene.shape[1], side, 0)
    ]


def read_tile(tile: Tile, choice: BandChoice, side: int, change: bool = False) -> Labelled:
    """The tile, brought to side x side. A pixel counts where any date has data, for `change` where all have."""
    pixels, valid, target = (torch.from_numpy(np.ascontiguousarray(a)) for a in tile.scene.read(tile.rows, tile.cols))
    place = padded(choice.of(pixels), valid, side, side)
    known = place[1].all(0) if change else place[1].any(0)
    whole = torch.full((side, side), IGNORED, dtype=torch.int64)
    whole[: target.shape[0], : target.shape[1]] = target
    return Labelled(place, torch.where(known, whole, IGNORED))


def tile_statistics(tiles: Sequence[Tile], choice: BandChoice, side: int) -> tuple[Tensor, Tensor]:
    """(mean, standard deviation) of the encoder's channels, over pixels with data of up to 256 tiles evenly taken."""
    sums = PixelStatistics(len(choice.index))
    for i in np.unique(np.linspace(0, len(tiles) - 1, min(MEASURED, len(tiles))).astype(int)):
        sums.add(*read_tile(tiles[i], choice, side).place)
    return sums.result()


class Tiles:
    """Tiles of scenes as a model is trained on them: `batch` gives pyramids and targets.

    Features of a frozen encoder are computed at the first use of a tile and kept in half precision while the budget
    lasts.
    """

    def __init__(
        self, tiles: Sequence[Tile], choice: BandChoice, model: DenseModel, side: int, budget: int = BUDGET
    ) -> None:
        self.tiles, self.choice, self.model, self.side = tiles, choice, model, side
        self._left = 0 if model.finetune else budget
        self._kept: dict[int, tuple[Pyramid, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.tiles)

    def batch(self, indices: Sequence[int]) -> tuple[Pyramid, Tensor]:
        """Maps [B, D_i, h_i, w_i] and targets int64 [B, s, s] of these tiles, on the model's device."""
        device = self.model.encoder.mean.device
        fresh = [i for i in indices if i not in self._kept]
        made = self._make(fresh) if fresh else {}
        items = [self._kept.get(i) or made[i] for i in indices]
        levels = zip(*(maps for maps, _ in items), strict=True)
        maps = [torch.stack([m.to(device).float() for m in level]) for level in levels]
        return maps, torch.stack([target for _, target in items]).to(device)

    def passes(self, size: int) -> Iterator[tuple[Pyramid, Tensor]]:
        """All tiles once, in order, in batches."""
        for start in range(0, len(self), size):
            yield self.batch(range(start, min(start + size, len(self))))

    def _make(self, indices: Sequence[int]) -> dict[int, tuple[Pyramid, Tensor]]:
        read = [read_tile(self.tiles[i], self.choice, self.side, self.model.kind == "change") for i in indices]
        maps = self.model.pyramid([labelled.place for labelled in read])
        made = {}
        for row, (i, labelled) in enumerate(zip(indices, read, strict=True)):
            made[i] = ([level[row] for level in maps], labelled.target)
            self._keep(i, *made[i])
        return made

    def _keep(self, i: int, maps: Pyramid, target: Tensor) -> None:
        size = sum(2 * m.numel() for m in maps) + 8 * target.numel()
        if size <= self._left:
            self._left -= size
            self._kept[i] = [m.cpu().half() for m in maps], target
