"""Other views of graphs: nodes dropped, features masked, edges removed.

After GraphCL (You et al. 2020) and GRACE (Zhu et al. 2020). All random numbers are hashes of (seed, node, edge or
column), so a view can be made again anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nearfar.errors import ConfigError
from nearfar.views.random import derive, uniform


@dataclass(frozen=True, eq=False)
class Graphs:
    """Some graphs side by side: what `encoders.points.GraphEncoder` reads."""

    x: Tensor
    """[N, F] features of nodes"""
    edges: Tensor
    """int64 [2, E], undirected edges in both directions"""
    batch: Tensor
    """int64 [N]: the graph of each node"""
    count: int
    """number of graphs"""
    nodes: Tensor
    """int64 [N]: which node of the whole each one is, ascending"""

    def kept(self, keep: Tensor) -> Graphs:
        """The nodes where keep, bool [N], and the edges between them; graphs keep their numbers."""
        place = keep.cumsum(0) - 1
        edges = place[self.edges[:, keep[self.edges].all(0)]]
        return Graphs(self.x[keep], edges, self.batch[keep], self.count, self.nodes[keep])

    def chosen(self, graphs: Tensor) -> Graphs:
        """The graphs of these numbers, int64 [G], numbered anew in that order."""
        number = torch.full((self.count,), -1, device=graphs.device)
        number[graphs] = torch.arange(len(graphs), device=graphs.device)
        part = self.kept(number[self.batch] >= 0)
        return replace(part, batch=number[part.batch], count=len(graphs))


def drop_nodes(graphs: Graphs, share: float, seed: int) -> Graphs:
    """Each node goes with probability `share`, and its edges with it; every graph keeps one node at least."""
    numbers = uniform(_keys(graphs.nodes, seed, "node", share))
    largest = numbers.new_zeros(graphs.count).scatter_reduce(0, graphs.batch, numbers, "amax")
    return graphs.kept((numbers >= share) | (numbers == largest[graphs.batch]))


def mask_features(graphs: Graphs, share: float, seed: int) -> Graphs:
    """Each column of each graph's features becomes 0 with probability `share`; every graph keeps one at least."""
    rows = torch.arange(graphs.count, device=graphs.x.device)
    numbers = uniform(_keys(rows, seed, "column", share), graphs.x.shape[1:])
    keep = (numbers >= share) | (numbers == numbers.amax(dim=1, keepdim=True))
    return replace(graphs, x=graphs.x * keep[graphs.batch])


def remove_edges(graphs: Graphs, share: float, seed: int) -> Graphs:
    """Each undirected edge goes, in both directions, with probability `share`."""
    ends = graphs.nodes[graphs.edges].sort(dim=0).values
    pairs = derive(ends[0], "first") + ends[1]
    return replace(graphs, edges=graphs.edges[:, uniform(_keys(pairs, seed, "edge", share)) >= share])


AUGMENTATIONS: tuple[Callable[[Graphs, float, int], Graphs], ...] = (drop_nodes, mask_features, remove_edges)


def augment(graphs: Graphs, share: float, seed: int) -> Graphs:
    """One of the three by chance, the same for all graphs, as in SMCL's published code (share 0.1)."""
    draw = uniform(derive(torch.tensor([seed]), "augmentation"), high=len(AUGMENTATIONS))
    return AUGMENTATIONS[int(draw)](graphs, share, seed)


def _keys(numbers: Tensor, seed: int, purpose: str, share: float) -> Tensor:
    if not 0 <= share < 1:
        raise ConfigError("a share to leave out", found=share, expected="0 <= share < 1")
    return derive(numbers, seed, purpose)
