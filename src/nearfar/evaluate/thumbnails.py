"""Small pictures of samples with any number of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nearfar.data.dataset import SampleDataset
from nearfar.data.loader import make_loader
from nearfar.data.pairs import EXTRAS
from nearfar.data.sample import Channels, band_names
from nearfar.encoders.bands import sensor_of
from nearfar.errors import ConfigError
from nearfar.evaluate.band_pictures import write_band_pictures
from nearfar.evaluate.composites import TRUE_COLOUR
from nearfar.evaluate.embed import run_splits
from nearfar.evaluate.embeddings import save_arrays

if TYPE_CHECKING:
    from nearfar.train.run import Run

Picture = NDArray[np.uint8]

TINT = 0.35  # how far the second modality moves red up and blue down, as a share of full scale
SHEET = 6  # images of each class on the sample sheet
_PROBE = 256  # samples that fix the range of each channel


def channel_range(dataset: SampleDataset, limit: int = _PROBE) -> tuple[Tensor, Tensor]:
    """The 1st and 99th percentile [C] of each channel over up to `limit` samples evenly taken.

    One range for all samples, so that the same value has the same colour everywhere.
    """
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(limit, len(dataset))).astype(int))
    pixels = torch.stack([dataset[int(i)]["image"][:, ::2, ::2] for i in chosen]).transpose(0, 1).flatten(1)
    ends = np.quantile(pixels.numpy(), [0.01, 0.99], axis=1).astype(np.float32)
    return torch.from_numpy(ends[0]), torch.from_numpy(ends[1])


def false_colour(images: Tensor, channels: Channels, low: Tensor, high: Tensor, size: int) -> Picture:
    """Images [B, C, H, W] as uint8 pictures [B, size, size, 3], channels stretched from low [C] to high [C].

    The base is red, green and blue of a sensor's bands, else the first three channels of the modality that has as many,
    or a grey of the first channel. Another modality tints it: red where its first channel is high, blue where it is
    low, as a thermal camera shows heat. Masks and boxes of a pair do not.
    """
    span = (high - low).clamp(min=1e-6)[:, None, None]
    x = ((images - low[:, None, None]) / span).clamp(0, 1)
    base = next((_colours(channels, spots) for spots in channels.modalities.values() if len(spots) >= 3), (0, 0, 0))
    picture = x[:, list(base)]
    others = (spots[0] for name, spots in channels.modalities.items() if base[0] not in spots and name not in EXTRAS)
    tint = next(others, None)
    if tint is not None:
        shift = TINT * (2 * x[:, tint] - 1)
        picture = (picture + torch.stack([shift, torch.zeros_like(shift), -shift], dim=1)).clamp(0, 1)
    small = F.interpolate(picture, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return np.asarray((small.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def _colours(channels: Channels, spots: tuple[int, ...]) -> tuple[int, ...]:
    """Positions of red, green and blue among channels: by name where they are bands, else the first three."""
    names = band_names(Channels(tuple(channels.names[i] for i in spots), {}))
    try:
        device = sensor_of(names)
    except ConfigError:
        return spots[:3]
    found = {device.find(name): spot for name, spot in zip(names, spots, strict=True)}
    places = [found.get(device.find(colour)) for colour in TRUE_COLOUR]
    known = tuple(place for place in places if place is not None)
    return known if len(known) == 3 else spots[:3]


def thumbnails(dataset: SampleDataset, size: int = 32, ends: tuple[Tensor, Tensor] | None = None) -> Picture:
    """uint8 [n, size, size, 3], one false-colour picture a sample, in the dataset's order; `ends`: `channel_range`."""
    low, high = ends if ends is not None else channel_range(dataset)
    batches = make_loader(dataset, batch_size=256, sampler="sequential", drop_last=False)
    return np.concatenate([false_colour(b["image"], dataset.channels, low, high, size) for b in batches])


def sample_sheet(dataset: SampleDataset, count: int = SHEET) -> dict[str, NDArray[np.generic]]:
    """A few samples of each class in each modality: `class` [R] and `modality` [R] name the rows of `images`.

    `images` is uint8 [R, k, S, S, 3], k = min(count, size of the smallest class shown); true labels where known.
    """
    labels = np.where(dataset.true_labels >= 0, dataset.true_labels, dataset.labels)
    members = {name: np.flatnonzero(labels == c) for c, name in enumerate(dataset.classes) if (labels == c).any()}
    k = min([count, *(len(found) for found in members.values())])
    low, high = channel_range(dataset)
    rows: dict[str, list[object]] = {"class": [], "modality": [], "images": []}
    for name, found in members.items():
        x = torch.stack([dataset[int(i)]["image"] for i in found[:k]])
        for modality, spots in dataset.channels.modalities.items():
            pick = list(spots)
            alone = Channels(tuple(dataset.channels.names[i] for i in pick), {modality: tuple(range(len(pick)))})
            rows["class"].append(name)
            rows["modality"].append(modality)
            rows["images"].append(false_colour(x[:, pick], alone, low[pick], high[pick], dataset.size))
    return {key: np.array(values) for key, values in rows.items()}


def write_pictures(run: Run, dataset: SampleDataset | None = None) -> None:
    """arrays/thumbnails.npz (`images` uint8 [n, 32, 32, 3] and `id`, in the order of embeddings.npz) and samples.npz.

    Of satellite bands also bands.npz, see `nearfar.evaluate.band_pictures`. A `dataset` given stands in for the test
    split.
    """
    filled = list(run_splits(run, dataset).values())
    ends = channel_range(filled[0])
    small = np.concatenate([thumbnails(samples, ends=ends) for samples in filled])
    ids = np.concatenate([np.array(samples.ids, dtype=np.str_) for samples in filled])
    save_arrays(run.arrays / "thumbnails.npz", images=small, id=ids)
    if filled[0].classes:
        save_arrays(run.arrays / "samples.npz", **sample_sheet(filled[0]))
    write_band_pictures(run, filled[0], ends)
