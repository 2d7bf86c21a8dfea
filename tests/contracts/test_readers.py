"""What every reader owes: a new file in `nearfar/data/readers` is tested here without an edit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar.config import DataConfig
from nearfar.data import ImageDataset, Key, Sample, make_loader, open_dataset
from nearfar.data.check import check
from nearfar.data.readers import READERS, Reader, find_reader
from nearfar.errors import DataError, NearfarError


@pytest.fixture(params=list(READERS), scope="module")
def reader(request: pytest.FixtureRequest) -> Reader:
    found = READERS[request.param]
    if found.needs:
        pytest.importorskip(found.needs)
    return found


@pytest.fixture(scope="module")
def example(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reader.write_example(tmp_path_factory.mktemp(reader.name) / "example", count=36, size=20)


@pytest.fixture
def config(example: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(root=Path(shutil.copytree(example, tmp_path / "example")), size=16)


@pytest.fixture
def dataset(config: DataConfig) -> ImageDataset:
    return open_dataset(config)


def test_the_layouts_are_described_in_a_line(reader: Reader) -> None:
    assert 20 < len((reader.__doc__ or "").splitlines()[0]) < 120


def test_the_example_is_recognised_and_flawless(reader: Reader, config: DataConfig) -> None:
    assert find_reader("auto", config.root) is reader
    assert check(config) == []


@pytest.mark.slow
def test_the_example_is_the_same_for_the_same_seed(reader: Reader, dataset: ImageDataset, tmp_path: Path) -> None:
    again = open_dataset(DataConfig(root=reader.write_example(tmp_path / "again", count=36, size=20), size=16))
    other = open_dataset(DataConfig(root=reader.write_example(tmp_path / "b", count=12, size=20, seed=1), size=16))
    assert again.ids == dataset.ids
    assert all(torch.equal(again[i]["image"], dataset[i]["image"]) for i in range(len(dataset)))
    assert not torch.equal(other[0]["image"], dataset[0]["image"])


def test_the_example_can_be_learned(dataset: ImageDataset) -> None:
    """Distance to the class means of plain pixel statistics, or of the masks of pairs, already beats chance by far."""
    if not dataset.classes or (dataset.labels < 0).all():
        pytest.skip("its samples have no label")
    features = np.stack([_features(dataset[i]) for i in range(len(dataset))])
    known = np.unique(dataset.labels)
    means = np.full((len(dataset.classes), features.shape[1]), np.inf)
    means[known] = [features[dataset.labels == c].mean(0) for c in known]
    nearest = np.linalg.norm(features[:, None] - means, axis=-1).argmin(1)
    assert (nearest == dataset.labels).mean() > 0.7


def _features(sample: Sample) -> np.ndarray:
    if "masks" in sample:
        return torch.cat([sample["masks"].flatten(), 8 * sample["boxes"].flatten()]).numpy()
    image = sample["image"].flatten(1)
    return torch.cat([image.amax(1), image.amin(1)]).numpy()


def test_samples_keep_the_contract(dataset: ImageDataset) -> None:
    for i in range(len(dataset)):
        sample = dataset[Key(i, 5)]
        assert sample["image"].shape == (len(dataset.channels), 16, 16)
        assert sample["image"].dtype == torch.float32
        assert 0 <= sample["image"].min() <= sample["image"].max() <= 1
        assert (sample["index"], sample["seed"], sample["id"]) == (i, 5, dataset.ids[i])
        assert -1 <= sample["label"] < len(dataset.classes)
        if dataset.has_masks:
            assert (sample["mask"].shape, sample["mask"].dtype) == ((16, 16), torch.bool)


def test_ids_are_unique_and_do_not_name_the_root(dataset: ImageDataset) -> None:
    assert len(set(dataset.ids)) == len(dataset)
    assert not any(str(dataset.root) in id for id in dataset.ids)


def test_raw_keeps_resolution_and_depth(dataset: ImageDataset) -> None:
    raw = dataset.raw(0)
    assert list(raw) == list(dataset.channels.modalities)
    # Windows of scenes come in reflectance: their dates need not have one type.
    types = (np.float32,) if "target" in dataset[0] else (np.uint8, np.uint16)
    assert all(array.dtype in types and 16 not in array.shape[:2] for array in raw.values())


def test_splits_are_disjoint_and_whole(config: DataConfig, dataset: ImageDataset) -> None:
    parts = [open_dataset(config, split).ids for split in ("train", "val", "test")]
    assert sorted(sum(parts, ())) == sorted(dataset.ids)


def test_batches(dataset: ImageDataset) -> None:
    size = min(8, len(dataset))
    batches = list(make_loader(dataset, batch_size=size))
    assert len(batches) == len(dataset) // size
    assert all(isinstance(b["image"], torch.Tensor) and len(b["id"]) == size for b in batches)


def _some_image(dataset: ImageDataset) -> Path:
    path = dataset.records[len(dataset) // 2].paths[0]
    return path if path.is_file() else sorted(path.glob("*.tif"))[0]


def test_a_truncated_image_is_named(config: DataConfig, dataset: ImageDataset) -> None:
    path = _some_image(dataset)
    path.write_bytes(path.read_bytes()[:60])
    assert any(str(problem.path) == str(path) for problem in check(config))
    with pytest.raises(DataError, match=path.name):
        list(make_loader(open_dataset(config), batch_size=1, sampler="sequential"))


def test_another_number_of_channels_is_named(config: DataConfig, dataset: ImageDataset) -> None:
    from PIL import Image

    path = _some_image(dataset)
    if not isinstance(dataset, ImageDataset):
        pytest.skip("its channels have names: what is wrong with one is the reader's own test")
    Image.open(path).convert("L").save(path)
    assert any(str(problem.path) == str(path) and "channels" in problem.what for problem in check(config))


def test_nothing_there(reader: Reader, tmp_path: Path) -> None:
    with pytest.raises(NearfarError):
        open_dataset(DataConfig(root=tmp_path, format=reader.name))
    assert check(DataConfig(root=tmp_path, format=reader.name))
