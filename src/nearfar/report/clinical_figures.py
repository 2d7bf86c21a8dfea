"""Figures of a diagnosis: curves, reliability, net benefit, subgroups, pictures with their boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from nearfar.report.style import FAINT, INK, bare, colour, figure, save

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""x and y by name"""
FOR, AGAINST = colour(0), colour(1)
"""of a box whose removal lowers, or raises, the logit of the standard"""


def curves_figure(roc: Curves, precision_recall: Curves, path: Path) -> Path:
    """ROC curves beside precision-recall curves, a line a cohort; the dashed line of the first is chance."""
    made, (left, right) = figure(1, 2, 4.2, 3.7)
    left.plot([0, 1], [0, 1], "--", color=FAINT, linewidth=0.9)
    for axis, curves, x, y in (
        (left, roc, "1 - specificity", "sensitivity"),
        (right, precision_recall, "sensitivity (recall)", "precision"),
    ):
        for i, (name, (first, second)) in enumerate(curves.items()):
            axis.plot(first, second, color=colour(i), linewidth=1.5, label=name, drawstyle=_drawn(axis is right))
        axis.set_xlabel(x, fontsize=8)
        axis.set_ylabel(y, fontsize=8)
        axis.set_xlim(-0.01, 1.01)
        axis.set_ylim(-0.01, 1.01)
    left.legend(fontsize=7, frameon=False, loc="lower right")
    return save(made, path)


def _drawn(stepped: bool) -> Any:
    return "steps-pre" if stepped else "default"


def reliability_figure(panels: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], path: Path) -> Path:
    """A panel a cohort: observed share over mean probability of each bin, raw and calibrated, counts below.

    `panels` holds bins by "raw" and "calibrated": {low, high, count, mean, observed}, None in the last two where empty.
    """
    made, axes = figure(2, len(panels), 3.0, 2.1)
    for i, (name, versions) in enumerate(panels.items()):
        above, below = axes[i], axes[len(panels) + i]
        above.plot([0, 1], [0, 1], "--", color=FAINT, linewidth=0.9)
        above.set_title(name, fontsize=8)
        for k, (version, bins) in enumerate(versions.items()):
            full = [b for b in bins if b["count"]]
            above.plot(
                [b["mean"] for b in full], [b["observed"] for b in full], "o-", color=colour(k), ms=3.5, label=version
            )
            edges = [*(b["low"] for b in bins), bins[-1]["high"]]
            below.stairs([b["count"] for b in bins], edges, color=colour(k), fill=k == 1, alpha=0.6 if k else 1.0)
            if k == 1:
                for b in full:
                    below.text((b["low"] + b["high"]) / 2, b["count"], str(b["count"]), ha="center", fontsize=6)
        above.set_xlim(0, 1)
        above.set_ylim(-0.02, 1.02)
        below.set_xlim(0, 1)
        below.set_xlabel("probability of standard", fontsize=8)
    axes[0].set_ylabel("share that is standard", fontsize=8)
    axes[0].legend(fontsize=7, frameon=False)
    axes[len(panels)].set_ylabel("images", fontsize=8)
    return save(made, path)


def decision_figure(curve: Mapping[str, Sequence[float]], path: Path, threshold: float | None = None) -> Path:
    """Net benefit over the threshold probability: the model, calling all or none standard; the chosen threshold."""
    made, (axis,) = figure(1, 1, 4.6, 3.0)
    x, model, everyone = (np.array(curve[key], float) for key in ("threshold", "model", "all"))
    axis.plot(x, everyone, color=FAINT, linewidth=1.2, label="call all standard")
    axis.axhline(0, color=INK, linewidth=0.8, label="call none standard")
    axis.plot(x, model, color=colour(0), linewidth=1.6, label="by the model")
    if threshold is not None:
        axis.axvline(threshold, color=colour(1), linewidth=0.9, linestyle=":", label="chosen threshold")
    top = max(float(np.nanmax(model)), 0.05)
    axis.set_ylim(-0.25 * top, 1.1 * top)
    axis.set_xlabel("threshold probability", fontsize=8)
    axis.set_ylabel("net benefit", fontsize=8)
    axis.legend(fontsize=7, frameon=False)
    return save(made, path)


def forest_figure(groups: Mapping[str, Sequence[Mapping[str, Any]]], overall: Mapping[str, Any], path: Path) -> Path:
    """AUC with its interval of every subgroup, by column of the data; the line and band are those of all samples."""
    rows = [(column, row) for column, found in groups.items() for row in found if known(row)]
    made, (axis,) = figure(1, 1, 6.0, 0.9 + 0.23 * (len(rows) + len(groups)))
    if overall.get("value") is not None:
        axis.axvline(overall["value"], color=FAINT, linewidth=1)
        axis.axvspan(overall["low"], overall["high"], color=FAINT, alpha=0.15, linewidth=0)
    ticks, place, last = [], 0.0, None
    for column, row in rows:
        place -= 1.5 if last not in (None, column) else 1.0
        last = column
        auc = row["auc"]
        axis.plot([auc["low"], auc["high"]], [place, place], color=INK, linewidth=1)
        axis.plot([auc["value"]], [place], "s", color=colour(0), ms=2 + np.sqrt(row["samples"]) / 4)
        ticks.append((place, f"{column.replace('_', ' ')}: {row['group']} ({row['samples']})"))
    axis.set_yticks([t for t, _ in ticks], [name for _, name in ticks], fontsize=7)
    axis.set_xlabel("area under the ROC curve", fontsize=8)
    return save(made, path)


def known(row: Mapping[str, Any]) -> bool:
    return bool(row.get("auc")) and row["auc"].get("value") is not None


def cosine_figure(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], path: Path) -> Path:
    """A panel a pair of modalities: cosines of matching embeddings over those of others."""
    made, axes = figure(1, len(pairs), 3.1, 2.3)
    edges = np.linspace(-1, 1, 41).tolist()
    for axis, (name, (matched, other)) in zip(axes, pairs.items(), strict=True):
        axis.hist(other, edges, density=True, color=colour(6), alpha=0.6, label="other samples")
        axis.hist(matched, edges, density=True, color=colour(0), alpha=0.6, label="same sample")
        axis.set_title(name, fontsize=8)
        axis.set_xlabel("cosine", fontsize=8)
        axis.set_yticks([])
    axes[0].legend(fontsize=7, frameon=False)
    return save(made, path)


def example_figure(examples: Sequence[Mapping[str, Any]], path: Path, columns: int = 4) -> Path:
    """Pictures with their boxes, coloured by what the removal of each does to the logit; the strongest is named.

    Each example: picture uint8 [S, S] or [S, S, 3], boxes [k, 4] x y w h in units of it, names, change [k], title.
    """
    made, axes = figure(-(-len(examples) // columns), columns, 2.4, 2.75)
    for axis in axes:
        bare(axis)
    for axis, example in zip(axes, examples, strict=False):
        picture = example["picture"]
        axis.imshow(picture, cmap="gray" if picture.ndim == 2 else None, vmin=0, vmax=255)
        axis.set_title(example["title"], fontsize=6.5, pad=3)
        _boxes(axis, example, picture.shape[:2])
    return save(made, path)


def _boxes(axis: Axes, example: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    height, width = shape
    change = np.asarray(example["change"], float)
    largest = np.abs(change).max(initial=0.0) or 1.0
    strongest = int(np.abs(change).argmax()) if len(change) else -1
    for k in np.argsort(np.abs(change), kind="stable"):  # the strongest is drawn over the others
        (x, y, w, h), name = example["boxes"][k], example["names"][k]
        tint = FOR if change[k] > 0 else AGAINST
        thick = 0.6 + 2.0 * abs(change[k]) / largest
        axis.add_patch(Rectangle((x * width, y * height), w * width, h * height, fill=False, ec=tint, lw=thick))
        label = f"{name} {change[k]:+.2g}" if k == strongest else name
        size = 6.5 if k == strongest else 5.5
        backing = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.6}
        axis.text(x * width, y * height, label, color=tint, fontsize=size, va="bottom", bbox=backing)
