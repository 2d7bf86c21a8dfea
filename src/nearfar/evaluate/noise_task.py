"""Label noise of a run: every label that taught it, ranked by how much the embeddings speak against it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.bootstrap import FloatArray, IntArray, Interval, interval
from nearfar.evaluate.embed import run_embeddings
from nearfar.evaluate.embeddings import Embeddings
from nearfar.evaluate.knn import neighbours
from nearfar.evaluate.noise import label_doubt, ranking
from nearfar.train.files import write_atomically

if TYPE_CHECKING:
    from nearfar.train.run import Run

COLUMNS = ("rank", "id", "split", "given", "suggested", "doubt", "true")


def suggested_labels(
    z: ArrayLike, labels: ArrayLike, doubt: ArrayLike, classes: int, *, k: int = 20, temperature: float = 0.07
) -> IntArray:
    """The label [n] that each sample's k nearest others vote for, z [n, D] and labels [n] in 0..classes-1.

    A neighbour's vote weighs exp(cosine / temperature), as in the kNN classifier, times the trust in its own label,
    1 - doubt. It may be the given label. Raises ShapeError, or DataError for NaN or a single sample.
    """
    given, trust = np.asarray(labels), 1 - np.asarray(doubt, dtype=np.float64)
    similarity, position = neighbours(z, z, k, exclude_self=True)
    weights = np.exp((similarity - similarity[:, :1]).astype(np.float64) / temperature) * trust[position]
    cell = np.arange(len(given))[:, None] * classes + given[position]
    votes = np.bincount(cell.ravel(), weights=weights.ravel(), minlength=len(given) * classes)
    return np.asarray(votes.reshape(-1, classes).argmax(axis=1), dtype=np.int64)


def average_precision(
    score: ArrayLike, positive: ArrayLike, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Area under precision over recall of scores [n] for positives [n] bool, with a stratified bootstrap interval.

    Equal scores are one step (as in scikit-learn). Raises ShapeError, or DataError without positives or negatives.
    """
    value, hit = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    if value.shape != hit.shape or value.ndim != 1:
        raise ShapeError("scores and truth do not match", found=f"{value.shape} and {hit.shape}")
    if hit.all() or not hit.any():
        raise DataError("average precision needs positives and negatives", found=f"{hit.sum()} of {len(hit)} positive")
    order = np.argsort(-value, kind="stable")
    value, hit = value[order], hit[order]
    ends = np.flatnonzero(np.append(value[1:] != value[:-1], True))
    rng = np.random.default_rng(seed)
    samples = [_precision_area(_resample(hit, rng), hit, ends) for _ in range(resamples)]
    return interval(_precision_area(np.ones(len(hit)), hit, ends), samples, confidence)


def _resample(hit: NDArray[np.bool_], rng: np.random.Generator) -> FloatArray:
    """How often each sample is drawn when positives and negatives are resampled apart."""
    drawn = np.empty(len(hit))
    for stratum in (hit, ~hit):
        size = int(stratum.sum())
        drawn[stratum] = np.bincount(rng.integers(0, size, size), minlength=size)
    return drawn


def _precision_area(weights: FloatArray, hit: NDArray[np.bool_], ends: IntArray) -> float:
    found, seen = np.cumsum(weights * hit)[ends], np.cumsum(weights)[ends]
    precision = np.divide(found, seen, out=np.zeros(len(ends)), where=seen > 0)
    return float((np.diff(found, prepend=0.0) * precision).sum() / found[-1])


def write_ranking(path: Path, data: Embeddings, doubt: FloatArray, suggested: IntArray) -> Path:
    """noise.csv, the most doubted label first: rank, id, split, given, suggested, doubt, true (empty where unknown)."""
    names = [*data.classes, ""]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rank, i in enumerate(np.argsort(-doubt, kind="stable").tolist(), start=1):
        labels = names[data.label[i]], names[suggested[i]]
        writer.writerow((rank, data.id[i], data.split[i], *labels, f"{doubt[i]:.6f}", names[data.true_label[i]]))
    write_atomically(path, buffer.getvalue().encode())
    return path


def noise_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """Rank the labels of the train and val splits into noise.csv; scored where the true labels are known.

    Returns the number of labels and of those with a doubt above 1/2 and, with truth, of the wrong ones, their
    average_precision with interval, and precision_at_K. A `dataset` stands in for the test split, which takes no part.
    """
    embeddings = run_embeddings(run, dataset)
    data = embeddings.where((embeddings.split != "test") & (embeddings.label >= 0))
    if len(np.unique(data.label)) < 2:
        raise DataError("label noise needs two classes", found=f"{len(data)} labelled samples")
    doubt = label_doubt(data.z, data.label, neighbours=config.k)
    suggested = suggested_labels(data.z, data.label, doubt, len(data.classes), k=config.k)
    write_ranking(run.path / "noise.csv", data, doubt, suggested)
    report: dict[str, Any] = {"labels": len(data), "doubted": int((doubt > 0.5).sum())}
    if (data.true_label < 0).any():
        return report
    wrong = data.label != data.true_label
    report["wrong_labels"] = int(wrong.sum())
    if wrong.any() and not wrong.all():
        report |= ranking(doubt, wrong)
        options: dict[str, Any] = {"resamples": config.bootstrap, "confidence": config.confidence, "seed": config.seed}
        report["average_precision"] = average_precision(doubt, wrong, **options)
        report["suggestions_right"] = float((suggested == data.true_label)[wrong].mean())
    return report
