"""One look for all figures: sizes, colours that colour-blind readers tell apart, and saving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette: distinguishable with every common colour vision deficiency.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C", "#B8A800", "#000000")
INK, FAINT = "#222222", "#999999"


def colour(index: int) -> str:
    """The colour of the index-th run or class; they repeat after nine."""
    return COLOURS[index % len(COLOURS)]


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` x `columns` axes, each `width` x `height` inches, without pyplot's global state."""
    made = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(made)
    axes = [made.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]
    for axis in axes:
        axis.tick_params(colors=INK, labelsize=8)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return made, axes


def bare(axis: Axes) -> None:
    """An axis that holds a picture: no ticks, no frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)


def save(made: Figure, path: Path, dpi: int = 130) -> Path:
    """Write a PNG and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(path, dpi=dpi, facecolor="white")
    return path


def smooth(values: Sequence[float], window: int) -> np.ndarray:
    """Centred moving mean that shortens at the ends, NaN values left out."""
    data = np.asarray(values, float)
    good = np.isfinite(data)
    kernel = np.ones(max(1, min(window, len(data))))
    total = np.convolve(np.where(good, data, 0.0), kernel, mode="same")
    count = np.convolve(good.astype(float), kernel, mode="same")
    return np.asarray(total / np.maximum(count, 1.0))
