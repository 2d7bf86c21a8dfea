"""From files to batches: readers, checks, splits, samplers and loaders."""

from nearfar.data.dataset import ImageDataset, Key, Record, SampleDataset, TensorDataset
from nearfar.data.loader import Batch, collate, make_loader
from nearfar.data.open import open_dataset
from nearfar.data.sample import Channels, Sample
from nearfar.data.statistics import channel_statistics

__all__ = [
    "Batch",
    "Channels",
    "ImageDataset",
    "Key",
    "Record",
    "Sample",
    "SampleDataset",
    "TensorDataset",
    "channel_statistics",
    "collate",
    "make_loader",
    "open_dataset",
]
