"""What the bands of satellite samples show: composites of their groups, textures, and the dates of a place."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nearfar.data.dataset import SampleDataset
from nearfar.data.sample import Sample, band_names
from nearfar.encoders.bands import sensor_of
from nearfar.errors import ConfigError
from nearfar.evaluate.composites import TRUE_COLOUR
from nearfar.evaluate.embeddings import save_arrays
from nearfar.spatial.bands import BandWarning, groups_for
from nearfar.spatial.texture import local_binary_pattern

if TYPE_CHECKING:
    from nearfar.train.run import Run

Picture = NDArray[np.uint8]
Groups = Mapping[str, Sequence[str]]

SHOWN = 4  # samples
DATES = 6  # of a place, at most
_FEWEST = 4  # bands: fewer make no groups


def band_pictures(dataset: SampleDataset, ends: tuple[Tensor, Tensor]) -> dict[str, NDArray[Any]]:
    """Pictures of a few samples; nothing for data whose channels are not the bands of one sensor, or fewer than four.

    `id` [k]; `groups` and `group_bands` [G], `composites` uint8 [k, G, S, S, 3]; `textures` and `texture_bands` [T],
    `patterns` uint8 [k, T, S, S, 3], the local binary patterns of three bands as red, green and blue; of time
    series `days` [k, D] and `dates` uint8 [k, D, S, S, 3], the place in true colour. `ends`: the values [C] of each
    channel that become black and full colour in all pictures.
    """
    names = band_names(dataset.channels)
    try:
        device = sensor_of(names)
    except ConfigError:
        return {}
    if len(names) < _FEWEST or not len(dataset):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BandWarning)  # training told them
        groups, textures = groups_for(device, names), groups_for(device, names, "textures")
    samples = [dataset[int(i)] for i in _spread(dataset)]
    images = [sample["image"].numpy() for sample in samples]
    place = {device.find(name): c for c, name in enumerate(names)}
    made: dict[str, Any] = {
        "id": np.array([sample["id"] for sample in samples], dtype=np.str_),
        **_named("group", groups),
        "composites": np.array([[_picture(x, [place[b] for b in g], ends) for g in groups.values()] for x in images]),
        **_named("texture", textures),
        "patterns": np.array([[_pattern(x, [place[b] for b in g]) for g in textures.values()] for x in images]),
    }
    colours = [place.get(device.find(name)) for name in TRUE_COLOUR]
    return made | _dates(samples, [c for c in colours if c is not None], ends)


def write_band_pictures(run: Run, dataset: SampleDataset, ends: tuple[Tensor, Tensor]) -> None:
    """arrays/bands.npz of the run, where the data have bands; see `band_pictures`."""
    made = band_pictures(dataset, ends)
    if made:
        save_arrays(run.arrays / "bands.npz", **made)


def _spread(dataset: SampleDataset) -> NDArray[np.int64]:
    """Samples far apart in the data, of different classes where there are any."""
    labels = np.asarray(dataset.labels)
    firsts = [int(np.flatnonzero(labels == c)[0]) for c in np.unique(labels[labels >= 0])]
    pool = np.array(firsts) if len(firsts) >= SHOWN else np.arange(len(dataset))
    return np.unique(pool[np.linspace(0, len(pool) - 1, min(SHOWN, len(pool))).astype(int)])


def _named(kind: str, groups: Groups) -> dict[str, Any]:
    bands = [" ".join(group) for group in groups.values()]
    return {f"{kind}s": np.array(list(groups), dtype=np.str_), f"{kind}_bands": np.array(bands, dtype=np.str_)}


def _picture(image: NDArray[Any], channels: Sequence[int], ends: tuple[Tensor, Tensor]) -> Picture:
    low, high = (end.numpy()[list(channels), None, None] for end in ends)
    shares = np.clip((image[list(channels)] - low) / np.maximum(high - low, 1e-6), 0, 1)
    return np.asarray(np.round(255 * shares).astype(np.uint8).transpose(1, 2, 0))


def _pattern(image: NDArray[Any], channels: Sequence[int]) -> Picture:
    codes = local_binary_pattern(np.round(image[list(channels)] * 10_000).astype(np.int32))
    return np.asarray(np.asarray(codes).transpose(1, 2, 0) * (255 // 17), np.uint8)


def _dates(samples: Sequence[Sample], colours: Sequence[int], ends: tuple[Tensor, Tensor]) -> dict[str, Any]:
    if len(colours) < len(TRUE_COLOUR) or any("series" not in sample or "days" not in sample for sample in samples):
        return {}
    count = min(DATES, *(len(sample["series"]) for sample in samples))
    pictures = [[_picture(x, colours, ends) for x in sample["series"][:count].numpy()] for sample in samples]
    return {"dates": np.array(pictures), "days": np.array([sample["days"][:count].numpy() for sample in samples])}
