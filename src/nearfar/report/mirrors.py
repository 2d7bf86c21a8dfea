"""The section of a report about mirrored views: how often they are found, and sheets of what is found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.report.page import Picture, Section, Table, number
from nearfar.report.sections import arrays
from nearfar.report.style import COLOURS, bare, figure, save

if TYPE_CHECKING:
    from nearfar.train import Run

Runs = Mapping[str, "Run"]
MIRROR, OBJECT, OTHER = COLOURS[2], COLOURS[0], COLOURS[6]
COLUMNS = {
    "triplet_accuracy": "nearer than the opposite view",
    "mirror_top1": "first of all views",
    "mirror_top5": "among the first five",
    "cosine_mirror": "cosine of mirrored views",
    "cosine_opposite": "cosine of opposite views",
}
BASELINES = {"pixels": "pixels as they are", "flipped_pixels": "pixels of the view flipped left to right"}


def mirrored_views(runs: Runs) -> Section:
    """Retrieval of mirrored views beside chance and pixels, and sheets of queries and hits."""
    part = Section("Mirrored views")
    rows, known = [], None
    for name, run in runs.items():
        found = run.metrics.get("mirrors")
        if not found:
            continue
        known = found
        rows.append([name, *_row(found)])
        data = arrays(run, "mirrors")
        if data is not None:
            part.figures.append(Picture(sheet(data, run.figures / "mirrors.png"), f"views found by {name}", wide=True))
            part.figures[-1].caption = (
                f"{name}: a test view, its mirrored and its opposite view, and the views of all test objects nearest "
                "to it, with their cosine. Green: the mirrored view; blue: another of the object; grey: another object."
            )
    if known is None:
        return part
    rows += [[title, *_row(known["baselines"][key])] for key, title in BASELINES.items() if key in known["baselines"]]
    chance = [number(x) for x in (0.5, known["chance_top1"], 5 * known["chance_top1"])]
    rows.append(["chance", *chance, "–", "–"])
    caption = (
        f"{known['triples']} triples of {known['objects']} test objects, {known['views']} views; intervals draw objects"
    )
    part.tables.append(Table(["the mirrored view is", *COLUMNS.values()], rows, caption))
    part.texts.append(
        "Of an object with a plane of symmetry the mirrored view is the view flipped left to right, so comparing "
        "flipped pixels finds it without learning. The features are not told so."
    )
    return part


def sheet(data: Mapping[str, np.ndarray], path: Path) -> Path:
    """One row a query: view, mirrored and opposite view, then the hits, framed by what they are."""
    queries, hits = data["hits/cosine"].shape
    made, axes = figure(queries, 3 + hits, 0.95, 1.1)
    for q in range(queries):
        row = axes[q * (3 + hits) : (q + 1) * (3 + hits)]
        for axis, key, colour in zip(row, ("view", "mirror", "opposite"), (OBJECT, MIRROR, OBJECT), strict=False):
            _show(axis, data[key][q], {"view": "view", "mirror": "mirrored", "opposite": "opposite"}[key], colour)
        for h, axis in enumerate(row[3:]):
            kind = MIRROR if data["hits/is_mirror"][q, h] else OBJECT if data["hits/same_object"][q, h] else OTHER
            _show(axis, data["hits/picture"][q, h], f"{data['hits/cosine'][q, h]:.2f}", kind)
    return save(made, path)


def _show(axis: Any, picture: np.ndarray, title: str, colour: str) -> None:
    bare(axis)
    axis.imshow(picture, interpolation="nearest")
    axis.set_title(title, fontsize=6.5, pad=2, color=colour)
    for spine in axis.spines.values():
        spine.set(visible=True, color=colour, linewidth=2)


def _row(found: Mapping[str, Any]) -> list[str]:
    return [number(found[key]) for key in COLUMNS]
