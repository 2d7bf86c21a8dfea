"""Task clinical: a diagnosis from image, text and boxes, measured as a clinic would ask for it.

Calibrator, threshold and band are fitted on the validation images and written to decision.json; the test images and
every other cohort are judged by them as they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nearfar.config import EvalConfig
from nearfar.data.dataset import SampleDataset
from nearfar.data.loader import collate
from nearfar.data.study import MODALITIES, StudyDataset
from nearfar.errors import DataError
from nearfar.evaluate.ablation import inference_ablation, permutation_importance
from nearfar.evaluate.alignment import alignment_health
from nearfar.evaluate.clinical_files import (
    chosen_examples,
    cosine_arrays,
    curve_arrays,
    example_arrays,
    write_predictions,
)
from nearfar.evaluate.clinical_groups import subgroups
from nearfar.evaluate.clinical_measures import Labelled, auc_drop, cohort_measures, gate_measures, net_benefit
from nearfar.evaluate.clinical_shift import embedding_shift
from nearfar.evaluate.cohorts import open_cohorts
from nearfar.evaluate.decision import Decision, fit_decision
from nearfar.evaluate.diagnosis import Scores, box_changes, columns, diagnostic_method, fusing, score
from nearfar.evaluate.embeddings import save_arrays

if TYPE_CHECKING:
    from nearfar.train.run import Run

Array = NDArray[Any]


def clinical_task(run: Run, config: EvalConfig, dataset: SampleDataset | None = None) -> dict[str, Any]:
    """Fit the decision on the validation images, measure it in every cohort, and tell where it comes from.

    `decision` (calibrator, operating point, its rule in words); `cohorts` by name: `cohort_measures`, for others than
    val and test also the `drop` of ROC-AUC from the test images and the `shift` of the embeddings; of the test images
    `net_benefit`, `subgroups` and `gaps`, `ablation`, `permutation`, `gates`, `alignment`; `notes`. What needs both
    classes is left out where the test images have one.

    Writes decision.json, predictions.csv and arrays/clinical.npz. Raises ConfigError where the method makes no
    diagnosis, DataError where the data are no study or the validation images have one class.
    """
    method = diagnostic_method(run)
    cohorts = open_cohorts(run, config, dataset)
    found = {name: score(method, part) for name, part in cohorts.parts.items()}
    decision = _fitted(found["val"], config)
    decision.save(run.path)
    write_predictions(run.path / "predictions.csv", found, decision)
    _save_arrays(run, method, cohorts.parts["test"], found, decision)
    test = Labelled.of(found["test"])
    section: dict[str, Any] = {
        "decision": {**decision.state(), "rule": decision.rule},
        "cohorts": {name: _cohort(name, scores, found["test"], decision, config) for name, scores in found.items()},
        "gates": gate_measures(found["test"].gates, MODALITIES),
        "alignment": _alignment(found["test"]),
        "notes": list(cohorts.notes),
    }
    if len(test.labels):
        section["net_benefit"] = net_benefit(test, decision)
        section |= subgroups(found["test"], decision, config)
    return section | (_contributions(method, found["test"], config) if test.both else {})


def _fitted(scores: Scores, config: EvalConfig) -> Decision:
    known = Labelled.of(scores)
    if not known.both:
        raise DataError(
            "calibration and threshold need validation images of both classes",
            found=f"{int((known.labels == 1).sum())} standard, {int((known.labels == 0).sum())} non-standard",
            fix="Give more of them: --data.val.",
        )
    return fit_decision(known.logits, known.labels, known.patients, config)


def _cohort(name: str, scores: Scores, test: Scores, decision: Decision, config: EvalConfig) -> dict[str, Any]:
    found = cohort_measures(scores, decision, config)
    if name in ("val", "test"):
        return found
    drop = auc_drop(Labelled.of(test), Labelled.of(scores), config)
    return {**found, "drop": drop, "shift": embedding_shift(test, scores, config)}


def _contributions(method: Any, scores: Scores, config: EvalConfig) -> dict[str, Any]:
    """Ablation and permutation on the labelled samples."""
    rows, fuse = scores.labelled, fusing(method)
    z = {name: values[rows] for name, values in scores.z.items()}
    present, labels, patients = columns(scores.present, list(z))[rows], scores.label[rows], scores.group[rows]
    options: dict[str, Any] = {"clusters": patients, "confidence": config.confidence}
    found: dict[str, Any] = {"ablation": inference_ablation(fuse, z, present, labels, **options)}
    try:
        found["permutation"] = permutation_importance(fuse, z, present, labels, patients, seed=config.seed)
    except DataError:
        found["permutation"] = {}  # too few patients to exchange anything between them
    return found


def _alignment(scores: Scores) -> dict[str, Any]:
    present = {name: scores.present[:, MODALITIES.index(name)] for name in scores.aligned}
    views = scores.column("view")
    known = views if (views != "").any() else None
    return alignment_health(scores.aligned, present=present, captions=scores.captions, views=known)


def _save_arrays(run: Run, method: Any, test: StudyDataset, found: Mapping[str, Scores], decision: Decision) -> None:
    scores = found["test"]
    rows = chosen_examples(scores.label, decision.decide(scores.logit), scores.logit)
    change = np.zeros((0, test.max_objects))
    if len(rows):
        batch = collate([test[int(i)] for i in rows])
        change = box_changes(method, batch, scores.where(rows))
    save_arrays(
        run.arrays / "clinical.npz",
        **curve_arrays(found, decision),
        **cosine_arrays(scores),
        **example_arrays(test, rows, scores, decision, change),
    )
