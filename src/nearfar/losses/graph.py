"""Contrast of two views of graphs: graph with graph, and node with node.

Both are built on the core's InfoNCE: exact over ranks, in tiles where large.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.losses._common import check_pair, inverse
from nearfar.losses.core import Exchange, Memory
from nearfar.losses.info_nce import clip_loss, nt_xent


def g2g_info_nce(
    g0: Tensor,
    g1: Tensor,
    *,
    temperature: float = 0.2,
    normalize: bool = True,
    memory: Memory = "auto",
    exchange: Exchange = "gather",
) -> Tensor:
    """Codes of the same graphs in two views, g0 and g1 [G, D], find each other among those of all graphs and ranks.

        1/2 [ CE(g0.g1' / T, own) + CE(g1.g0' / T, own) ]

    what PyGCL (Zhu et al. 2021) calls dual-branch G2G contrast with InfoNCE, and SMCL's published code uses at T = 0.2.
    A lone graph has nothing to be told from and costs 0. memory, exchange: see `nearfar.losses`.
    Raises ShapeError where shapes do not fit, ConfigError for a temperature that is not positive.
    """
    return clip_loss(g0, g1, scale=inverse(temperature), normalize=normalize, memory=memory, exchange=exchange)


def node_info_nce(
    z0: Tensor,
    z1: Tensor,
    *,
    temperature: float = 0.2,
    same_view: bool = True,
    normalize: bool = True,
    memory: Memory = "auto",
    exchange: Exchange = "gather",
) -> Tensor:
    """Codes of the same nodes in two views, z0 and z1 [N, D], find each other; rows are the nodes that both views hold.

    With t(x, y) = exp(x.y / T), the mean over nodes i and both directions of

        -log( t(z0_i, z1_i) / (t(z0_i, z1_i) + sum over k != i of t(z0_i, z1_k) + t(z0_i, z0_k)) )

    (Zhu et al. 2020, GRACE, eq. 1, which is NT-Xent); `same_view=False` leaves the last term out, as PyGCL's
    local-to-local contrast does. Negatives are of all graphs and ranks. memory, exchange: see `nearfar.losses`.
    Raises ShapeError where shapes do not fit, ConfigError for a temperature that is not positive.
    """
    if not same_view:
        return clip_loss(z0, z1, scale=inverse(temperature), normalize=normalize, memory=memory, exchange=exchange)
    check_pair(z0, z1)
    both = torch.stack([z0, z1], dim=1)
    return nt_xent(both, temperature=temperature, normalize=normalize, memory=memory, exchange=exchange)


class G2GInfoNCE(nn.Module):
    """Module twin of `g2g_info_nce`."""

    def __init__(
        self,
        *,
        temperature: float = 0.2,
        normalize: bool = True,
        memory: Memory = "auto",
        exchange: Exchange = "gather",
    ) -> None:
        super().__init__()
        self.temperature, self.normalize = temperature, normalize
        self.memory, self.exchange = memory, exchange

    def forward(self, g0: Tensor, g1: Tensor) -> Tensor:
        """See `g2g_info_nce`."""
        return g2g_info_nce(
            g0,
            g1,
            temperature=self.temperature,
            normalize=self.normalize,
            memory=self.memory,
            exchange=self.exchange,
        )


class NodeInfoNCE(nn.Module):
    """Module twin of `node_info_nce`."""

    def __init__(
        self,
        *,
        temperature: float = 0.2,
        same_view: bool = True,
        normalize: bool = True,
        memory: Memory = "auto",
        exchange: Exchange = "gather",
    ) -> None:
        super().__init__()
        self.temperature, self.same_view, self.normalize = temperature, same_view, normalize
        self.memory, self.exchange = memory, exchange

    def forward(self, z0: Tensor, z1: Tensor) -> Tensor:
        """See `node_info_nce`."""
        return node_info_nce(
            z0,
            z1,
            temperature=self.temperature,
            same_view=self.same_view,
            normalize=self.normalize,
            memory=self.memory,
            exchange=self.exchange,
        )
