"""The sections of a report about what a diagnosis rests on: modalities, their alignment, boxes of example images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.report import clinical_figures as figures
from nearfar.report.page import Picture, Section, Table, number
from nearfar.report.sections import arrays
from nearfar.report.summary import lookup

if TYPE_CHECKING:
    from nearfar.train import Run

Runs = Mapping[str, "Run"]
Found = Mapping[str, Any]
NOT_IMPORTANCE = (
    "Gates are not importance: they say how embeddings of whatever length are mixed, and change with the embeddings. "
    "What a modality contributes is told by the tables above."
)


def measured(runs: Runs) -> dict[str, Found]:
    """What task clinical measured of each run that has it."""
    return {name: run.metrics["clinical"] for name, run in runs.items() if "clinical" in run.metrics}


def modalities(runs: Runs) -> Section:
    """What each modality contributes: left out at inference, exchanged across patients; and the gates."""
    part = Section("What each modality contributes")
    for name, found in measured(runs).items():
        rows = [
            [kept.replace("+", ", "), number(row["auc"]), number(row.get("drop")), _p(row.get("p", ""))]
            for kept, row in (found.get("ablation") or {}).items()
        ]
        if rows:
            caption = f"{name}, test: the rest is treated as missing. The model was not trained anew without it."
            part.tables.append(Table(["with", "ROC-AUC", "drop", "p"], rows, caption))
        rows = [
            [modality, number(row["auc"]), f"{row['drop']:.3f} ± {row['sd']:.3f}"]
            for modality, row in (found.get("permutation") or {}).items()
        ]
        if rows:
            caption = f"{name}, test: one modality is that of another patient; mean and deviation over permutations."
            part.tables.append(Table(["exchanged", "ROC-AUC", "drop"], rows, caption))
        rows = [[modality, f"{g['mean']:.3f} ± {g['sd']:.3f}"] for modality, g in (found.get("gates") or {}).items()]
        if rows:
            part.tables.append(Table(["gate of", "mean ± sd"], rows, f"{name}, test. {NOT_IMPORTANCE}"))
    return part


def alignment(runs: Runs) -> Section:
    """Cosines and retrieval between the modalities' embeddings."""
    part = Section("Alignment of the modalities")
    for name, run in runs.items():
        found = lookup(run.metrics, "clinical", "alignment") or {}
        known = {pair: row for pair, row in found.items() if "matched" in row}
        if not known:
            continue
        head = ["pair", "same sample, mean ± sd", "median (range)", "others, mean ± sd", "separation", "gap"]
        rows = [[pair, *_cosines(row)] for pair, row in known.items()]
        caption = f"{name}, test: cosines. Separation: how often that of one sample exceeds another; chance 0.5."
        part.tables.append(Table(head, rows, caption))
        head = ["query to answer", "among", "recall@1", "chance", "recall@5", "chance", "median rank"]
        caption = f"{name}, test: retrieval. In its own view the view no longer helps; equal captions are all right."
        part.tables.append(Table(head, _retrieval_rows(known), caption))
        data = arrays(run, "clinical") or {}
        pairs = {
            p: (data[f"cosine/{p}/matched"], data[f"cosine/{p}/other"]) for p in known if f"cosine/{p}/other" in data
        }
        if pairs:
            path = figures.cosine_figure(pairs, run.figures / "alignment.png")
            part.figures.append(Picture(path, f"cosines of {name}", f"{name}: cosines between modalities.", wide=True))
    return part


def _cosines(row: Found) -> list[str]:
    same, other = row["matched"], row["other"]
    spread = f"{same['median']:.3f} ({same['min']:.3f} to {same['max']:.3f})"
    others = f"{other['mean']:.3f} ± {other['sd']:.3f}" if other else "–"
    return [f"{same['mean']:.3f} ± {same['sd']:.3f}", spread, others, number(row["separation"]), number(row["gap"])]


def _retrieval_rows(pairs: Mapping[str, Found]) -> list[list[str]]:
    keys = ("recall_1", "chance_1", "recall_5", "chance_5", "median_rank")
    return [
        [way, {"all": "all", "within_view": "its view"}[among], *(number(found.get(key)) for key in keys)]
        for row in pairs.values()
        for way, galleries in row["retrieval"].items()
        for among, found in galleries.items()
        if found["queries"]
    ]


def examples(runs: Runs) -> Section:
    """Test images, called rightly and wrongly, with their boxes and what the removal of each does."""
    part = Section("Examples")
    for name, run in runs.items():
        data = arrays(run, "clinical")
        if data is None or not len(data.get("example/picture", ())):
            continue
        shown = [_example(data, k) for k in range(len(data["example/picture"]))]
        path = figures.example_figure(shown, run.figures / "clinical_examples.png")
        caption = (
            f"{name}: test images. Blue boxes speak for standard, orange ones against it; the wider the line, the more "
            "the logit changes without the box, and the number is that of the strongest."
        )
        part.figures.append(Picture(path, f"examples of {name} with boxes", caption, wide=True))
    return part


def _example(data: Mapping[str, np.ndarray], k: int) -> dict[str, Any]:
    labels = data["example/labels"][k]
    kept = labels >= 0
    names = [str(data["object_classes"][i]) for i in labels[kept]]
    called = f"{data['example/label'][k]}, p {float(data['example/p'][k]):.2f}: {data['example/decision'][k]}"
    return {
        "picture": data["example/picture"][k],
        "boxes": data["example/boxes"][k][kept],
        "change": data["example/change"][k][kept],
        "names": names,
        "title": f"{str(data['example/id'][k])[-26:]}\n{called}",
    }


def _p(value: Any) -> str:
    return value if isinstance(value, str) else number(value)
