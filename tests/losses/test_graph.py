"""The contrast of graphs and nodes beyond the contract of all losses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses import G2GInfoNCE, NodeInfoNCE, g2g_info_nce, node_info_nce


def codes(n: int = 6) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(2)
    z = torch.randn(2, n, 8, generator=source, dtype=torch.float64)
    return z[0], z[1]


def test_the_published_form_is_two_cross_entropies() -> None:
    g0, g1 = codes()
    s = functional.normalize(g0, dim=1) @ functional.normalize(g1, dim=1).T / 0.2
    own = torch.arange(6)
    expected = (functional.cross_entropy(s, own) + functional.cross_entropy(s.T, own)) / 2
    torch.testing.assert_close(g2g_info_nce(g0, g1), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(node_info_nce(g0, g1, same_view=False), expected, rtol=1e-12, atol=0)


def test_negatives_of_the_same_view_cost_more() -> None:
    z0, z1 = codes()
    assert node_info_nce(z0, z1) > node_info_nce(z0, z1, same_view=False)


def test_branches_may_be_exchanged() -> None:
    z0, z1 = codes()
    for loss in (g2g_info_nce, node_info_nce):
        torch.testing.assert_close(loss(z0, z1), loss(z1, z0), rtol=1e-12, atol=0)


def test_a_lone_graph_costs_nothing() -> None:
    """Batches of two graphs, as published, leave such a one at the end of an odd epoch."""
    for loss in (g2g_info_nce, node_info_nce):
        g0, g1 = (g.requires_grad_() for g in codes(1))
        value = loss(g0, g1)
        value.backward()
        assert value == 0 and g0.grad is not None and not g0.grad.any()


@pytest.mark.parametrize("twin", [G2GInfoNCE, NodeInfoNCE])
def test_wrong_use_is_named(twin: type[G2GInfoNCE] | type[NodeInfoNCE]) -> None:
    z0, z1 = codes()
    with pytest.raises(ShapeError, match=r"\(6, 8\).*\(5, 8\)"):
        twin()(z0, z1[:5])
    with pytest.raises(ConfigError, match="temperature"):
        twin(temperature=0.0)(z0, z1)
