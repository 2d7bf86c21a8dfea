"""Force banners as pictures, flat and round, beside the pair of objects that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nearfar.report.style import COLOURS, bare, colour, figure, save

SUBJECT, OBJECT = COLOURS[5], COLOURS[4]
_MAP = "inferno"
_WORDS = ("right", "above", "left", "below")
Found = tuple[np.ndarray, np.ndarray, str]
"""a pair that was found: picture, masks, caption"""
HOLE = 0.25  # radius of the middle of a round banner, of its whole radius


@dataclass(frozen=True)
class Drawn:
    """A pair to draw: picture uint8 [S, S, 3], masks [2, M, M], banner [rows, directions], and a caption."""

    picture: np.ndarray
    masks: np.ndarray
    banner: np.ndarray
    caption: str = ""


def banner_figure(
    pairs: Sequence[Drawn], forces: Sequence[float], path: Path, *, symmetric: bool = False, size: float = 2.1
) -> Path:
    """A row a pair: the picture with both outlines, the flat banner, the round banner.

    `symmetric`: the columns of the banners cover half a circle, which the other half repeats.
    """
    rows = len(pairs)
    made = Figure(figsize=(size * 3.9, size * rows + 0.25), layout="constrained")
    FigureCanvasAgg(made)
    grid = made.add_gridspec(rows, 3, width_ratios=(1, 1.7, 1.1))
    for r, pair in enumerate(pairs):
        pair_picture(made.add_subplot(grid[r, 0]), pair.picture, pair.masks, pair.caption)
        flat_banner(made.add_subplot(grid[r, 1]), pair.banner, forces, symmetric, labelled=r == rows - 1)
        round_banner(made.add_subplot(grid[r, 2], projection="polar"), pair.banner, forces, symmetric)
    return save(made, path)


def pair_picture(axis: Axes, picture: np.ndarray, masks: np.ndarray, caption: str = "") -> None:
    """The picture with the outlines of the subject (blue) and the object (orange)."""
    side = len(picture)
    axis.imshow(picture, extent=(0, side, side, 0), interpolation="nearest")
    for mask, tint in zip(masks, (SUBJECT, OBJECT), strict=True):
        cell = side / len(mask)
        middles = (np.arange(len(mask) + 2) - 0.5) * cell  # with a rim, so that outlines close at the edge
        if mask.max() > 0.5:
            axis.contour(middles, middles, np.pad(mask, 1), levels=[0.5], colors=[tint], linewidths=1.5)
    axis.set_xlim(-0.5, side + 0.5)
    axis.set_ylim(side + 0.5, -0.5)
    axis.set_title(caption, fontsize=7.5, pad=3)
    bare(axis)


def flat_banner(
    axis: Axes, banner: np.ndarray, forces: Sequence[float], symmetric: bool = False, labelled: bool = True
) -> None:
    """Directions from left to right, forces upwards: near pairs count most on top."""
    turn = 180 if symmetric else 360
    shown = np.nan_to_num(_finite(banner)[np.argsort(forces)])
    half = turn / shown.shape[1] / 2  # a column stands for the direction in its middle
    axis.imshow(shown, aspect="auto", origin="lower", cmap=_MAP, extent=(-half, turn - half, -0.5, len(shown) - 0.5))
    ticks = [angle for angle in (0, 90, 180, 270) if angle < turn]
    axis.set_xticks(ticks, [f"{angle}°" for angle in ticks])
    rows = np.unique(np.linspace(0, len(shown) - 1, 5).round().astype(int))
    axis.set_yticks(rows, [f"{sorted(forces)[i]:.3g}" for i in rows])
    axis.set_ylabel("force r", fontsize=7.5)
    axis.tick_params(labelsize=7)
    if labelled:
        axis.set_xlabel("direction of the subject, seen from the object (90°: above)", fontsize=7.5)


def round_banner(axis: Axes, banner: np.ndarray, forces: Sequence[float], symmetric: bool = False) -> None:
    """Directions as on a compass with right at the right, the largest force outside."""
    shown = _finite(banner)[np.argsort(forces)]
    if symmetric:
        shown = np.concatenate([shown, shown], axis=1)
    columns = shown.shape[1]
    edges = (np.arange(columns + 1) - 0.5) * 2 * np.pi / columns
    radii = np.linspace(HOLE, 1, len(shown) + 1)
    axis.pcolormesh(edges, radii, np.nan_to_num(shown), cmap=_MAP)
    axis.set_ylim(0, 1)
    axis.set_xticks(np.arange(4) * np.pi / 2, _WORDS)
    axis.set_yticks([])
    axis.tick_params(labelsize=7, pad=0)
    axis.grid(False)
    cast(Any, axis).spines["polar"].set_visible(False)


def _finite(banner: np.ndarray) -> np.ndarray:
    """The banner with infinite forces as the largest finite one, so that the others can be seen."""
    finite = np.isfinite(banner)
    return np.where(finite, banner, banner[finite].max() if finite.any() else 1.0)


def retrieval_figure(
    queries: Sequence[Drawn],
    forces: Sequence[float],
    hits: Sequence[Mapping[str, Sequence[Found]]],
    path: Path,
    *,
    symmetric: bool = False,
    size: float = 1.15,
) -> Path:
    """Each query (picture and round banner) with a row a ranking: what was found, best first."""
    ways = list(hits[0])
    columns = max(len(row) for found in hits for row in found.values())
    made = Figure(figsize=(size * (columns + 2.4), size * 1.2 * len(ways) * len(queries)), layout="constrained")
    FigureCanvasAgg(made)
    grid = made.add_gridspec(len(ways) * len(queries), columns + 2, width_ratios=(1.2, 1.2, *[1.0] * columns))
    for q, (query, found) in enumerate(zip(queries, hits, strict=True)):
        rows = slice(q * len(ways), (q + 1) * len(ways))
        pair_picture(made.add_subplot(grid[rows, 0]), query.picture, query.masks, query.caption)
        round_banner(made.add_subplot(grid[rows, 1], projection="polar"), query.banner, forces, symmetric)
        for w, way in enumerate(ways):
            for c, (picture, masks, caption) in enumerate(found[way]):
                axis = made.add_subplot(grid[q * len(ways) + w, c + 2])
                pair_picture(axis, picture, masks)
                axis.set_title(caption, fontsize=6, pad=2)
                if c == 0:
                    axis.set_ylabel(way, fontsize=6.5)
    return save(made, path)


def gain_figure(runs: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path) -> Path:
    """NDCG over k with intervals, a colour a ranking; dashed: chance, the line at 1: the order by the banners."""
    made, (axis,) = figure(1, 1, 5.2, 3.0)
    for index, (name, levels) in enumerate(runs.items()):
        k = [int(level) for level in levels]
        value, low, high, chance = ([row[key] for row in levels.values()] for key in ("value", "low", "high", "chance"))
        axis.plot(k, value, marker="o", markersize=3, color=colour(index), label=name)
        axis.fill_between(k, low, high, color=colour(index), alpha=0.2, linewidth=0)
        axis.plot(k, chance, linestyle="--", linewidth=1, color=colour(index))
    axis.axhline(1, color="#222222", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_xticks(k, [str(level) for level in k])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("k", fontsize=8)
    axis.set_ylabel("NDCG@k by banners", fontsize=8)
    axis.set_ylim(0, 1.03)
    axis.legend(fontsize=7, frameon=False, loc="lower right")
    return save(made, path)


def answers_figure(rows: Sequence[tuple[np.ndarray, np.ndarray, str, str, bool]], path: Path, columns: int = 4) -> Path:
    """Pictures with both outlines: (picture, masks, question, answers, right or wrong)."""
    made, axes = figure(-(-len(rows) // columns), columns, 1.75, 2.2)
    for axis in axes:
        bare(axis)
    for axis, (picture, masks, question, answer, right) in zip(axes, rows, strict=False):
        pair_picture(axis, picture, masks)
        axis.set_title(_wrapped(question), fontsize=6.5, pad=3)
        axis.set_xlabel(answer, fontsize=6.5, color=colour(2) if right else colour(1))
    return save(made, path)


def _wrapped(text: str, width: int = 30) -> str:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def found_figure(
    query: Drawn,
    forces: Sequence[float],
    found: Sequence[Found],
    path: Path,
    *,
    symmetric: bool = False,
    columns: int = 5,
    size: float = 1.4,
) -> Path:
    """The query and its round banner, then the pairs that were found, best first."""
    rows = max(1, -(-len(found) // columns))
    made = Figure(figsize=(size * (columns + 2.6), size * 1.2 * max(rows, 1.3)), layout="constrained")
    FigureCanvasAgg(made)
    grid = made.add_gridspec(rows, columns + 2, width_ratios=(1.3, 1.3, *[1.0] * columns))
    pair_picture(made.add_subplot(grid[:, 0]), query.picture, query.masks, query.caption)
    round_banner(made.add_subplot(grid[:, 1], projection="polar"), query.banner, forces, symmetric)
    for i, (picture, masks, caption) in enumerate(found):
        axis = made.add_subplot(grid[i // columns, i % columns + 2])
        pair_picture(axis, picture, masks, caption)
    return save(made, path)
