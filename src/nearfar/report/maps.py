"""Pictures of the embedding: the map with thumbnails, the confusion matrix, the opinion triangle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from nearfar.report.style import INK, bare, colour, figure, save

MAP_LIMIT = 2000  # t-SNE beyond this is slow and the picture no clearer
MAP_LEAST = 10  # fewer points are no map


def project(z: np.ndarray, seed: int = 0) -> np.ndarray:
    """Embeddings [n, D] to the plane [n, 2] in 0..1: t-SNE, or PCA below ten rows and above the limit."""
    unit = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    if MAP_LEAST <= len(unit) <= MAP_LIMIT and unit.shape[1] > 2 and np.ptp(unit, axis=0).max() > 1e-6:
        from sklearn.manifold import TSNE

        plane = TSNE(perplexity=min(30, len(unit) / 4), init="pca", random_state=seed, n_jobs=1).fit_transform(unit)
    else:
        centred = unit - unit.mean(0)
        plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    plane = np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))
    low, high = plane.min(0), plane.max(0)
    return np.asarray((plane - low) / np.maximum(high - low, 1e-12))


def spread(points: np.ndarray, distance: float, limit: int) -> list[int]:
    """Indices of at most `limit` points no two of which are nearer than `distance`, in order."""
    chosen: list[int] = []
    for i, point in enumerate(points):
        if len(chosen) == limit:
            break
        if not chosen or np.linalg.norm(points[chosen] - point, axis=1).min() >= distance:
            chosen.append(i)
    return chosen


def map_figure(
    plane: np.ndarray, labels: np.ndarray, classes: Sequence[str], thumbnails: np.ndarray | None, path: Path
) -> Path:
    """The embedding map [n, 2] coloured by label, with up to 60 thumbnails framed in their label's colour."""
    made, (axis,) = figure(1, 1, 6.4, 5.6)
    for c, name in enumerate(classes):
        here = labels == c
        axis.scatter(
            plane[here, 0],
            plane[here, 1],
            s=9,
            color=colour(c),
            label=f"{name} ({here.sum()})",
            alpha=0.75,
            linewidths=0,
        )
    unlabelled = labels < 0
    if unlabelled.any():
        axis.scatter(
            plane[unlabelled, 0],
            plane[unlabelled, 1],
            s=7,
            color="#BBBBBB",
            label=f"no label ({unlabelled.sum()})",
            linewidths=0,
        )
    for i in spread(plane, 0.085, 60) if thumbnails is not None else ():
        assert thumbnails is not None
        _thumbnail(axis, thumbnails[i], plane[i], colour(int(labels[i])) if labels[i] >= 0 else "#BBBBBB")
    bare(axis)
    axis.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4)
    return save(made, path)


def _thumbnail(axis: Axes, image: np.ndarray, at: np.ndarray, edge: str) -> None:
    box = OffsetImage(image, zoom=24 / image.shape[0])
    axis.add_artist(AnnotationBbox(box, (at[0], at[1]), pad=0.08, bboxprops={"edgecolor": edge, "linewidth": 1.6}))


def confusion_figure(panels: Sequence[tuple[str, np.ndarray, Sequence[str]]], path: Path) -> Path:
    """Confusion matrices side by side: (title, counts [C, C] with true rows, names); colour is the row's share."""
    size = 1.6 + 0.42 * max(len(names) for _, _, names in panels)
    made, axes = figure(1, len(panels), size + 0.6, size)
    for axis, (title, counts, names) in zip(axes, panels, strict=True):
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (i, j), n in np.ndenumerate(counts):
            axis.text(
                j, i, str(int(n)), ha="center", va="center", fontsize=8, color="white" if share[i, j] > 0.5 else INK
            )
        axis.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axis.set_yticks(range(len(names)), names)
        axis.set_xlabel("predicted", fontsize=8)
        axis.set_ylabel("true", fontsize=8)
        axis.set_title(title, fontsize=10)
    return save(made, path)


def triangle_figure(belief: np.ndarray, disbelief: np.ndarray, agree: np.ndarray | None, path: Path) -> Path:
    """Opinions as points of the triangle (uncertainty on top, disbelief left, belief right).

    `agree` [n] says whether the true labels of the pair agree (1), differ (0), or are unknown (-1).
    """
    made, (axis,) = figure(1, 1, 4.6, 4.2)
    height = np.sqrt(3) / 2
    x, y = belief + 0.5 * (1 - belief - disbelief), height * (1 - belief - disbelief)
    axis.plot([0, 1, 0.5, 0], [0, 0, height, 0], color=INK, linewidth=1)
    truth = np.full(len(x), -1) if agree is None else agree
    for value, name, tint in (
        (1, "labels truly agree", colour(0)),
        (0, "one label is wrong", colour(1)),
        (-1, "pairs", colour(6)),
    ):
        here = truth == value
        if here.any():
            axis.scatter(x[here], y[here], s=12, alpha=0.35, color=tint, label=f"{name} ({here.sum()})", linewidths=0)
    for text, left, up in (("uncertainty", 0.5, height + 0.03), ("disbelief", 0.0, -0.06), ("belief", 1.0, -0.06)):
        axis.text(left, up, text, ha="center", fontsize=9)
    axis.set_aspect("equal")
    bare(axis)
    axis.legend(fontsize=7, frameon=False, loc="upper right")
    return save(made, path)
