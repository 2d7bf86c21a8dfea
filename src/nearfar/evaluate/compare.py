"""Two runs on the same test samples: paired differences of their classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nearfar.config import EvalConfig
from nearfar.evaluate.bootstrap import Interval
from nearfar.evaluate.metrics import paired_difference

if TYPE_CHECKING:
    from nearfar.train.run import Run

CLASSIFIERS = {"knn": "kNN", "linear": "linear probe"}
MEASURES = {"balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "macro_f1": "macro F1"}


def compare_runs(first: Run, second: Run, config: EvalConfig | None = None) -> dict[str, Interval]:
    """Differences first - second with paired bootstrap intervals, by the name of what differs.

    Scored against true labels where both know them, given ones otherwise. {} where the runs cannot be paired: one
    has not been classified, or they have other test samples, labels or classes. `config`: default the first run's.
    """
    ours, theirs = _predictions(first), _predictions(second)
    if ours is None or theirs is None or not _paired(ours, theirs):
        return {}
    config = config if config is not None else first.config.eval
    known = bool((ours["true_label"] >= 0).all())
    truth = ours["true_label"] if known else ours["label"]
    return {
        f"{classifier} {measure}": paired_difference(
            truth,
            ours[key],
            theirs[key],
            len(ours["classes"]),
            metric=metric,
            resamples=config.bootstrap,
            confidence=config.confidence,
            seed=config.seed,
        )
        for key, classifier in CLASSIFIERS.items()
        for metric, measure in MEASURES.items()
    }


def _predictions(run: Run) -> dict[str, NDArray[Any]] | None:
    path = run.arrays / "predictions.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _paired(ours: dict[str, NDArray[Any]], theirs: dict[str, NDArray[Any]]) -> bool:
    return all(np.array_equal(ours[name], theirs[name]) for name in ("id", "label", "true_label", "classes"))
