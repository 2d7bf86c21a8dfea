"""Curves over training: the loss with its chance line, embedding health, and the opinions about pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from nearfar.report.style import FAINT, colour, figure, save, smooth

History = Sequence[Mapping[str, Any]]
HEALTH = (
    ("health/alignment", "alignment", "distance of two views of one image; lower is better"),
    ("health/uniformity", "uniformity", "log mean Gaussian potential; lower is more spread"),
    ("health/effective_rank", "effective rank", "dimensions in use; a fall to 1 is collapse"),
)


def column(history: History, kind: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(epochs, values) of one quantity of metrics.jsonl; lines without it are left out."""
    rows = [r for r in history if r.get("kind") == kind and r.get(name) is not None]
    return np.array([r["epoch"] for r in rows], float), np.array([r[name] for r in rows], float)


def loss_figure(histories: Mapping[str, History], path: Path) -> Path | None:
    """Loss a step, smoothed, with the log of the number of contrasted rows (what chance gives) as a dashed line."""
    histories = {name: h for name, h in histories.items() if len(column(h, "step", "loss")[1])}
    if not histories:
        return None
    made, axes = figure(1, len(histories), 4.6, 2.9)
    for index, (name, history) in enumerate(histories.items()):
        _loss_axis(axes[index], name, history, colour(index))
    return save(made, path)


def _loss_axis(axis: Axes, name: str, history: History, tint: str) -> None:
    _, loss = column(history, "step", "loss")
    steps = np.array([r["step"] for r in history if r.get("kind") == "step" and r.get("loss") is not None])
    axis.plot(steps, loss, color=tint, alpha=0.25, linewidth=0.6)
    axis.plot(steps, smooth(loss.tolist(), max(1, len(loss) // 40)), color=tint, linewidth=1.6, label=f"{name} loss")
    _, baseline = column(history, "epoch", "loss_baseline")
    if len(baseline):
        axis.axhline(float(baseline[-1]), color=FAINT, linestyle="--", linewidth=1, label="log(batch): chance")
    axis.set_xlabel("step", fontsize=8)
    axis.set_title(name, fontsize=10)
    axis.legend(fontsize=7, frameon=False)


def health_figure(histories: Mapping[str, History], path: Path) -> Path | None:
    """Alignment, uniformity and effective rank over the epochs, all runs in one axis each."""
    if not any(len(column(h, "epoch", HEALTH[0][0])[1]) for h in histories.values()):
        return None
    made, axes = figure(1, len(HEALTH), 3.6, 2.7)
    for axis, (key, title, hint) in zip(axes, HEALTH, strict=True):
        for index, (name, history) in enumerate(histories.items()):
            axis.plot(*column(history, "epoch", key), color=colour(index), label=name, linewidth=1.6)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"epoch\n{hint}", fontsize=7)
    axes[0].legend(fontsize=7, frameon=False)
    return save(made, path)


def opinion_curve_figure(history: History, path: Path) -> Path | None:
    """Mean belief, disbelief and uncertainty of same-label pairs over the steps, as stacked shares."""
    steps = [r for r in history if r.get("kind") == "step" and r.get("parts/uncertainty") is not None]
    if not steps:
        return None
    x = [r["step"] for r in steps]
    shares = [smooth([r[f"parts/{k}"] for r in steps], 9) for k in ("belief", "uncertainty", "disbelief")]
    made, (axis,) = figure(1, 1, 5.2, 2.8)
    axis.stackplot(x, *shares, colors=[colour(2), "#DDDDDD", colour(1)], labels=["belief", "uncertainty", "disbelief"])
    axis.set_ylim(0, 1)
    axis.set_xlabel("step", fontsize=8)
    axis.set_title("opinions about pairs of one label, over training", fontsize=10)
    axis.legend(fontsize=7, loc="lower left")
    return save(made, path)
