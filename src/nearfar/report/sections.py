"""The sections of a report: each takes the named runs and returns what their files can show."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from nearfar.data.pairs import EXTRAS
from nearfar.report import curves, images, maps
from nearfar.report.page import Picture, Section, Table, number
from nearfar.report.summary import lookup, summary_rows

if TYPE_CHECKING:
    from nearfar.train import Run
    from nearfar.train.run import RunFolder

Runs = Mapping[str, "Run"]
SHOWN = 6  # images of a sheet: enough to judge, few enough to look at


def arrays(run: RunFolder, name: str) -> dict[str, np.ndarray] | None:
    """The arrays of one file of the run, None where it is not there."""
    path = run.arrays / f"{name}.npz"
    if not path.is_file():
        return None
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def summary(runs: Mapping[str, RunFolder]) -> Section:
    """The numbers that matter, a column a run, and the paired difference of two runs."""
    rows = summary_rows({name: run.metrics for name, run in runs.items()})
    part = Section("Summary", tables=[Table(rows[0], rows[1:])] if len(rows) > 1 else [])
    if len(runs) == 2 and (difference := comparison(runs)):
        first, second = runs
        head = ["on the same test images", f"{first} minus {second}"]
        body = [[name, number(value)] for name, value in difference.items()]
        part.tables.append(
            Table(head, body, "Paired differences: the interval of each excludes 0 where they truly differ.")
        )
    return part


def skipped(runs: Runs) -> Section:
    """The tasks that the data did not allow, and why; last, since most readers did not ask for them."""
    rows = [[task, name, why] for name, run in runs.items() for task, why in run.metrics.get("skipped", {}).items()]
    return Section("Not measured", tables=[Table(["task", "run", "why"], rows)] if rows else [])


def comparison(runs: Mapping[str, RunFolder]) -> dict[str, Any]:
    """Differences of the first run and the second with paired bootstrap intervals, {} where they cannot be paired."""
    from nearfar.evaluate.compare import compare_runs

    if any("views" in run.metrics for run in runs.values()):
        return {}  # of scenes, which have no classes
    first, second = cast("tuple[Run, Run]", tuple(runs.values()))
    return compare_runs(first, second)


def samples(runs: Runs) -> Section:
    """A few images of every class."""
    part = Section("The images")
    run = next(iter(runs.values()))
    shown = arrays(run, "samples")
    if shown is None:
        return part
    rows: dict[str, list[tuple[np.ndarray, str]]] = {}
    for row, (cls, modality) in enumerate(zip(shown["class"], shown["modality"], strict=True)):
        if modality in EXTRAS:  # of pairs: outlines in the section on them tell both things apart
            continue
        rows[f"{cls}\n{modality}"] = [(image, "") for image in shown["images"][row]]
    path = images.sheet_figure(rows, run.figures / "samples.png")
    part.figures.append(
        Picture(path, "a few images of each class in each modality", "A few images of each class, by modality.")
    )
    return part


def training(runs: Runs, folder: Path) -> Section:
    """Loss with its chance line, embedding health, opinions over training."""
    histories = {name: run.history() for name, run in runs.items()}
    part = Section("Training")
    loss = curves.loss_figure(histories, folder / "loss.png")
    if loss:
        caption = (
            "Loss a step (thin) and smoothed; the dashed line is the log of the contrasted rows: what chance gives."
        )
        part.figures.append(Picture(loss, "training loss over steps", caption))
    health = curves.health_figure(histories, folder / "health.png")
    if health:
        caption = "Embedding health over the epochs."
        part.figures.append(Picture(health, "embedding health over epochs", caption, wide=True))
    return part


def embedding(runs: Runs) -> Section:
    """The map of the test embeddings with thumbnails, a run a picture."""
    part = Section("Embedding map", ["Test images placed by t-SNE of their embeddings; colours are the true classes."])
    for name, run in runs.items():
        data, thumbnails = arrays(run, "embeddings"), arrays(run, "thumbnails")
        if data is None:
            continue
        chosen = np.flatnonzero(data["split"] == "test")
        chosen = chosen if len(chosen) else np.arange(len(data["z"]))
        chosen = chosen[: maps.MAP_LIMIT]
        if len(chosen) < maps.MAP_LEAST:
            continue
        labels = best_labels(data)[chosen]
        pictures = thumbnails["images"][chosen] if thumbnails else None
        path = maps.map_figure(
            maps.project(data["z"][chosen]), labels, class_names(data), pictures, run.figures / "embedding.png"
        )
        part.figures.append(Picture(path, f"map of the embeddings of {name}", name))
    return part


def best_labels(data: Mapping[str, np.ndarray]) -> np.ndarray:
    """True labels where they are known, given ones elsewhere."""
    return np.where(data["true_label"] >= 0, data["true_label"], data["label"])


def class_names(data: Mapping[str, np.ndarray]) -> list[str]:
    """The classes in the order of their index."""
    return [str(name) for name in data["classes"]]


def classification(runs: Runs, folder: Path) -> Section:
    """Confusion matrices and per-class figures of the linear probe."""
    part = Section("Classification")
    panels = []
    for name, run in runs.items():
        confusion = lookup(run.metrics, "classify", "linear", "confusion")
        if confusion:
            panels.append((name, np.array(confusion["counts"]), confusion["classes"]))
        per_class = lookup(run.metrics, "classify", "linear", "per_class") or {}
        rows = [
            [cls, *(number(v[k]) for k in ("precision", "recall", "f1")), number(v["support"])]
            for cls, v in per_class.items()
        ]
        if rows:
            part.tables.append(Table(["class", "precision", "recall", "F1", "images"], rows, f"{name}, linear probe"))
    if panels:
        path = maps.confusion_figure(panels, folder / "confusion.png")
        part.figures.append(
            Picture(path, "confusion matrices of the linear probe", "Linear probe: true rows, predicted columns.")
        )
    return part


def opinions(runs: Runs) -> Section:
    """The opinion triangle of pairs of one label, and how the opinions moved over training."""
    part = Section("Opinions about pairs")
    for name, run in runs.items():
        data = arrays(run, "opinions")
        if data is None:
            continue
        last = data["epoch"] == data["epoch"].max()
        path = maps.triangle_figure(data["b"][last], data["d"][last], data["agree"][last], run.figures / "opinions.png")
        caption = (
            f"{name}: pairs of one given label. The hinge speaks for a pair or against it: points lie on two edges."
        )
        part.figures.append(Picture(path, f"opinion triangle of {name}", caption))
        curve = curves.opinion_curve_figure(run.history(), run.figures / "opinions_over_training.png")
        if curve:
            part.figures.append(
                Picture(curve, "belief, uncertainty and disbelief over training", f"{name}: over training.")
            )
    return part


def noise(runs: Runs) -> Section:
    """The samples whose labels are doubted most."""
    part = Section("Labels in doubt", ["The training images whose given label the opinions doubt most."])
    for name, run in runs.items():
        thumbnails, path = arrays(run, "thumbnails"), run.path / "noise.csv"
        if thumbnails is None or not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))[:30]
        position = {str(i): k for k, i in enumerate(thumbnails["id"])}
        known = [row for row in rows if row["id"] in position]
        shown = [
            {"given": r["given"], "suggested": r["suggested"], "doubt": r["doubt"], "wrong": _wrong(r)} for r in known
        ]
        picture = images.noise_figure(
            thumbnails["images"][[position[r["id"]] for r in known]], shown, run.figures / "noise.png"
        )
        if picture:
            caption = (
                f"{name}: green frames are labels truly wrong, red ones are right; the whole list is in noise.csv."
            )
            part.figures.append(Picture(picture, f"images whose labels {name} doubts", caption, wide=True))
    return part


def _wrong(row: Mapping[str, str]) -> bool | None:
    return None if not row.get("true") else row["true"] != row["given"]


def attention(runs: Runs) -> Section:
    """Where the encoder looks, over the images, with the outline of the true mask and the scores."""
    part = Section("Attention")
    rows = []
    for name, run in runs.items():
        for kind, scores in (run.metrics.get("attention") or {}).items():
            if isinstance(scores, Mapping) and "pixel_auroc" in scores:
                rows.append([f"{name}, {kind}", number(scores["pixel_auroc"]), number(scores.get("pointing_game"))])
        data = arrays(run, "attention")
        if data is None:
            continue
        heat = {key.removeprefix("maps/"): data[key][:SHOWN] for key in data if key.startswith("maps/")}
        masks = data["mask"][:SHOWN] if "mask" in data else None
        path = images.overlay_figure(data["image"][:SHOWN], masks, heat, run.figures / "attention.png")
        part.figures.append(Picture(path, f"attention maps of {name}", f"{name}; the outline is the true mask."))
    if rows:
        part.tables.append(
            Table(["map", "pixel AUROC (chance 0.5)", "pointing game"], rows, "Maps scored against the true masks")
        )
    return part


def anomaly(runs: Runs) -> Section:
    """Anomaly maps over test images and the scores of normal and anomalous ones."""
    part = Section("Anomalies")
    for name, run in runs.items():
        data = arrays(run, "anomaly")
        if data is None:
            continue
        scores = {
            key: data["score"][data["anomalous"] == flag]
            for key, flag in (("normal", 0), ("anomalous", 1))
            if (data["anomalous"] == flag).any()
        }
        part.figures.append(
            Picture(
                images.score_figure(scores, run.figures / "anomaly_scores.png"), "histogram of anomaly scores", name
            )
        )
        if "maps" in data:
            shown = np.argsort(-data["score"][: len(data["maps"])])[:SHOWN]
            masks = data["mask"][shown] if "mask" in data else None
            path = images.overlay_figure(
                data["image"][shown], masks, {"anomaly map": data["maps"][shown]}, run.figures / "anomaly_maps.png"
            )
            part.figures.append(
                Picture(path, f"anomaly maps of {name}", f"{name}: the highest scores; outlines are true masks.")
            )
    return part
