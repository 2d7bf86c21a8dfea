"""Pictures of maps: scenes beside their true and predicted classes, change over the ground, bands and textures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nearfar.report.style import bare, colour, figure, save

Tint = tuple[float, float, float] | str
BLANK: Tint = (0.93, 0.93, 0.93)  # pixels that do not count
FOUND, FALSE_ALARM, MISSED = colour(2), colour(1), colour(0)
_COLUMNS = 5  # of a legend
_PATCHES = 9  # beside each other


def grid_figure(
    rows: Mapping[str, Sequence[np.ndarray]],
    titles: Sequence[str],
    path: Path,
    *,
    legend: Sequence[tuple[str, Tint]] = (),
    size: float = 1.9,
) -> Path:
    """Pictures [H, W, 3] in a grid: a row a scene with its name at the left, a title a column, the legend below."""
    made, axes = figure(len(rows), len(titles), size, size * 1.05)
    for r, (name, pictures) in enumerate(rows.items()):
        for c, picture in enumerate(pictures):
            axis = axes[r * len(titles) + c]
            bare(axis)
            axis.imshow(picture, interpolation="nearest")
            if r == 0:
                axis.set_title(titles[c], fontsize=8, pad=3)
        axes[r * len(titles)].set_ylabel(name, fontsize=7)
    _legend(made, legend, int(size * len(titles) / 1.5))
    return save(made, path)


def _legend(made: Figure, entries: Sequence[tuple[str, Tint]], columns: int) -> None:
    if not entries:
        return
    handles = [Patch(facecolor=tint, edgecolor="#999999", linewidth=0.4, label=name) for name, tint in entries]
    columns = max(1, min(columns, _COLUMNS, len(entries)))
    made.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def class_picture(labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Class indices [H, W] (255: none) in the colours uint8 [K, 3] of their classes, float [H, W, 3]."""
    table = np.vstack([colours / 255.0, BLANK])
    return np.asarray(table[np.where(labels < len(colours), labels, len(colours)).astype(int)])


def class_legend(maps: Sequence[np.ndarray], classes: Sequence[str], colours: np.ndarray) -> list[tuple[str, Tint]]:
    """(name, colour) of the classes that occur in the maps, and of pixels that do not count where there are any."""
    seen = np.unique(np.concatenate([np.unique(m) for m in maps]))
    entries: list[tuple[str, Tint]] = []
    for i in seen[seen < len(classes)].tolist():
        red, green, blue = (colours[i] / 255.0).tolist()
        entries.append((str(classes[i]), (red, green, blue)))
    return [*entries, ("does not count", BLANK)] if seen.max() >= len(classes) else entries


def error_picture(true: np.ndarray, predicted: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """The ground in pale grey with wrong pixels in red; pixels that do not count stay blank."""
    made = _pale(ground)
    counted = (true != 255) & (predicted != 255)
    made[counted & (true != predicted)] = _rgb("#D7191C")
    made[~counted] = BLANK
    return made


def change_picture(true: np.ndarray, predicted: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """The ground in pale grey with change that was found, falsely reported and missed in three colours."""
    made = _pale(ground)
    for mask, tint in (
        ((true == 1) & (predicted == 1), FOUND),
        ((true == 0) & (predicted == 1), FALSE_ALARM),
        ((true == 1) & (predicted == 0), MISSED),
    ):
        made[mask] = _rgb(tint)
    made[(true == 255) | (predicted == 255)] = BLANK
    return made


CHANGE_LEGEND = (("change found", FOUND), ("false alarm", FALSE_ALARM), ("change missed", MISSED))


def patch_figure(classes: Mapping[str, Sequence[tuple[np.ndarray, str, bool]]], path: Path) -> Path:
    """Patches (picture, predicted class, right or wrong) by true class; a frame says whether it is right."""
    each = max(len(row) for row in classes.values())
    across = max(1, min(_PATCHES // each, len(classes)))
    made, axes = figure(-(-len(classes) // across), across * each, 1.1, 1.3)
    for axis in axes:
        bare(axis)
    for i, (name, row) in enumerate(classes.items()):
        axes[i * each].set_ylabel(name, fontsize=6.5)
        for axis, (picture, predicted, right) in zip(axes[i * each :], row, strict=False):
            axis.imshow(picture)
            axis.set_title("" if right else predicted, fontsize=6, pad=2, color=FALSE_ALARM)
            for spine in axis.spines.values():
                spine.set_visible(True)
                spine.set_linewidth(2)
                spine.set_color(FOUND if right else FALSE_ALARM)
    return save(made, path)


def _pale(ground: np.ndarray) -> np.ndarray:
    grey = ground.mean(-1, keepdims=True) / 255.0
    return np.asarray(np.repeat(0.35 + 0.6 * grey, 3, axis=-1))


def _rgb(tint: str) -> tuple[float, ...]:
    return tuple(part / 255 for part in bytes.fromhex(tint[1:]))
