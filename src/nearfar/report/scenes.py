"""The sections of a report about scenes and objects: views beside anchors, pictures, turntable, points."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nearfar.report import scene_figures
from nearfar.report.page import Picture, Section, Table, number
from nearfar.report.scene_figures import words
from nearfar.report.sections import arrays
from nearfar.scenes.measure import unlearnt
from nearfar.scenes.outputs import save_pictures

if TYPE_CHECKING:
    from nearfar.scenes.run import SceneRun

Runs = Mapping[str, "SceneRun"]
LARGE = 320
"""shorter side, in pixels of the page, that small turntables are enlarged to"""


def warnings(runs: Runs) -> list[str]:
    """What a reader must know before any number: what runs have not learnt."""
    return [f"Warning: {name}, {said}" for name, run in runs.items() for said in unlearnt(run)]


def views(runs: Runs) -> Section:
    """Held-out views: a table of every group with its anchors, and strips of truth and prediction."""
    part = Section("Rendered views")
    for name, run in runs.items():
        section = run.metrics.get("views")
        for group, found in (section or {"groups": {}})["groups"].items():
            part.tables.append(_table(f"{name}: {_count(group, found)}", found))
            pictures = arrays(run, "views") or {}
            own = {key.partition("/")[2]: value for key, value in pictures.items() if key.startswith(f"{group}/")}
            if own:
                path = scene_figures.strips(own, run.figures / f"views_{group}.png")
                caption = f"{name}: {words(group)}. Depth: near is bright, and what is not opaque is left out."
                part.figures.append(Picture(path, f"{words(group)}, true and rendered", caption, wide=True))
    if part:
        part.texts.append(
            "No number stands alone: the anchors need no model. White is an empty picture, the mean image is the mean "
            "of the training views (of objects: of the same side of all training objects), and the nearest view is the "
            "training view whose camera stands nearest (of unseen objects: the source view that the model was given)."
        )
    return part


def training(runs: Runs, folder: Path) -> Section:
    """PSNR and SSIM over the seconds of training, on some held-out views, and what came of graph contrast."""
    part = Section("Learning the views")
    histories = {name: run.history() for name, run in runs.items()}
    path = scene_figures.curves(histories, folder / "curves.png")
    if path is not None:
        caption = "A few held-out views, the same each time. Seconds are of training steps alone."
        part.figures.append(Picture(path, "PSNR and SSIM over training", caption, wide=True))
    for name, run in runs.items():
        graph = run.metrics.get("graph")
        if graph:
            path = scene_figures.graph_curve(graph["history"], run.figures / "graph.png")
            caption = (
                f"{name}: before that, graph contrast of blocks of points gave the points their first features. It "
                "learns to tell blocks apart; where features learn on, rendered views gained nothing from it that we "
                "could measure."
            )
            part.figures.append(Picture(path, "graph contrast", caption))
    return part


def turntables(runs: Runs) -> Section:
    """A turn around each scene, which plays in the page."""
    part = Section("Turntable")
    for name, run in runs.items():
        found = arrays(run, "turntable")
        if found is not None:
            factor = max(1, round(LARGE / min(found["frames"].shape[1:3])))
            large = found["frames"].repeat(factor, axis=1).repeat(factor, axis=2)
            path = run.figures / "turntable.webp"
            save_pictures(path, list(large))
            caption = f"{name}: rendered from cameras that no training view had."
            part.figures.append(Picture(path, f"a turn around {name}", caption))
    return part


def points(runs: Runs) -> Section:
    """The points of each scene, to be turned by hand."""
    from jinja2 import Environment, PackageLoader

    part = Section("The points")
    environment = Environment(loader=PackageLoader("nearfar.report", "templates"), autoescape=True)
    for k, (name, run) in enumerate(runs.items()):
        found = arrays(run, "points")
        if found is not None:
            caption = f"{name}: {len(found['points'])} points in the colours of the training views that see them."
            part.snippets.append(
                environment.get_template("points.html").render(
                    name=f"points-{k}",
                    caption=caption,
                    points=_base64(_centred(found["points"]).astype("<f4")),
                    colours=_base64(found["colours"].astype(np.uint8)),
                )
            )
    return part


def _table(caption: str, found: Mapping[str, Any]) -> Table:
    measures = [name for name in ("psnr", "ssim", "lpips") if found[name] is not None]
    heads = {"psnr": "PSNR, dB", "ssim": "SSIM", "lpips": "LPIPS"}
    rows = [["rendered", *(number(found[name], _digits(name)) for name in measures)]]
    rows += [
        [scene_figures.ANCHORS[anchor], *(number(values[name], _digits(name)) for name in measures)]
        for anchor, values in found["anchors"].items()
    ]
    over = number(found["psnr_over_best_anchor"], 2)
    rows.append(["rendered, over the best anchor of each view", over, *[""] * (len(measures) - 1)])
    return Table(["", *(heads[name] for name in measures)], rows, caption)


def _count(group: str, found: Mapping[str, Any]) -> str:
    several = found["scenes"] > 1
    return (
        f"{found['views']} views of {found['scenes']} {words(group)}" if several else f"{found['views']} {words(group)}"
    )


def _digits(measure: str) -> int:
    return 2 if measure == "psnr" else 3


def _centred(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Within about 1 of the origin; a few points far away do not make the rest small."""
    middle = np.median(values, axis=0)
    reach = float(np.percentile(np.linalg.norm(values - middle, axis=1), 95))
    return np.asarray((values - middle) / max(reach, 1e-9))


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
