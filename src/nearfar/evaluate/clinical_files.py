"""What task clinical leaves in the run folder beside its numbers: predictions.csv and arrays/clinical.npz."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nearfar.data.study import CLASSES, MODALITIES, StudyDataset
from nearfar.evaluate.decision import WORDS, Decision
from nearfar.evaluate.diagnosis import Scores
from nearfar.evaluate.roc import curve
from nearfar.train.files import write_atomically

Array = NDArray[Any]
SHOWN = 2
"""example pictures of each outcome"""
DRAWN = 20_000
"""cosines of other samples that are kept for a histogram"""


def prediction_rows(scores: Scores, decision: Decision | None, cohort: str | None = None) -> list[dict[str, str]]:
    """One row a sample, as text: sample_id, patient_id, cohort, p, p_calibrated, decision, gate of each modality,
    missing modalities, label. Without a decision its columns are empty; without a cohort there is no such column."""
    raw = 1 / (1 + np.exp(-np.clip(scores.logit, -700, 700)))
    calibrated = None if decision is None else decision.probabilities(scores.logit)
    calls = None if decision is None else decision.decide(scores.logit)
    rows = []
    for i in range(len(scores)):
        row = {"sample_id": str(scores.id[i]), "patient_id": str(scores.patient[i])}
        row |= {} if cohort is None else {"cohort": cohort}
        row |= {
            "p": f"{raw[i]:.6f}",
            "p_calibrated": "" if calibrated is None else f"{calibrated[i]:.6f}",
            "decision": "" if calls is None else WORDS[int(calls[i])],
        }
        for k, name in enumerate(MODALITIES):
            row[f"gate_{name}"] = "" if scores.gates is None else f"{scores.gates[i, k]:.4f}"
        row["missing"] = " ".join(name for k, name in enumerate(MODALITIES) if not scores.present[i, k])
        rows.append(row | {"label": CLASSES[scores.label[i]] if scores.label[i] >= 0 else ""})
    return rows


def csv_text(rows: list[dict[str, str]]) -> str:
    """Rows with the same keys as CSV with a heading."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def write_predictions(path: Path, cohorts: Mapping[str, Scores], decision: Decision) -> Path:
    """Every sample of every cohort, one row each, atomically."""
    rows = [row for name, scores in cohorts.items() for row in prediction_rows(scores, decision, name)]
    write_atomically(path, csv_text(rows).encode())
    return path


def curve_arrays(cohorts: Mapping[str, Scores], decision: Decision) -> dict[str, Array]:
    """`roc/COHORT` (1 - specificity, sensitivity) and `precision_recall/COHORT` (recall, precision), float [2, k].

    Of every cohort that has both classes. Of all samples [n] `label/COHORT`, `logit/COHORT`, `group/COHORT` (patients),
    `id/COHORT` and `call/COHORT` (1, 0, -1).
    """
    found: dict[str, Array] = {}
    for name, scores in cohorts.items():
        found |= {f"{key}/{name}": getattr(scores, key) for key in ("label", "logit", "group", "id")}
        found[f"call/{name}"] = decision.decide(scores.logit)
        rows = scores.labelled
        if len(np.unique(scores.label[rows])) == 2:
            drawn = curve(scores.label[rows], scores.logit[rows])
            found[f"roc/{name}"] = np.stack([drawn.fpr, drawn.tpr])
            found[f"precision_recall/{name}"] = np.stack([drawn.tpr, drawn.precision])
    return found


def cosine_arrays(scores: Scores, seed: int = 0) -> dict[str, Array]:
    """`cosine/A-B/matched` and `cosine/A-B/other`: cosines of every pair of modalities, others drawn at random."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    names = list(scores.aligned)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            rows = np.flatnonzero(scores.present[:, [MODALITIES.index(a), MODALITIES.index(b)]].all(1))
            if len(rows) < 2:
                continue
            x, y = scores.aligned[a][rows], scores.aligned[b][rows]
            first, second = rng.integers(0, len(rows), (2, DRAWN))
            first, second = first[first != second], second[first != second]
            found[f"cosine/{a}-{b}/matched"] = (x * y).sum(1).astype(np.float32)
            found[f"cosine/{a}-{b}/other"] = (x[first] * y[second]).sum(1).astype(np.float32)
    return found


def chosen_examples(labels: Array, calls: Array, logits: Array) -> Array:
    """Positions of up to `SHOWN` samples of each label and decision, those with the largest logits of either sign."""
    chosen = [
        np.flatnonzero((labels == label) & (calls == call))[
            np.argsort(-np.abs(logits[(labels == label) & (calls == call)]), kind="stable")[:SHOWN]
        ]
        for label in (1, 0)
        for call in WORDS
    ]
    return np.concatenate(chosen).astype(np.int64)


def example_arrays(
    dataset: StudyDataset, rows: Array, scores: Scores, decision: Decision, change: Array
) -> dict[str, Array]:
    """Samples at `rows` with their boxes and what leaving out each does (`change` [k, M])."""
    samples = [dataset[int(i)] for i in rows]
    calls, p = decision.decide(scores.logit[rows]), decision.probabilities(scores.logit[rows])
    size = dataset.size
    pictures = [(s["image"].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy() for s in samples]
    stacked = np.stack(pictures) if pictures else np.zeros((0, size, size, len(dataset.channels)), np.uint8)
    objects = torch.stack([s["objects"] for s in samples]).numpy() if samples else np.zeros((0, 0, 5), np.float32)
    labels = torch.stack([s["object_labels"] for s in samples]).numpy() if samples else np.zeros((0, 0), np.int64)
    return {
        "example/picture": stacked[..., 0] if stacked.shape[-1] == 1 else stacked,
        "example/boxes": objects[..., :4],
        "example/labels": labels,
        "example/change": change,
        "example/id": scores.id[rows],
        "example/label": np.array([CLASSES[i] for i in scores.label[rows]], dtype=np.str_),
        "example/p": p,
        "example/decision": np.array([WORDS[int(c)] for c in calls], dtype=np.str_),
        "object_classes": np.array(dataset.object_classes, dtype=np.str_),
    }
