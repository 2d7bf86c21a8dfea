"""The sections of a report about satellite images: bands, land cover, segmentation and change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearfar.evaluate.legend import class_colours
from nearfar.report import land_figures as figures
from nearfar.report import maps
from nearfar.report.page import Picture, Section, Table, number
from nearfar.report.sections import arrays, class_names
from nearfar.report.summary import lookup

if TYPE_CHECKING:
    from nearfar.train import Run

Runs = Mapping[str, "Run"]
Arrays = Mapping[str, np.ndarray]
SHOWN = 4  # scenes of a figure


def bands(runs: Runs) -> Section:
    """Composites of the groups of bands, textures, and the dates of a few places; the data of the first run."""
    part = Section("Bands and textures")
    run = next(iter(runs.values()))
    data = arrays(run, "bands")
    if data is None:
        return part
    sheets = (
        (
            "composites",
            "group",
            "The groups of bands as red, green and blue, each band stretched alike in all samples.",
        ),
        ("patterns", "texture", "Textures: local binary patterns of three bands as red, green and blue."),
    )
    for key, kind, caption in sheets:
        titles = [f"{_words(n)}\n{b}" for n, b in zip(data[f"{kind}s"], data[f"{kind}_bands"], strict=True)]
        path = figures.grid_figure(_rows(data, data[key]), titles, run.figures / f"{key}.png", size=1.25)
        part.figures.append(Picture(path, f"{kind} pictures of a few samples", caption, wide=True))
    if "dates" in data:
        rows = _rows(data, data["dates"])
        titles = ["" for _ in range(data["dates"].shape[1])]
        days = [[date.fromordinal(int(day)).isoformat() for day in row] for row in data["days"]]
        rows = {f"{name}\n{days[k][0]} to {days[k][-1]}": row for k, (name, row) in enumerate(rows.items())}
        path = figures.grid_figure(rows, titles, run.figures / "dates.png", size=1.35)
        part.figures.append(Picture(path, "places at several dates", "Places at their dates, true colour.", wide=True))
    return part


def landcover(runs: Runs, folder: Path) -> Section:
    """Classes of patches: measures, confusion, per-class figures, and patches with what they were taken for."""
    part = Section("Land cover of patches")
    columns = (("accuracy", "accuracy"), ("balanced accuracy", "balanced_accuracy"), ("macro F1", "macro/f1"))
    part.tables += _measures(runs, "landcover", columns, ("mode", "protocol", "test_samples"))
    panels = []
    for name, run in runs.items():
        confusion = lookup(run.metrics, "landcover", "confusion")
        if confusion:
            panels.append((name, np.array(confusion["counts"]), confusion["classes"]))
        part.tables += _per_class(run, "landcover", ("precision", "recall", "f1"), f"{name}, test patches")
        data = arrays(run, "landcover")
        if data is not None and "colour" in data:
            path = figures.patch_figure(_patches(data), run.figures / "landcover.png")
            caption = f"{name}: test patches by true class; wrong ones are framed and say what they were taken for."
            part.figures.append(Picture(path, f"patches and their predicted classes, {name}", caption))
    if panels:
        path = maps.confusion_figure(panels, folder / "landcover_confusion.png")
        part.figures.append(Picture(path, "confusion of land cover", "True rows, predicted columns.", wide=True))
    return part


def segment(runs: Runs, folder: Path) -> Section:
    """Maps of classes: measures pooled over all pixels, per-class figures, and maps beside the truth."""
    part = Section("Maps of classes")
    columns = (
        *(("overall accuracy", "overall_accuracy"), ("mean IoU", "mean_iou"), ("macro F1", "macro/f1")),
        ("mean IoU without background", "without_background/mean_iou"),
    )
    part.tables += _measures(runs, "segment", columns, ("decoder", "pixels", "scenes"))
    panels = []
    for name, run in runs.items():
        over = lookup(run.metrics, "segment", "averaged_over")
        if over:
            part.texts.append(f"{name}: means over the classes that occur in the truth: {', '.join(over)}.")
        part.tables += _per_class(run, "segment", ("iou", "precision", "recall", "f1"), f"{name}, test pixels")
        data = arrays(run, "segment")
        if data is not None:
            path = _map_figure(data, run.figures / "segment.png")
            caption = f"{name}: test scenes; in the last column wrong pixels are red."
            part.figures.append(Picture(path, f"true and predicted maps, {name}", caption, wide=True))
        confusion = lookup(run.metrics, "segment", "confusion")
        if confusion:
            panels.append((name, *_occurring(np.array(confusion["counts"]), confusion["classes"])))
    if panels:
        path = maps.confusion_figure(
            [(f"{name}, per cent of the true class", share, classes) for name, share, classes in panels],
            folder / "segment_confusion.png",
        )
        part.figures.append(Picture(path, "confusion of pixels", "True rows, predicted columns.", wide=True))
    return part


def change(runs: Runs) -> Section:
    """Change between two dates: measures pooled over all pixels, and where it was found and missed."""
    part = Section("Change")
    columns = (("precision", "precision"), ("recall", "recall"), ("F1", "f1"), ("IoU", "iou"))
    part.tables += _measures(runs, "change", columns, ("threshold", "pixels", "scenes"))
    for name, run in runs.items():
        data = arrays(run, "change")
        if data is None:
            continue
        path = _change_figure(data, run.figures / "change.png")
        caption = f"{name}: test pairs at native resolution, change over the later image."
        part.figures.append(Picture(path, f"change found and missed, {name}", caption, wide=True))
    return part


def _measures(runs: Runs, task: str, columns: Sequence[tuple[str, str]], settings: Sequence[str]) -> list[Table]:
    """One row a run: the measures with intervals, then settings; columns that no run has are left out."""
    known = {name: run.metrics[task] for name, run in runs.items() if task in run.metrics}
    wanted = [*columns, *((key.replace("_", " "), key) for key in settings)]
    values = {name: [lookup(m, *key.split("/")) for _, key in wanted] for name, m in known.items()}
    kept = [i for i in range(len(wanted)) if any(row[i] is not None for row in values.values())]
    if not kept:
        return []
    rows = [[name, *(number(row[i]) for i in kept)] for name, row in values.items()]
    return [Table(["run", *(wanted[i][0] for i in kept)], rows)]


def _per_class(run: Run, task: str, columns: Sequence[str], caption: str) -> list[Table]:
    found: Mapping[str, Any] = lookup(run.metrics, task, "per_class") or {}
    rows = [[name, *(number(v.get(key)) for key in (*columns, "support"))] for name, v in found.items()]
    head = {"iou": "IoU", "f1": "F1"}
    return [Table(["class", *(head.get(c, c) for c in columns), "support"], rows, caption)] if rows else []


def _rows(data: Arrays, pictures: np.ndarray) -> dict[str, list[np.ndarray]]:
    return {_short(str(name)): list(row) for name, row in zip(data["id"], pictures, strict=True)}


def _patches(data: Arrays) -> dict[str, list[tuple[np.ndarray, str, bool]]]:
    names = class_names(data)
    rows: dict[str, list[tuple[np.ndarray, str, bool]]] = {}
    for picture, i in zip(data["colour"], data["shown"], strict=True):
        true, predicted = int(data["true"][i]), int(data["predicted"][i])
        rows.setdefault(names[true], []).append((picture, names[predicted], true == predicted))
    return rows


def _colours(data: Arrays) -> np.ndarray:
    return data["colours"] if "colours" in data else class_colours(class_names(data))


def _map_figure(data: Arrays, path: Path) -> Path:
    colours = _colours(data)
    true, predicted = data["true"][:SHOWN], data["predicted"][:SHOWN]
    titles, rows = [key.replace("_", " ") for key in ("colour", "false_colour") if key in data], {}
    for k, name in enumerate(data["id"][:SHOWN]):
        seen = [data[key][k] for key in ("colour", "false_colour") if key in data]
        ground = seen[0] if seen else np.full((*true[k].shape, 3), 255, np.uint8)
        drawn = [figures.class_picture(labels[k], colours) for labels in (true, predicted)]
        rows[_short(str(name))] = [*seen, *drawn, figures.error_picture(true[k], predicted[k], ground)]
    legend = figures.class_legend([true, predicted], class_names(data), colours)
    titles = [{"colour": "true colour"}.get(title, title) for title in titles]
    return figures.grid_figure(rows, [*titles, "truth", "predicted", "errors"], path, legend=legend)


def _change_figure(data: Arrays, path: Path) -> Path:
    true, predicted = data["true"][:SHOWN], data["predicted"][:SHOWN]
    shown = [(key, title) for key, title in (("colour", "before"), ("colour_second", "after")) if key in data]
    rows = {}
    for k, name in enumerate(data["id"][:SHOWN]):
        seen = [data[key][k] for key, _ in shown]
        ground = seen[-1] if seen else np.full((*true[k].shape, 3), 255, np.uint8)
        truth = figures.class_picture(true[k], np.array([[216, 216, 216], [40, 40, 40]]))
        rows[_short(str(name))] = [*seen, truth, figures.change_picture(true[k], predicted[k], ground)]
    titles = [*(title for _, title in shown), "truth: dark has changed", "found and missed"]
    return figures.grid_figure(rows, titles, path, legend=figures.CHANGE_LEGEND, size=2.2)


def _occurring(counts: np.ndarray, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """The confusion in per cent of each true class, of classes that occur or are predicted."""
    keep = np.flatnonzero(counts.sum(0) + counts.sum(1)).tolist()
    few = counts[np.ix_(keep, keep)]
    return np.round(100 * few / np.maximum(few.sum(1, keepdims=True), 1)), [classes[i] for i in keep]


def _words(name: str) -> str:
    return str(name).replace("_", " ")


def _short(name: str, limit: int = 22) -> str:
    """The end of a long path: what tells samples apart stands there."""
    return name if len(name) <= limit else f"…{name[-limit + 1 :]}"
