"""Curves over training: the loss with its chance line, embedding health, and the opinions about pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def stage_starts(history: History, unit: str) -> list[tuple[float, str]]:
    """Where each stage of a run begins, by `step` or `epoch`, and its name; none for a run without stages."""
    starts: list[tuple[float, str]] = []
    for row in history:
        name = row.get("stage")
        if name is not None and (not starts or starts[-1][1] != name):
            starts.append((float(row[unit]), name))
    return starts


def mark_stages(axis: Axes, histories: Iterable[History], unit: str) -> None:
    """A thin vertical line where a stage begins, with its name; runs with the same stages share them."""
    for start, name in dict.fromkeys(start for history in histories for start in stage_starts(history, unit)):
        edge = start - 0.5  # between the values of two epochs or steps
        axis.axvline(edge, color=FAINT, linewidth=0.7)
        foot, beside = (edge, 0.03), (2, 0)
        axis.annotate(
            name, foot, beside, axis.get_xaxis_transform(), "offset points", fontsize=7, color=FAINT, rotation=90
        )


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
    mark_stages(axis, [history], "step")
    axis.set_xlabel("step", fontsize=8)
    axis.set_title(name, fontsize=10)
    axis.legend(fontsize=7, frameon=False)


def health_figure(histories: Mapping[str, History], path: Path) -> Path | None:
    """Alignment, uniformity and effective rank over the epochs, all runs in one axis each."""
    if not any(len(column(h, "epoch", HEALTH[1][0])[1]) for h in histories.values()):
        return None
    made, axes = figure(1, len(HEALTH), 3.6, 2.7)
    for axis, (key, title, hint) in zip(axes, HEALTH, strict=True):
        for index, (name, history) in enumerate(histories.items()):
            axis.plot(*column(history, "epoch", key), color=colour(index), label=name, linewidth=1.6)
        mark_stages(axis, histories.values(), "epoch")
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
    mark_stages(axis, [history], "step")
    axis.set_ylim(0, 1)
    axis.set_xlabel("step", fontsize=8)
    axis.set_title("opinions about pairs of one label, over training", fontsize=10)
    axis.legend(fontsize=7, loc="lower left")
    return save(made, path)
