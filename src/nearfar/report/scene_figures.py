"""Figures of scenes: curves with anchors, strips of truth and prediction, depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from numpy.typing import NDArray

from nearfar.report.style import COLOURS, FAINT, bare, colour, figure, save

History = Sequence[Mapping[str, Any]]
ANCHORS = {"white": "white picture", "mean_image": "mean image", "nearest_view": "nearest view"}
MEASURES = {"psnr": "PSNR, dB", "ssim": "SSIM"}
DASHES = {"white": ":", "mean_image": "--", "nearest_view": "-."}
OPAQUE = 0.5
ERROR = 0.5
"""absolute error that is drawn brightest"""


def depth_picture(
    depth: NDArray[Any], alpha: NDArray[Any], limits: tuple[float, float] | None = None
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Depth [H, W] in colours, near bright, white where alpha (0..1) is below a half; and the limits that were used."""
    solid = np.asarray(alpha) > OPAQUE
    if limits is None:
        low, high = np.percentile(depth[solid], [2, 98]) if solid.any() else (0.0, 1.0)
        limits = float(low), max(float(high), float(low) + 1e-6)
    share = np.clip((depth - limits[0]) / (limits[1] - limits[0]), 0, 1)
    colours = colormaps["viridis"](1 - share)[..., :3]
    colours[~solid] = 1
    return np.rint(colours * 255).astype(np.uint8), limits


def curves(histories: Mapping[str, History], path: Path) -> Path | None:
    """PSNR and SSIM of held-out views over the seconds of training, one axis a group of views, anchors as lines."""
    panels = [(measure, group) for measure in MEASURES for group in _groups(histories, measure)]
    if not panels:
        return None
    columns = max(2, sum(measure == panels[0][0] for measure, _ in panels))
    made, axes = figure(-(-len(panels) // columns), columns, 3.5, 2.7)
    for axis, panel in zip_longest(axes, panels):
        if panel is None:
            axis.set_visible(False)
            continue
        measure, group = panel
        for index, (name, history) in enumerate(histories.items()):
            _curve(axis, measure, group, name, history, colour(index))
        axis.set_title(words(group), fontsize=10)
        axis.set_xlabel("seconds of training", fontsize=8)
        axis.set_ylabel(MEASURES[measure], fontsize=8)
        axis.legend(fontsize=8, frameon=False)
    return save(made, path)


def words(group: str) -> str:
    """The name of a group of views as it is read."""
    return group.replace("held_out", "held-out").replace("_", " ")


def _groups(histories: Mapping[str, History], measure: str) -> list[str]:
    """The groups of views that a measure is there of, in the order in which they were met."""
    lines = [line for history in histories.values() for line in history if line.get("kind") == "evaluation"]
    ends = f"/{measure}"
    keys = dict.fromkeys(key for line in lines for key, value in line.items() if value is not None)
    return [key.removesuffix(ends) for key in keys if key.endswith(ends) and not key.startswith("anchor/")]


def _curve(axis: Axes, measure: str, group: str, name: str, history: History, shade: str) -> None:
    lines = [r for r in history if r.get("kind") == "evaluation" and r.get(f"{group}/{measure}") is not None]
    if not lines:
        return
    values = [r[f"{group}/{measure}"] for r in lines]
    axis.plot([r["time"] for r in lines], values, "o-", color=shade, markersize=3, label=name)
    for anchor, title in ANCHORS.items():
        value = lines[-1].get(f"anchor/{group}/{anchor}/{measure}")
        if value is not None:
            axis.axhline(value, color=FAINT, linestyle=DASHES[anchor], linewidth=1, label=title)


def graph_curve(history: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Loss of graph contrast and retrieval of blocks over its seconds."""
    made, (left, right) = figure(1, 2, 3.4, 2.5)
    learnt = [line for line in history if "loss" in line]
    left.plot([line["seconds"] for line in learnt], [line["loss"] for line in learnt], color=colour(0))
    right.plot([line["seconds"] for line in history], [line["retrieval"] for line in history], color=colour(2))
    right.set_ylim(0, 1.03)
    for axis, title in ((left, "loss"), (right, "blocks found among all blocks")):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("seconds", fontsize=8)
    return save(made, path)


def strips(views: Mapping[str, NDArray[Any]], path: Path) -> Path:
    """One row a view: truth, prediction, their error, the nearest training view, depth."""
    count, height, width = views["truth"].shape[:3]
    titles = ("truth", "prediction", f"error (white: {ERROR:g})", "nearest training view", "depth")
    # Small pictures are drawn large enough to be looked at.
    made, axes = figure(count, len(titles), 1.9, 1.9 * height / width + (0.25 if count == 1 else 0.12))
    for k in range(count):
        truth, predicted = views["truth"][k], views["made"][k]
        error = np.abs(predicted.astype(float) - truth.astype(float)).mean(axis=-1) / 255
        depth, _ = depth_picture(views["depth"][k], views["alpha"][k] / 255)
        row = axes[k * len(titles) : (k + 1) * len(titles)]
        for axis, title, picture in zip(
            row, titles, (truth, predicted, error, views["nearest"][k], depth), strict=True
        ):
            bare(axis)
            axis.imshow(picture, interpolation="nearest", cmap="gray", vmin=0, vmax=ERROR)
            if k == 0:
                axis.set_title(title, fontsize=8, color=COLOURS[8])
        row[0].set_ylabel(str(views["name"][k]).rpartition("/")[2], fontsize=7, rotation=90)
    return save(made, path)
