"""Graphs of points: blocks of space of equal counts, and edges to the nearest neighbours within them.

Nothing depends on the order of the points: blocks are cut by position, and points as near as the k-th neighbour all
count. Nothing depends on where the cloud lies, up to rounding. Source: the volume blocks of SMCL (Information Fusion
2025), whose published code cuts the file into consecutive chunks instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nearfar.errors import ConfigError, DataError, ShapeError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
SAME = 1e-9
"""lengths that differ by less, relatively, are equal"""
MOST_EDGES = 100_000_000
"""directed edges a graph may have; only clouds of coinciding points have more"""


@dataclass(frozen=True, eq=False)
class BlockGraphs:
    """One graph a block; the nodes are the points in their order."""

    block: Indices
    """[N]: which block each point is in"""
    count: int
    """how many blocks there are"""
    edges: Indices
    """[2, E]: both directions of every edge, no edge between blocks, sorted"""
    centred: Floats
    """[N, d]: place of each point in its block, from the block's mean, in units of the root mean square of all"""


def checked_points(points: NDArray[Any]) -> Floats:
    """points [n, d] in float64. Raises ShapeError unless they are rows of coordinates, DataError unless finite."""
    places = np.asarray(points)
    if places.ndim != 2 or not places.shape[1]:
        raise ShapeError("points are rows of coordinates", found=places.shape, expected="[n, d]")
    if not len(places):
        raise DataError("there are no points")
    places = places.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(places).all(axis=1))
    if len(bad):
        raise DataError(
            "points without a place",
            found=f"{len(bad)} of {len(places)} rows with NaN or infinity, the first is {bad[0]}",
            fix="Remove them.",
        )
    return places


def blocks(points: NDArray[Any], size: int) -> list[Indices]:
    """The points [n, d] in ceil(n / size) blocks of space whose counts differ by one at most; indices, ascending.

    A k-d tree: the widest axis is cut at the order statistic that keeps the counts even. Equal coordinates are ordered
    by the other axes, so that only points at one place are divided by their order in the file.
    Raises ConfigError for a size below 1, ShapeError and DataError for points that are none.
    """
    if size < 1:
        raise ConfigError("a block holds at least one point", found=size)
    places = checked_points(points)
    found: list[Indices] = []
    waiting = [(np.arange(len(places)), -(-len(places) // size))]
    while waiting:
        index, parts = waiting.pop()
        if parts == 1:
            found.append(np.sort(index))
            continue
        index = index[_along_widest_axis(places[index])]
        left = parts // 2
        cut = left * (len(index) // parts) + min(left, len(index) % parts)
        waiting += [(index[cut:], parts - left), (index[:cut], left)]
    return found


def knn_edges(points: NDArray[Any], k: int) -> Indices:
    """Edges [2, E] between each point [n, d] and its k nearest, in both directions, sorted; none to itself, none twice.

    Every point at the distance of the k-th counts as well (on a lattice, or where points coincide), so a node has k
    neighbours or more. With k = n - 1 the graph is complete; then sums over neighbours tell nodes apart badly.
    Raises ConfigError unless 1 <= k < n, ShapeError and DataError for points that are none, or coincide in masses.
    """
    places = checked_points(points)
    n = len(places)
    if not 1 <= k < n:
        raise ConfigError(
            "a point has fewer neighbours than asked for" if k >= n else "a point needs a neighbour",
            found=f"k = {k}, {n} points",
            expected="1 <= k < points",
            fix="Choose a smaller k, or larger blocks." if k >= n else None,
        )
    tree = cKDTree(places)
    radius = tree.query(places, [k + 1])[0][:, 0]
    radius = radius * (1 + SAME) + 8 * _resolution(points) * np.abs(places).max()
    degrees = tree.query_ball_point(places, radius, return_length=True)
    if degrees.sum() > MOST_EDGES:
        raise DataError(
            "too many points are equally near",
            found=f"{degrees.max() - 1:,} neighbours of one point",
            fix="Remove points that coincide.",
        )
    source = np.repeat(np.arange(n), degrees)
    target = np.concatenate(tree.query_ball_point(places, radius)).astype(np.int64)
    apart = source != target
    source, target = source[apart], target[apart]
    pairs = np.unique(np.concatenate([source * n + target, target * n + source]))
    return np.stack([pairs // n, pairs % n])


def block_graphs(points: NDArray[Any], size: int = 64, k: int = 8) -> BlockGraphs:
    """The graph of k nearest neighbours in each of the blocks of points [n, d].

    A block of k points or fewer, which only a cloud near that size has, is complete.
    Raises ConfigError for k >= size, and what `blocks` and `knn_edges` raise.
    """
    if not 1 <= k < size:
        raise ConfigError("neighbours do not fit into a block", found=f"k = {k}, blocks of {size}", expected="k < size")
    found = blocks(points, size)
    points = np.asarray(points)
    block = np.empty(len(points), dtype=np.int64)
    centred = np.empty(points.shape)
    edges = [np.empty((2, 0), dtype=np.int64)]
    for number, index in enumerate(found):
        block[index] = number
        own = points[index].astype(np.float64)
        centred[index] = own - own.mean(axis=0)
        if len(index) > 1:
            edges.append(index[knn_edges(points[index], min(k, len(index) - 1))])
    scale = float(np.sqrt(np.mean(np.sum(centred**2, axis=1)))) or 1.0
    joined = np.concatenate(edges, axis=1)
    return BlockGraphs(block, len(found), joined[:, np.lexsort(joined[::-1])], centred / scale)


def _along_widest_axis(places: Floats) -> Indices:
    """The order of the places [n, d] along their widest axis, equal coordinates by the other axes."""
    extents = np.ptp(places, axis=0)
    widest = int(np.argmax(extents >= extents.max() * (1 - SAME)))
    others = [places[:, axis] for axis in reversed(range(places.shape[1])) if axis != widest]
    return np.lexsort([*others, places[:, widest]])


def _resolution(points: NDArray[Any]) -> float:
    """Relative rounding of the coordinates as they were given."""
    kind = np.asarray(points).dtype
    return float(np.finfo(kind).eps) if kind.kind == "f" else float(np.finfo(np.float64).eps)
