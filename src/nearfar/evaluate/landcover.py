"""Classes of whole patches, such as EuroSAT's: a classifier on the run's encoder, on data it was not trained on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.data.sample import band_names
from nearfar.data.statistics import channel_statistics
from nearfar.encoders.image import ImageEncoder
from nearfar.evaluate.bootstrap import IntArray
from nearfar.evaluate.composites import FALSE_COLOUR, TRUE_COLOUR, composite
from nearfar.evaluate.embed import run_encoder
from nearfar.evaluate.embeddings import save_arrays
from nearfar.evaluate.heads import save_head
from nearfar.evaluate.landcover_data import Patches, open_patches
from nearfar.evaluate.landcover_fit import Classifier, fit_encoder, fit_linear, fit_parts, frozen_features
from nearfar.evaluate.landcover_maps import PatchClassifier
from nearfar.evaluate.metrics import classification_report
from nearfar.evaluate.transfer import set_statistics

if TYPE_CHECKING:
    from nearfar.train.run import Run

SHOWN = 3  # test patches of each class kept for pictures


def landcover_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """A `classification_report` of the test patches of `config.landcover`, and how the classifier was made.

    The classifier, by `config.landcover_mode`, learns from the training patches and is chosen on the validation
    patches; see `landcover_fit`. `dataset` is not used: the patches bring their own splits.

    Writes heads/landcover.safetensors and arrays/landcover.npz: `id`, `true`, `predicted` [n] of all test patches,
    `classes`, and of some of them, at the positions `shown` [k], `colour` and `false_colour` uint8 [k, S, S, 3]. Raises
    ConfigError where no data are given or bands are missing, DataError where a split has no labels.
    """
    encoder = run_encoder(run)
    parts = open_patches(config, encoder)
    if config.statistics == "target":
        mean, std = channel_statistics(parts["train"].data)
        set_statistics(encoder, *(parts["train"].choice.of(x[:, None, None])[:, 0, 0] for x in (mean, std)))
    made = _fit(encoder, parts, config)
    _keep(run, config, encoder, parts["train"], made)
    weight, bias = (x.to(encoder.mean.device) for x in (made.weight, made.bias))
    classifier = PatchClassifier(encoder, weight, bias, config.landcover_mode == "histogram")
    predicted = predict_patches(classifier, parts["test"])
    save_arrays(run.arrays / "landcover.npz", **_arrays(parts["test"], predicted))
    options: dict[str, Any] = {"resamples": config.bootstrap, "confidence": config.confidence, "seed": config.seed}
    report = classification_report(parts["test"].labels, predicted, parts["test"].data.classes, **options)
    choice = parts["train"].choice
    return {
        **report,
        "mode": config.landcover_mode,
        "protocol": config.protocol,
        "statistics": config.statistics,
        "validation_score": None if math.isnan(made.score) else made.score,
        "chosen": made.chosen,
        "bands": list(choice.bands),
        "sensor": choice.sensor,
        **{f"{name}_samples": len(part.labels) for name, part in parts.items()},
        "seed": config.seed,
    }


@torch.no_grad()
def predict_patches(classifier: PatchClassifier, patches: Patches) -> IntArray:
    """The likeliest class [n] of every patch."""
    found = [classifier(x).argmax(1).cpu().numpy() for x, _ in patches.batches()]
    return np.concatenate(found).astype(np.int64)


def _fit(encoder: ImageEncoder, parts: dict[str, Patches], config: EvalConfig) -> Classifier:
    classes, mode = len(parts["train"].data.classes), config.landcover_mode
    if mode == "finetune":
        return fit_encoder(encoder, parts["train"], parts.get("val"), classes, config.decoder_epochs, config.seed)
    known = {name: part for name, part in parts.items() if name != "test"}
    sets = {name: frozen_features(encoder, part, mode == "histogram") for name, part in known.items()}
    if mode == "linear":
        return fit_linear(sets["train"], sets.get("val"), classes, config.seed)
    return fit_parts(sets["train"], sets.get("val"), classes, config.decoder_epochs, config.seed)


def _keep(run: Run, config: EvalConfig, encoder: ImageEncoder, train: Patches, made: Classifier) -> None:
    state = {"weight": made.weight, "bias": made.bias, "mean": encoder.mean, "std": encoder.std}
    if config.landcover_mode == "finetune":
        state |= {f"encoder.{k}": v for k, v in encoder.state_dict().items()}
    meta = {
        "classes": list(train.data.classes),
        "times": 1,
        "bands": list(train.choice.bands),
        "sensor": train.choice.sensor,
        "index": list(train.choice.index),
        "size_multiple": 1,
        "mode": config.landcover_mode,
        "patch": train.data.size,
        "stride": max(1, train.data.size // 2),
        "statistics": config.statistics,
    }
    save_head(run, "landcover", state, meta)


def _arrays(test: Patches, predicted: IntArray) -> dict[str, Any]:
    shown = np.concatenate([np.flatnonzero(test.labels == c)[:SHOWN] for c in range(len(test.data.classes))])
    bands, sensor = band_names(test.data.channels), test.choice.sensor
    # Side by side, so that one stretch holds for all: alone, the noise of a patch of sea would fill the range.
    images = np.concatenate([test.data[int(i)]["image"].numpy() for i in shown], axis=2)
    pictures: dict[str, Any] = {}
    for name, colours in (("colour", TRUE_COLOUR), ("false_colour", FALSE_COLOUR)):
        made = composite(images, bands, sensor, colours)
        if made is not None:
            pictures[name] = np.array(np.split(made, len(shown), axis=1))
    return {
        "id": np.array(test.data.ids, dtype=np.str_),
        "true": test.labels,
        "predicted": predicted,
        "classes": np.array(test.data.classes, dtype=np.str_),
        "shown": shown,
        **pictures,
    }
