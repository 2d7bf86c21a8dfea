"""Graphs of points to codes of their nodes and of themselves: the graph isomorphism network (Xu et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError, ShapeError


class GIN(nn.Module):
    """One layer of GIN (Xu et al., ICLR 2019, eq. 4.1): x_i -> MLP((1 + eps) x_i + sum of x_j over edges j -> i).

    eps is 0, or learned from 0 on. The perceptron is Linear, ReLU, Linear.
    """

    eps: Tensor

    def __init__(self, in_dim: int, width: int, *, learn_eps: bool = False) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(in_dim, width), nn.ReLU(), nn.Linear(width, width))
        if learn_eps:
            self.eps = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("eps", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """x [N, in_dim], edges int64 [2, E] from row 0 to row 1 -> [N, width]."""
        summed = ((1 + self.eps) * x).index_add(0, edges[1], x[edges[0]])
        return self.mlp(summed)  # type: ignore[no-any-return]


class GraphEncoder(nn.Module):
    """SMCL's encoder of point graphs: GIN, ReLU and BatchNorm `layers` times; a node's code is what all layers say.

    A graph's code is the sum of its nodes' codes. Neither depends on the order of nodes or edges, up to rounding; in
    training, BatchNorm looks at all nodes of the batch. `dim` = width * layers. Published: width 32, layers 2, which
    with 3 inputs are 3,424 parameters, or 11,744 with the projection 64 -> 64 -> 64.
    """

    def __init__(self, in_dim: int, width: int = 32, layers: int = 2, *, learn_eps: bool = False) -> None:
        super().__init__()
        if min(in_dim, width, layers) < 1:
            raise ConfigError(
                "sizes of a graph encoder are positive", found=f"in_dim {in_dim}, width {width}, layers {layers}"
            )
        self.in_dim, self.dim = in_dim, width * layers
        sizes = [in_dim] + [width] * (layers - 1)
        self.convolutions = nn.ModuleList(GIN(size, width, learn_eps=learn_eps) for size in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in sizes)

    def forward(
        self, x: Tensor, edges: Tensor, batch: Tensor | None = None, graphs: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """(codes of nodes [N, dim], codes of graphs [G, dim]) of nodes x [N, in_dim] with edges int64 [2, E].

        An undirected edge is given in both directions. batch int64 [N]: the graph of each node, 0 where left out;
        graphs: how many there are (default: batch.max() + 1). A graph without nodes has the code 0.
        Raises ShapeError where shapes do not fit.
        """
        self._check(x, edges, batch)
        batch = torch.zeros(len(x), dtype=torch.int64, device=x.device) if batch is None else batch
        graphs = (int(batch.max()) + 1 if len(batch) else 0) if graphs is None else graphs
        codes = []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(torch.relu(convolution(x, edges)))
            codes.append(x)
        nodes = torch.cat(codes, dim=1)
        return nodes, nodes.new_zeros(graphs, self.dim).index_add(0, batch, nodes)

    def _check(self, x: Tensor, edges: Tensor, batch: Tensor | None) -> None:
        if x.dim() != 2 or x.shape[1] != self.in_dim:
            raise ShapeError("nodes do not fit the encoder", found=tuple(x.shape), expected=f"[N, {self.in_dim}]")
        if edges.dim() != 2 or len(edges) != 2 or edges.dtype != torch.int64:
            raise ShapeError(
                "edges are pairs of nodes", found=f"{tuple(edges.shape)} {edges.dtype}", expected="[2, E] int64"
            )
        if batch is not None and batch.shape != x.shape[:1]:
            raise ShapeError("one graph a node", found=f"batch {tuple(batch.shape)}, nodes {tuple(x.shape)}")
