"""Windows of scenes as samples; scenes come from a source that tells where each pixel was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar.data import Key, make_loader
from nearfar.data.dataset import Record
from nearfar.data.sample import Channels
from nearfar.data.scene_windows import SceneDataset
from nearfar.data.scenes import IGNORED, Source, scenes_of
from nearfar.errors import DataError, ShapeError


class Numbered(Source):
    """Pixel value: 10000 t + 100 row + column; target: row + column, in parts ignored."""

    channels = Channels.of({"s2": ["B04"]})
    classes, kind, sensor, colours, gsd = ("a", "b"), "segment", "sentinel2_l2a", None, 10.0

    def shape(self, record: Record) -> tuple[int, int]:
        return 20, 30

    def days(self, record: Record) -> tuple[int, ...]:
        return tuple(range(100, 100 + record.true_label))

    def pixels(self, record: Record, rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray]:
        t, row, col = np.mgrid[: record.true_label, rows, cols]
        pixels = (10000 * t + 100 * row + col)[:, None].astype(np.float32)
        return pixels, row != 3

    def target(self, record: Record, rows: slice, cols: slice) -> np.ndarray:
        row, col = np.mgrid[rows, cols]
        return np.where(row == 4, IGNORED, (row + col) % 2)


def _records(*dates: int) -> list[Record]:
    return [Record(f"s{k}", (Path(f"s{k}"),), group=f"s{k}", split="train", true_label=n) for k, n in enumerate(dates)]


def _dataset(*dates: int, size: int = 8, drawn: int = 2) -> SceneDataset:
    return SceneDataset(_records(*dates), Numbered(), Path("root"), size=size, dates=drawn)


def test_pixels_valid_and_target_are_of_one_window() -> None:
    dataset = _dataset(3)
    corners, orders = set(), set()
    for seed in range(1, 200):
        sample = dataset[Key(0, seed)]
        number = sample["series"][:, 0].long()
        t, row, col = number // 10000, number % 10000 // 100, number % 100
        assert torch.equal(row[0], row[1])
        assert torch.equal(col[0], col[1])
        assert torch.equal(sample["valid"][0], row[0] != 3)
        assert torch.equal(sample["target"], torch.where(row[0] == 4, 255, (row[0] + col[0]) % 2))
        assert sample["days"].tolist() == [100 + int(t[0, 0, 0]), 100 + int(t[1, 0, 0])]
        corners.add((int(row[0, 0, 0]), int(col[0, 0, 0])))
        orders.add(tuple(sample["days"].tolist()))
    assert len(orders) == 6
    assert {c[0] for c in corners} == set(range(13))
    assert {c[1] for c in corners} == set(range(23))


def test_seed_0_is_the_centre_and_the_first_dates() -> None:
    sample = _dataset(3)[0]
    assert sample["series"][:, 0, 0, 0].tolist() == [611, 10611]
    assert torch.equal(sample["image"], sample["series"][0])
    assert (sample["gsd"], sample["label"]) == (10.0, -1)


def test_scenes_of_different_length() -> None:
    with pytest.raises(DataError, match=r"different numbers of dates \(found 2 to 3\).*--data\.dates to 2"):
        _dataset(3, 2, drawn=0)
    batch = next(iter(make_loader(_dataset(3, 2), batch_size=2)))
    assert batch["target"].shape == (2, 8, 8)
    with pytest.raises(DataError, match="s1: the scene has too few dates"):
        _dataset(3, 1)[1]
    with pytest.raises(DataError, match=r"s0: the scene is smaller.*30 x 20.*--data\.size to 20"):
        _dataset(2, size=21)[0]


def test_subsets() -> None:
    part = _dataset(3, 2, 2).subset([2, 0])
    assert part.ids == part.groups == ("s2", "s0")
    assert part.raw(0)["s2"].shape == (20, 30, 1)


def test_scenes_read_windows_and_refuse_others() -> None:
    scenes = scenes_of(_records(3, 1), Numbered())
    scene = scenes.scenes[0]
    assert (scene.times, scene.shape, scenes.classes) == (3, (20, 30), ("a", "b"))
    pixels, valid, target = scene.read(slice(2, 5), slice(7, 9))
    assert pixels.shape == (3, 1, 3, 2)
    assert valid.shape == (3, 3, 2)
    assert target.tolist() == [[1, 0], [0, 1], [255, 255]]
    with pytest.raises(ShapeError, match="s0: the window is not inside the scene"):
        scene.read(slice(0, 21), slice(0, 1))
    with pytest.raises(DataError, match="no scene is in the val split"):
        scenes.of_split("val")
