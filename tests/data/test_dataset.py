"""Datasets give what their contract says, from files and from arrays alike."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nearfar.data import Channels, ImageDataset, Key, Record, TensorDataset
from nearfar.data import images as files
from nearfar.data.dataset import channel_names, default_channels
from nearfar.errors import DataError, ShapeError


def _write(path: Path, size: tuple[int, int] = (12, 10), mode: str = "RGB", colour: object = 100) -> Path:
    Image.new(mode, size, colour if mode != "RGB" else (colour, 0, 0)).save(path)
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> ImageDataset:
    records = []
    for i in range(4):
        paths = (
            _write(tmp_path / f"rgb{i}.png", colour=51 * i),
            _write(tmp_path / f"t{i}.png", (6, 5), "I;16", 13107 * i),
        )
        mask = _write(tmp_path / "mask.png", mode="L", colour=255) if i == 1 else None
        records.append(Record(f"s{i}", paths, i % 2, group=f"g{i // 2}", mask=mask, true_label=0))
    channels = Channels.of({"rgb": "rgb", "thermal": [""]})
    return ImageDataset(records, channels, ("a", "b"), tmp_path, size=8)


def test_sample_from_files(dataset: ImageDataset) -> None:
    sample = dataset[Key(1, 77)]
    assert sample["image"].shape == (4, 8, 8)
    assert sample["image"].dtype == torch.float32
    assert torch.allclose(sample["image"].mean((1, 2)), torch.tensor([0.2, 0, 0, 0.2]), atol=1e-6)
    assert sample["mask"].dtype == torch.bool
    assert sample["mask"].all()
    rest = {key: value for key, value in sample.items() if key not in ("image", "mask")}
    assert rest == {"index": 1, "label": 1, "id": "s1", "group": "g0", "seed": 77, "true_label": 0}


def test_samples_without_a_mask_file_are_unmarked(dataset: ImageDataset) -> None:
    assert not dataset[0]["mask"].any()
    assert "mask" in dataset.subset([0])[0]


def test_subset_counts_anew_and_keeps_everything_else(dataset: ImageDataset) -> None:
    part = dataset.subset(np.array([3, 1]))
    assert [part[i]["id"] for i in range(2)] == ["s3", "s1"]
    assert part[0]["index"] == 0
    assert part.labels.tolist() == [1, 1]
    assert (part.classes, part.channels, part.size) == (dataset.classes, dataset.channels, dataset.size)


def test_raw_is_untouched(dataset: ImageDataset) -> None:
    raw = dataset.raw(2)
    assert {k: (v.shape, v.dtype.name) for k, v in raw.items()} == {
        "rgb": ((10, 12, 3), "uint8"),
        "thermal": ((5, 6, 1), "uint16"),
    }
    assert raw["thermal"].max() == 26214


def test_other_number_of_channels_is_refused(dataset: ImageDataset, tmp_path: Path) -> None:
    _write(tmp_path / "rgb3.png", mode="L")
    with pytest.raises(DataError, match=r"rgb3\.png.*found 1, expected 3 \(rgb\.r, rgb\.g, rgb\.b\)"):
        dataset[3]


def test_index_out_of_range(dataset: ImageDataset) -> None:
    assert dataset[-1]["id"] == "s3"
    for index in (4, -5):
        with pytest.raises(IndexError, match="of 4"):
            dataset[index]


def test_decoded_images_are_kept_and_shared_with_subsets(
    dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dataset[0]["image"]
    first.zero_().sub_(5)  # what a caller does to its copy must not reach the cache
    monkeypatch.setattr(files, "read", lambda path: pytest.fail(f"decoded {path} again"))
    assert dataset[0]["image"].min() >= 0
    assert torch.equal(dataset.subset([0])[0]["image"], dataset[0]["image"])


@pytest.mark.parametrize(("budget", "kept"), [(0, 0), (2 * (4 * 64 * 4 + 64), 2), (10**6, 4)])
def test_cache_keeps_to_its_budget(
    dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch, budget: int, kept: int
) -> None:
    small = ImageDataset(dataset.records, dataset.channels, size=8, cache_bytes=budget)
    reads: list[Path] = []
    original = files.read
    monkeypatch.setattr(files, "read", lambda path: reads.append(path) or original(path))
    for _ in range(2):
        for i in range(4):
            small[i]
    images_read = [p for p in reads if p.name != "mask.png"]
    assert len(images_read) == 2 * (4 + (4 - kept))


def test_a_pickled_dataset_leaves_its_cache_behind(dataset: ImageDataset) -> None:
    empty = len(pickle.dumps(dataset))
    for i in range(4):
        dataset[i]
    assert len(pickle.dumps(dataset)) == empty
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[1]["image"], dataset[1]["image"])


def test_tensor_dataset() -> None:
    images = torch.rand(5, 3, 8, 8)
    masks = torch.rand(5, 8, 8) > 0.5
    data = TensorDataset(images, [0, 1, 2, -1, 0], masks=masks, true_labels=[0, 1, 2, 2, 0], groups=list("aabbc"))
    assert data.classes == ("0", "1", "2")
    assert data.channels.names == ("rgb.r", "rgb.g", "rgb.b")
    sample = data[Key(3, 9)]
    assert torch.equal(sample["image"], images[3])
    assert torch.equal(sample["mask"], masks[3])
    assert (sample["label"], sample["true_label"], sample["group"], sample["seed"]) == (-1, 2, "b", 9)
    part = data.subset([4, 3])
    assert [part[i]["id"] for i in range(2)] == [data[4]["id"], data[3]["id"]]
    assert part.classes == data.classes
    assert data.raw(0)["rgb"].shape == (8, 8, 3)
    assert [r.label for r in data.records] == data.labels.tolist()


def test_tensor_dataset_without_extras() -> None:
    sample = TensorDataset(np.zeros((2, 5, 4, 4), np.float64))[0]
    assert sorted(sample) == ["group", "id", "image", "index", "label", "seed"]
    assert sample["label"] == -1


@pytest.mark.parametrize(
    ("images", "options", "error", "text"),
    [
        (torch.zeros(2, 4, 4), {}, ShapeError, r"\(2, 4, 4\)"),
        (torch.zeros(2, 1, 4, 5), {}, ShapeError, r"\[N, C, S, S\]"),
        (torch.zeros(2, 1, 4, 4), {"labels": [0]}, ShapeError, r"\(1,\)"),
        (torch.zeros(2, 1, 4, 4), {"masks": torch.zeros(3, 4, 4)}, ShapeError, "masks"),
        (torch.zeros(2, 1, 4, 4), {"groups": ["a"]}, ShapeError, "groups"),
        (torch.zeros(2, 1, 4, 4), {"channels": default_channels(3)}, ShapeError, "found 3, expected 1"),
        (torch.full((2, 1, 4, 4), torch.nan), {}, DataError, "NaN"),
    ],
)
def test_tensor_dataset_refuses(images: torch.Tensor, options: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        TensorDataset(images, **options)


def test_channel_names() -> None:
    assert channel_names("thermal", 1) == ("",)
    assert channel_names("rgb", 4) == tuple("rgba")
    assert channel_names("bands", 3) == ("0", "1", "2")
    assert default_channels(13).names[-1] == "image.12"
    assert default_channels(1).names == ("gray",)
