"""Anomaly detection of a run: one-class, from normal training images alone, and supervised, from all labels.

Normal is the class named good, normal, ok or clean, or else the most frequent one of the training split; every other
class is anomalous.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.data.loader import make_loader
from nearfar.errors import DataError
from nearfar.evaluate.anomaly_maps import (
    EmbedsPatches,
    Features,
    Maps,
    anomaly_maps,
    image_scores,
    stage_features,
)
from nearfar.evaluate.detection import BoolArray, Detection, detection_report
from nearfar.evaluate.embed import check_channels, run_embeddings, run_encoder
from nearfar.evaluate.embeddings import Embeddings, save_arrays
from nearfar.evaluate.linear import linear_probe
from nearfar.evaluate.thumbnails import channel_range, false_colour
from nearfar.methods import load_method_class
from nearfar.presets import PRESETS

if TYPE_CHECKING:
    from nearfar.train.run import Run

NORMAL_NAMES = ("good", "normal", "ok", "clean")
LIMIT = 1024  # images that are fitted and that are scored, evenly taken
SHOWN = 24  # maps kept for pictures, of the highest scores
_FOLDS = 5
_STRENGTH = 0.1  # of the logistic regression, fixed so that the probabilities of different folds can be compared


def anomaly_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """{"normal", "one_class", "supervised"} with image_auroc, and pixel_auroc and aupro where the data have masks.

    Writes arrays/anomaly.npz in the order of falling one-class score: `score`, `anomalous`, `id` [n], and of the first
    k `image` uint8 [k, S, S, 3], `maps` float32 and, with masks, `mask` bool [k, S, S]. Raises DataError where the
    training split has no normal image or the test split only one kind.
    """
    train, test = run.dataset("train"), dataset if dataset is not None else run.dataset("test")
    normal = normal_class(train.classes, train.labels)
    fitted = train.subset(_evenly(np.flatnonzero(train.labels == normal)))
    scored = test.subset(_evenly(np.flatnonzero(_truth(test) >= 0)))
    maps = anomaly_maps(run_features(run, scored), fitted, scored)
    anomalous = _truth(scored) != normal
    found = Detection(image_scores(maps), anomalous, maps, _masks(scored, anomalous))
    _save(run, scored, found, maps)
    options = {"resamples": config.bootstrap, "confidence": config.confidence, "seed": config.seed}
    one_class: dict[str, Any] = {**detection_report(found, **options), "normal_images": len(fitted)}  # type: ignore[arg-type]
    measured = {"normal": train.classes[normal], "images": len(scored), "one_class": one_class}
    score, truth, source = supervised_scores(run_embeddings(run, dataset), normal, config.seed)
    if score is not None:
        report = detection_report(Detection(score, truth), **options)  # type: ignore[arg-type]
        measured["supervised"] = {**report, "fitted_on": source}
    return measured


def normal_class(classes: tuple[str, ...], labels: NDArray[np.int64]) -> int:
    """Which class is normal. Raises DataError where no sample has a label."""
    known = labels[labels >= 0]
    if not len(known):
        raise DataError("anomalies need normal training images", found="no labelled sample in the train split")
    named = [i for i, name in enumerate(classes) if name.lower() in NORMAL_NAMES and (known == i).any()]
    return named[0] if named else int(np.bincount(known).argmax())


def run_features(run: Run, data: SampleDataset) -> Features:
    """What is compared: the patch embeddings of a method that has them, otherwise the encoder's stages."""
    encoder = run_encoder(run)
    check_channels(encoder, data.channels)
    kind = load_method_class(PRESETS[run.config.preset].method)
    if issubclass(kind, EmbedsPatches):
        method = run.method()
        assert isinstance(method, EmbedsPatches)
        return method.patches
    return stage_features(encoder)


def supervised_scores(
    embeddings: Embeddings, normal: int, seed: int = 0
) -> tuple[NDArray[np.float64] | None, BoolArray, str]:
    """Probability [n] that a labelled test sample is not normal, what is true, and what the classifier was fitted on.

    A logistic regression on the training split where that has both kinds; otherwise, as in MVTec's layout, on the test
    split by 5-fold cross-validation, every sample scored by a classifier that has not seen it. None with too few
    samples of a kind.
    """
    train, test = (part.where(part.label >= 0) for part in (embeddings.of_split("train"), embeddings.of_split("test")))
    truth = test.truth != normal
    if len(np.unique(train.label == normal)) == 2:
        return _probability(train, test, normal), truth, "train"
    if min(truth.sum(), (~truth).sum()) < _FOLDS:
        return None, truth, "nothing"
    score = np.zeros(len(test))
    for fit, held in StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(test.z, truth):
        score[held] = _probability(test.where(fit), test.where(held), normal)
    return score, truth, "test, cross-validated"


def _probability(fit: Embeddings, held: Embeddings, normal: int) -> NDArray[np.float64]:
    probe = linear_probe(fit.z, fit.label != normal, held.z, 2, class_weight="balanced", strengths=(_STRENGTH,))
    return np.asarray(probe.probabilities[:, 1])


def _truth(data: SampleDataset) -> NDArray[np.int64]:
    return np.where(data.true_labels >= 0, data.true_labels, data.labels)


def _masks(data: SampleDataset, anomalous: BoolArray) -> BoolArray | None:
    """[n, S, S], empty for normal images whatever their file shows; None where no defect has a mask."""
    if not data.has_masks:
        return None
    masks = np.zeros((len(data), data.size, data.size), dtype=bool)
    for i in np.flatnonzero(anomalous):
        sample = data[int(i)]
        if "mask" in sample:
            masks[i] = sample["mask"].numpy()
    return masks if masks.any() else None


def _save(run: Run, data: SampleDataset, found: Detection, maps: Maps) -> None:
    order = np.argsort(-found.score, kind="stable")
    shown = data.subset(order[:SHOWN])
    low, high = channel_range(data)
    batch = next(iter(make_loader(shown, batch_size=SHOWN, sampler="sequential")))
    arrays: dict[str, Any] = {
        "score": found.score[order],
        "anomalous": found.anomalous[order],
        "id": np.array(data.ids, dtype=np.str_)[order],
        "image": false_colour(batch["image"], data.channels, low, high, data.size),
        "maps": maps[order[:SHOWN]],
    }
    if found.masks is not None:
        arrays["mask"] = found.masks[order[:SHOWN]]
    save_arrays(run.arrays / "anomaly.npz", **arrays)


def _evenly(positions: NDArray[np.intp]) -> list[int]:
    if len(positions) > LIMIT:
        positions = positions[np.linspace(0, len(positions) - 1, LIMIT).round().astype(int)]
    return [int(i) for i in positions]
