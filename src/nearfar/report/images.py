"""Sheets of images: samples, attention over images, doubtful labels, anomaly maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from nearfar.report.style import bare, colour, figure, save


def sheet_figure(rows: Mapping[str, Sequence[tuple[np.ndarray, str]]], path: Path, size: float = 1.1) -> Path:
    """Rows of (image, caption); the row's name stands at its left. Grey images get a perceptual colour map."""
    columns = max(len(row) for row in rows.values())
    made, axes = figure(len(rows), columns, size, size * 1.16)
    for r, (name, row) in enumerate(rows.items()):
        for c in range(columns):
            axis = axes[r * columns + c]
            bare(axis)
            if c < len(row):
                picture(axis, row[c][0], row[c][1])
        axes[r * columns].set_ylabel(name, fontsize=8)
    return save(made, path)


def picture(axis: Axes, image: np.ndarray, caption: str = "") -> None:
    """One image, colour [H, W, 3] or grey [H, W]."""
    if image.ndim == 2:
        axis.imshow(image, cmap="inferno")
    else:
        axis.imshow(image)
    axis.set_title(caption, fontsize=6.5, pad=2)


def overlay_figure(
    images: np.ndarray,
    masks: np.ndarray | None,
    maps: Mapping[str, np.ndarray],
    path: Path,
    captions: Sequence[str] = (),
) -> Path:
    """One row an image: the image with the outline of its mask, then every map [k, S, S] as heat over it."""
    made, axes = figure(len(images), 1 + len(maps), 1.35, 1.35)
    for r, image in enumerate(images):
        row = axes[r * (1 + len(maps)) : (r + 1) * (1 + len(maps))]
        picture(row[0], image, captions[r] if captions else "")
        for axis, (name, heat) in zip(row[1:], maps.items(), strict=True):
            axis.imshow(image.mean(-1) if image.ndim == 3 else image, cmap="gray")
            axis.imshow(heat[r], cmap="inferno", alpha=0.6)
            axis.set_title(name if r == 0 else "", fontsize=7, pad=2)
        for axis in row:
            bare(axis)
            if masks is not None and masks[r].any() and not masks[r].all():
                axis.contour(masks[r].astype(float), levels=[0.5], colors=["#00E5FF"], linewidths=0.9)
    return save(made, path)


def noise_figure(
    thumbnails: np.ndarray, rows: Sequence[Mapping[str, Any]], path: Path, columns: int = 10
) -> Path | None:
    """The most doubted samples, given label -> suggested one; green frame: truly wrong, red: right."""
    if not rows:
        return None
    made, axes = figure(-(-len(rows) // columns), columns, 1.05, 1.3)
    for axis, (image, row) in zip(axes, zip(thumbnails, rows, strict=True), strict=False):
        picture(axis, image, f"{row['given']} → {row['suggested']}\ndoubt {float(row['doubt']):.2f}")
    for i, axis in enumerate(axes):
        bare(axis)
        if i < len(rows) and rows[i].get("wrong") is not None:
            for spine in axis.spines.values():
                spine.set_visible(True)
                spine.set_linewidth(2.2)
                spine.set_color(colour(2) if rows[i]["wrong"] else colour(1))
    return save(made, path)


def score_figure(scores: Mapping[str, np.ndarray], path: Path) -> Path:
    """Histograms of a score for each group of samples (normal, anomalous)."""
    made, (axis,) = figure(1, 1, 4.6, 2.6)
    everything = np.concatenate(list(scores.values()))
    edges = np.linspace(everything.min(), everything.max() + 1e-9, 30).tolist()
    for index, (name, values) in enumerate(scores.items()):
        axis.hist(values, edges, color=colour(index), alpha=0.6, label=f"{name} ({len(values)})")
    axis.set_xlabel("anomaly score", fontsize=8)
    axis.legend(fontsize=7, frameon=False)
    return save(made, path)
