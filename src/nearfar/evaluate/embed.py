"""From a dataset to embeddings: any dataset, a folder, or the splits of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from nearfar.data.dataset import ImageDataset, Record, SampleDataset
from nearfar.data.images import is_image
from nearfar.data.loader import make_loader
from nearfar.data.open import open_dataset
from nearfar.data.sample import Channels
from nearfar.encoders.image import ImageEncoder
from nearfar.errors import DataError
from nearfar.evaluate.embeddings import Embeddings

if TYPE_CHECKING:
    from nearfar.train.run import Run

SPLITS = ("train", "val", "test")


def embed(encoder: ImageEncoder, dataset: SampleDataset, *, split: str = "", batch_size: int = 256) -> Embeddings:
    """Embeddings of every sample of a dataset, in its order, on the encoder's device and in evaluation mode.

    Raises DataError where the channels are not the encoder's, the dataset is empty, or an embedding is not finite
    (naming the sample).
    """
    check_channels(encoder, dataset.channels)
    if len(dataset) == 0:
        raise DataError("no samples to embed", where=split or dataset.root)
    batches = make_loader(dataset, batch_size=batch_size, sampler="sequential", drop_last=False)
    z = torch.cat([encode(encoder, batch["image"]) for batch in batches]).numpy()
    bad = np.flatnonzero(~np.isfinite(z).all(axis=1))
    if bad.size:
        raise DataError(
            f"{bad.size} of {len(z)} embeddings hold NaN or infinity",
            where=dataset.ids[bad[0]],
            fix="Check the images with `nearfar data check`, or the run for a diverged encoder.",
        )
    return Embeddings(
        z=z,
        label=np.asarray(dataset.labels, dtype=np.int64),
        true_label=np.asarray(dataset.true_labels, dtype=np.int64),
        split=np.full(len(z), split, dtype="U5"),
        id=np.array(dataset.ids, dtype=np.str_),
        index=np.arange(len(z)),
        classes=tuple(dataset.classes),
    )


@torch.no_grad()
def encode(encoder: ImageEncoder, images: Tensor) -> Tensor:
    """Features float32 [B, D] on the CPU of images [B, C, H, W], in evaluation mode, mode restored after."""
    training = encoder.training
    encoder.eval()
    try:
        features = encoder(images.to(encoder.mean.device))
    finally:
        encoder.train(training)
    return cast(Tensor, features.float().cpu())


def run_encoder(run: Run) -> ImageEncoder:
    """The run's encoder in evaluation mode, on a GPU where there is one and the run may use it (train.accelerator)."""
    allowed = run.config.train.accelerator != "cpu" and torch.cuda.is_available()
    return run.encoder().to("cuda" if allowed else "cpu").eval()


def check_channels(encoder: ImageEncoder, channels: Channels) -> None:
    """DataError where a dataset's channels are not those the encoder was trained on."""
    if channels.names != encoder.channels.names:
        raise DataError(
            "the data have other channels than the encoder",
            found=", ".join(channels.names),
            expected=", ".join(encoder.channels.names),
            fix="Give data of the same channels: each modality in a folder named as in the training data.",
        )


def embed_folder(
    run: Run, folder: Path, out: Path | None = None, *, format: str = "auto", batch_size: int = 256
) -> Embeddings:
    """Embed every image of a folder, or one image file, with a run's encoder, read as the run read its own data.

    Size, scale and modalities are the run's; `format` names a reader; `out` is written if given. Raises DataError for
    bad data or channels.
    """
    encoder = run_encoder(run)
    if folder.is_file() and is_image(folder):
        dataset = _one_image(run, encoder.channels, folder)
    else:
        dataset = cast(ImageDataset, open_dataset(replace(run.config.data, root=folder, format=format), "all"))
    made = embed(encoder, dataset, batch_size=batch_size)
    named = np.array([record.split or "" for record in dataset.records], dtype=np.str_)
    made = replace(made, split=named)
    if out is not None:
        made.save(out)
    return made


def _one_image(run: Run, channels: Channels, path: Path) -> ImageDataset:
    if len(channels.modalities) > 1:
        raise DataError(
            "one file does not hold several modalities",
            where=path,
            expected=", ".join(channels.modalities),
            fix="Give a folder in the layout of the training data.",
        )
    data = run.config.data
    return ImageDataset([Record(path.name, (path,))], channels, (), path.parent, size=data.size, scale=data.scale)


def run_splits(run: Run, dataset: SampleDataset | None = None) -> dict[str, SampleDataset]:
    """A run's samples by split (train, val, test; those that have any), decoded once for all of them.

    A `dataset` given stands in for the test split. Raises DataError where its classes are not the run's.
    """
    everything = cast(ImageDataset, run.dataset("all"))
    names = np.array([record.split or "" for record in everything.records])
    splits: dict[str, SampleDataset] = {
        name: everything.subset(np.flatnonzero(names == name)) for name in SPLITS if (names == name).any()
    }
    if dataset is None:
        return splits
    if dataset.classes != everything.classes:
        raise DataError(
            "the data have other classes than the run",
            where=dataset.root,
            found=", ".join(dataset.classes),
            expected=", ".join(everything.classes),
        )
    return {**splits, "test": dataset}


def embed_run(run: Run, dataset: SampleDataset | None = None) -> Embeddings:
    """Embeddings of a run's train, val and test samples; a `dataset` given stands in for the test split."""
    encoder = run_encoder(run)
    return Embeddings.join([embed(encoder, part, split=name) for name, part in run_splits(run, dataset).items()])


def run_embeddings(run: Run, dataset: SampleDataset | None = None, *, fresh: bool = False) -> Embeddings:
    """The run's embeddings from arrays/embeddings.npz, made and written where absent, outdated or `fresh`.

    Outdated: older than encoder.safetensors, or of other test samples than the `dataset` given.
    """
    path = Path(run.arrays) / "embeddings.npz"
    if not fresh and path.is_file() and path.stat().st_mtime >= _encoder_time(run):
        stored = Embeddings.load(path)
        if dataset is None or stored.of_split("test").id.tolist() == list(dataset.ids):
            return stored
    made = embed_run(run, dataset)
    made.save(path)
    return made


def _encoder_time(run: Run) -> float:
    weights = Path(run.path) / "encoder.safetensors"
    return weights.stat().st_mtime if weights.is_file() else 0.0
