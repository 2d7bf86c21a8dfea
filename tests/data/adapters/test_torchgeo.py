"""Data sets of torchgeo as samples: bands by name, reflectance, labels and maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nearfar.data import make_loader
from nearfar.data.adapters import TorchGeoDataset
from nearfar.errors import DataError, ShapeError

BANDS = ("B03", "B8A", "B02", "QA")


class EuroSAT:
    """As much of a torchgeo NonGeoDataset as is used."""

    classes = ("forest", "river")

    def __init__(self, **more: Any) -> None:
        self.more = more

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> dict[str, Any]:
        image = torch.full((4, 8, 8), 1000.0 * i) + torch.arange(4.0)[:, None, None]
        return {"image": image, "label": torch.tensor(i % 2), **self.more}


def test_samples_are_reflectance_by_band_name() -> None:
    dataset = TorchGeoDataset(EuroSAT(), BANDS)
    assert dataset.channels.names == ("s2.B02", "s2.B03", "s2.B8A")
    assert torch.allclose(dataset[2]["image"][:, 0, 0], torch.tensor([2002.0, 2000.0, 2001.0]) / 10000)
    assert (dataset.classes, dataset.labels.tolist()) == (("forest", "river"), [0, 1] * 3)
    assert dataset[3]["label"] == 1
    some = TorchGeoDataset(EuroSAT(), BANDS, wanted=("green",), scale=1000.0, size=4)
    assert some[2]["image"].shape == (1, 4, 4)
    assert some[2]["image"].mean() == pytest.approx(2.0)


def test_subsets_and_batches() -> None:
    part = TorchGeoDataset(EuroSAT(), BANDS).subset([4, 1]).subset([1, 0])
    assert part.ids == ("000001", "000004")
    assert [part[i]["label"] for i in range(2)] == [1, 0]
    assert part[1]["image"].mean() == pytest.approx(0.4001)
    batch = next(iter(make_loader(part, batch_size=2, sampler="sequential")))
    assert batch["image"].shape == (2, 3, 8, 8)


def test_maps_become_targets() -> None:
    dataset = TorchGeoDataset(EuroSAT(mask=torch.ones(1, 8, 8)), BANDS)
    assert dataset[0]["target"].dtype == torch.int64
    assert dataset[0]["target"].shape == (8, 8)
    with pytest.raises(ShapeError, match="differ in size"):
        TorchGeoDataset(EuroSAT(mask=torch.ones(8, 8)), BANDS, size=4)[0]


def test_labels_come_from_targets_without_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    source = EuroSAT()
    source.targets = np.array([1, 1, 0, 0, 0, 1])
    reads: list[int] = []
    original = EuroSAT.__getitem__
    monkeypatch.setattr(EuroSAT, "__getitem__", lambda self, i: reads.append(i) or original(self, i))
    assert TorchGeoDataset(source, BANDS).labels.tolist() == [1, 1, 0, 0, 0, 1]
    assert reads == [0]


def test_wrong_bands_are_told() -> None:
    with pytest.raises(DataError, match="another number of channels"):
        TorchGeoDataset(EuroSAT(), ("B03", "B02"))
    with pytest.raises(DataError, match="lacks B11"):
        TorchGeoDataset(EuroSAT(), BANDS, wanted=("B11",))
