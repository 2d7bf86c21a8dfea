"""Pictures of bands: groups, textures and dates of satellite samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearfar.data import TensorDataset
from nearfar.data.sample import Channels, Sample
from nearfar.evaluate.band_pictures import SHOWN, band_pictures
from nearfar.evaluate.thumbnails import channel_range, false_colour
from nearfar.spatial.bands import groups_for

pytestmark = pytest.mark.filterwarnings("ignore::nearfar.spatial.bands.BandWarning")
BANDS = ("B02", "B03", "B04", "B08", "B8A", "B11", "B12")


def satellite(n: int = 12, bands: tuple[str, ...] = BANDS) -> TensorDataset:
    images = torch.rand(n, len(bands), 16, 16)
    return TensorDataset(images, torch.arange(n) % 6, channels=Channels.of({"s2": list(bands)}))


def test_groups_have_their_bands_and_one_range_for_all_samples() -> None:
    data = satellite()
    low, high = torch.zeros(7), torch.full((7,), 2.0)
    made = band_pictures(data, (low, high))
    assert made["groups"].tolist() == list(groups_for("sentinel2_l1c", BANDS))
    assert made["group_bands"][0] == "B04 B03 B02"
    assert made["composites"].shape == (SHOWN, len(made["groups"]), 16, 16, 3)
    shown = [data.ids.index(name) for name in made["id"]]
    expected = torch.stack([data[i]["image"][[2, 1, 0]] for i in shown]) / 2 * 255
    np.testing.assert_array_equal(made["composites"][:, 0], expected.round().permute(0, 2, 3, 1).numpy())
    assert len({int(data.labels[i]) for i in shown}) == SHOWN


def test_textures_are_patterns_of_three_bands() -> None:
    made = band_pictures(satellite(), (torch.zeros(7), torch.ones(7)))
    assert made["patterns"].shape == (SHOWN, len(made["textures"]), 16, 16, 3)
    assert set(np.unique(made["patterns"])) <= set(range(0, 256, 15))
    assert all(len(bands.split()) == 3 for bands in made["texture_bands"])


class Series(TensorDataset):
    def __getitem__(self, key: object) -> Sample:
        sample = super().__getitem__(key)  # type: ignore[arg-type]
        first = sample["image"]
        return Sample(**sample | {"series": torch.stack([first, first / 2]), "days": torch.tensor([737791, 737900])})


def test_places_of_a_series_are_shown_at_their_dates() -> None:
    data = Series(torch.rand(3, 7, 8, 8), channels=Channels.of({"s2": list(BANDS)}))
    made = band_pictures(data, (torch.zeros(7), torch.ones(7)))
    assert made["dates"].shape == (3, 2, 8, 8, 3)
    assert np.abs(made["dates"][:, 0] / 2 - made["dates"][:, 1]).max() <= 1
    assert made["days"][0].tolist() == [737791, 737900]


def test_other_data_have_no_such_pictures() -> None:
    for channels in (
        {"rgb": ["r", "g", "b"]},
        {"rgb": ["r", "g", "b"], "thermal": [""]},
        {"s2": ["B02", "B03", "B04"]},
    ):
        described = Channels.of(channels)
        data = TensorDataset(torch.rand(4, len(described), 8, 8), channels=described)
        assert not band_pictures(data, channel_range(data))


def test_thumbnails_of_bands_are_in_true_colour() -> None:
    image = torch.zeros(1, 7, 4, 4)
    image[:, 2] = 1  # B04, red
    picture = false_colour(image, Channels.of({"s2": list(BANDS)}), torch.zeros(7), torch.ones(7), 4)
    assert (picture == np.array([255, 0, 0])).all()
