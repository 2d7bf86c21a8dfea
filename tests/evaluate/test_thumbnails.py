"""False colour of any number of channels, in the order of the samples."""

from __future__ import annotations

import numpy as np
import torch

from nearfar.data.dataset import TensorDataset
from nearfar.data.sample import Channels
from nearfar.evaluate.thumbnails import channel_range, false_colour, sample_sheet, thumbnails, write_pictures
from nearfar.train.run import Run

RGBT = Channels.of({"rgb": "rgb", "thermal": [""]})
ZERO, ONE = torch.zeros(4), torch.ones(4)


def test_colour_stays_and_heat_tints_it() -> None:
    image = torch.full((1, 4, 8, 8), 0.5)
    neutral = false_colour(image, RGBT, ZERO, ONE, 4)[0, 0, 0].tolist()
    image[:, 3] = 1.0
    hot = false_colour(image, RGBT, ZERO, ONE, 4)[0, 0, 0].tolist()
    image[:, 3] = 0.0
    cold = false_colour(image, RGBT, ZERO, ONE, 4)[0, 0, 0].tolist()
    assert neutral == [128, 128, 128]
    assert hot[0] - hot[2] > 140 and cold[2] - cold[0] > 140


def test_one_channel_is_grey_and_stretched_to_its_range() -> None:
    images = torch.linspace(0.2, 0.3, 10).reshape(10, 1, 1, 1).expand(10, 1, 8, 8)
    data = TensorDataset(images)
    small = thumbnails(data, size=8)
    assert small.shape == (10, 8, 8, 3) and small.dtype == np.uint8
    levels = small[:, 0, 0, 0].astype(int)
    assert levels[0] == 0 and levels[-1] == 255 and (np.diff(levels) > 0).all()
    assert (small[..., 0] == small[..., 2]).all()


def test_a_constant_channel_has_no_range_and_does_no_harm() -> None:
    data = TensorDataset(torch.full((3, 1, 8, 8), 0.4))
    low, high = channel_range(data)
    assert low.item() == high.item()
    assert thumbnails(data).shape == (3, 32, 32, 3)


def test_sheet_shows_every_class_in_every_modality() -> None:
    data = TensorDataset(torch.rand(8, 4, 8, 8), [0, 0, 0, 0, 0, 2, 2, 2], channels=RGBT, classes=("a", "b", "c"))
    sheet = sample_sheet(data)
    assert sheet["class"].tolist() == ["a", "a", "c", "c"]
    assert sheet["modality"].tolist() == ["rgb", "thermal"] * 2
    assert sheet["images"].shape == (4, 3, 8, 8, 3) and sheet["images"].dtype == np.uint8


def test_pictures_of_a_run_are_in_the_order_of_its_splits(run: Run) -> None:
    write_pictures(run)
    with np.load(run.arrays / "thumbnails.npz") as arrays:
        ids = [i for split in ("train", "val", "test") for i in run.dataset(split).ids]
        assert arrays["id"].tolist() == ids and arrays["images"].shape == (72, 32, 32, 3)
    with np.load(run.arrays / "samples.npz") as arrays:
        assert len(arrays["images"]) == 9
