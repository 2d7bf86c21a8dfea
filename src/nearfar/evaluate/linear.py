"""Linear probe: logistic regression on standardised features, its regularisation chosen on held-out data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.bootstrap import FloatArray, IntArray, as_labels
from nearfar.evaluate.metrics import balanced_accuracy, confusion_matrix

ClassWeight = Literal["balanced"] | None
Labelled = tuple[FloatArray, IntArray]

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""inverse regularisation strengths C that are tried"""
_NEVER = -1e4  # score of a class without training samples: its probability is 0


@dataclass(frozen=True)
class Probe:
    """A fitted linear probe: predicted classes [m], probabilities [m, C], and the chosen inverse strength.

    `weight` [C, D] and `bias` [C] act on embeddings as they are: probabilities = softmax(z weight^T + bias).
    """

    predicted: IntArray
    probabilities: FloatArray
    strength: float
    weight: FloatArray
    bias: FloatArray


def linear_probe(
    train: ArrayLike,
    labels: ArrayLike,
    test: ArrayLike,
    classes: int,
    *,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    class_weight: ClassWeight = None,
    strengths: Sequence[float] = STRENGTHS,
    folds: int = 3,
    seed: int = 0,
) -> Probe:
    """Fit on `train` [n, D] with `labels` [n], predict `test` [m, D].

    Among `strengths` the C with the best balanced accuracy on `validation` (embeddings, labels) is taken; without a
    validation set, by stratified cross-validation on the training set (and the middle one where a class has a single
    sample). Ties go to the stronger regularisation. `class_weight="balanced"` weighs a sample by n / (C n_class).
    Raises ShapeError, or DataError for NaN or training labels of one class only.
    """
    x, m = _features(train, "the training embeddings"), _features(test, "the test embeddings")
    y = as_labels(labels, classes, "the training labels")
    if len(x) != len(y) or x.shape[1] != m.shape[1]:
        raise ShapeError(
            "training embeddings, labels and test embeddings do not fit", found=f"{x.shape}, {y.shape} and {m.shape}"
        )
    if len(np.unique(y)) < 2:
        raise DataError("a linear probe needs two classes", found=f"{len(y)} training samples of class {y[0]}")
    held_out = [((x, y), _validation(validation, classes))] if validation is not None else _folds(x, y, folds, seed)
    strength = _choose(held_out, strengths, classes, class_weight)
    probabilities, model = _fit_path((x, y), m, (strength,), classes, class_weight)
    return Probe(probabilities[0].argmax(axis=1), probabilities[0], strength, *_scores_of(model, classes))


def _choose(
    held_out: list[tuple[Labelled, Labelled]], strengths: Sequence[float], classes: int, class_weight: ClassWeight
) -> float:
    ordered = sorted(strengths)
    if not held_out or len(ordered) == 1:
        return ordered[len(ordered) // 2]
    scores = np.zeros(len(ordered))
    for fit, (z, y) in held_out:
        for i, p in enumerate(_fit_path(fit, z, ordered, classes, class_weight)[0]):
            scores[i] += float(balanced_accuracy(confusion_matrix(y, p.argmax(axis=1), classes)))
    return ordered[int(np.argmax(scores))]


def _fit_path(
    fit: Labelled, test: FloatArray, strengths: Sequence[float], classes: int, class_weight: ClassWeight
) -> tuple[list[FloatArray], Pipeline]:
    """Probabilities [m, C] for every strength, each fit starting where the last one ended; and the last fit."""
    scaler = StandardScaler().fit(fit[0])
    x, m = scaler.transform(fit[0]), scaler.transform(test)
    model = LogisticRegression(max_iter=300, tol=1e-3, warm_start=True, class_weight=class_weight)
    path = []
    for strength in strengths:
        model.set_params(C=strength)
        with warnings.catch_warnings():
            # At weak regularisation a separable problem has no optimum to converge to; validation decides anyway.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, fit[1])
        probabilities = np.zeros((len(m), classes))
        probabilities[:, model.classes_] = model.predict_proba(m)
        path.append(probabilities)
    return path, make_pipeline(scaler, model)


def _scores_of(fitted: Pipeline, classes: int) -> tuple[FloatArray, FloatArray]:
    """(weight [C, D], bias [C]) of the scores behind the probabilities, the scaling folded in."""
    scaler, model = (step for _, step in fitted.steps)
    rows, offsets = model.coef_, model.intercept_
    if len(rows) == 1:  # two classes: scikit-learn keeps the difference of their scores
        rows, offsets = np.concatenate([-rows, rows]) / 2, np.concatenate([-offsets, offsets]) / 2
    weight, bias = np.zeros((classes, rows.shape[1])), np.full(classes, _NEVER)
    weight[model.classes_] = rows / scaler.scale_
    bias[model.classes_] = offsets - weight[model.classes_] @ scaler.mean_
    return weight, bias


def _folds(x: FloatArray, y: IntArray, folds: int, seed: int) -> list[tuple[Labelled, Labelled]]:
    folds = min(folds, int(np.bincount(y)[np.unique(y)].min()))
    if folds < 2:
        return []
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y)
    return [((x[fit], y[fit]), (x[held], y[held])) for fit, held in parts]


def _validation(validation: tuple[ArrayLike, ArrayLike], classes: int) -> Labelled:
    return _features(validation[0], "the validation embeddings"), as_labels(
        validation[1], classes, "the validation labels"
    )


def _features(z: ArrayLike, name: str) -> FloatArray:
    rows = np.asarray(z, dtype=np.float64)
    if rows.ndim != 2:
        raise ShapeError(f"{name} must have two axes", found=rows.shape, expected="[n, D]")
    if not np.isfinite(rows).all():
        raise DataError(f"{name} hold NaN or infinity")
    return rows
