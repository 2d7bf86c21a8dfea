"""The graph encoder: the published numbers and sizes, and what nothing may change."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nearfar.encoders.heads import projection_head
from nearfar.encoders.points import GIN, GraphEncoder
from nearfar.errors import ConfigError, ShapeError


def fill(module: nn.Module) -> None:
    """The weights of the goldens: sin(i + 1) / sqrt(fan_in), biases 0.01 (i + 1); BatchNorm stays at (1, 0)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            w = layer.weight
            steps = torch.arange(1, w.numel() + 1, dtype=w.dtype)
            w.data = (steps.sin() / math.sqrt(w[0].numel())).reshape(w.shape)
            layer.bias.data = 0.01 * torch.arange(1, len(layer.bias) + 1, dtype=w.dtype)


def graph(seed: int, n: int = 12, edges: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    ends = torch.randint(n, (2, edges), generator=source)
    x = torch.randn(n, 3, dtype=torch.float64, generator=source)
    return x, torch.cat([ends, ends.flip(0)], 1), torch.randint(3, (n,), generator=source)


def test_golden(golden_dir: Path) -> None:
    case = json.loads((golden_dir / "smcl" / "golden.json").read_text())["gin_encoder"]
    encoder = GraphEncoder(3, case["hidden"], case["layers"]).double().eval()
    fill(encoder)
    x = torch.tensor(case["x"], dtype=torch.float64)
    nodes, codes = encoder(x, torch.tensor(case["edge_index"]), torch.tensor(case["batch"]))
    torch.testing.assert_close(nodes, torch.tensor(case["z"], dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(codes, torch.tensor(case["g"], dtype=torch.float64), rtol=0, atol=1e-9)


def test_published_size() -> None:
    parts = GraphEncoder(3), projection_head(64, (64, 64), "none")
    counts = [sum(p.numel() for p in part.parameters()) for part in parts]
    assert counts == [3424, 8320] and sum(counts) == 11_744


def test_a_layer_is_its_formula() -> None:
    layer = GIN(3, 5, learn_eps=True).double()
    layer.eps.data.fill_(0.3)
    x, edges, _ = graph(0)
    adjacency = torch.zeros(12, 12, dtype=torch.float64)
    for u, v in edges.T.tolist():
        adjacency[v, u] += 1
    torch.testing.assert_close(layer(x, edges), layer.mlp(1.3 * x + adjacency @ x))


def test_eps_is_learned_where_asked() -> None:
    for learn in (False, True):
        encoder = GraphEncoder(3, learn_eps=learn).double()
        x, edges, batch = graph(0)
        encoder(x, edges, batch)[1].square().sum().backward()
        found = {name for name, p in encoder.named_parameters() if name.endswith("eps") and p.grad is not None}
        assert len(found) == (2 if learn else 0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_nodes_and_edges_is_nothing(seed: int) -> None:
    torch.manual_seed(seed)
    encoder = GraphEncoder(3).double().eval()
    x, edges, batch = graph(seed)
    order, place = torch.randperm(12), torch.empty(12, dtype=torch.int64)
    place[order] = torch.arange(12)
    nodes, codes = encoder(x, edges, batch, 3)
    shuffled = place[edges][:, torch.randperm(edges.shape[1])]
    other_nodes, other_codes = encoder(x[order], shuffled, batch[order], 3)
    torch.testing.assert_close(other_nodes, nodes[order], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(other_codes, codes, rtol=1e-10, atol=1e-12)


def test_graphs_do_not_see_each_other() -> None:
    encoder = GraphEncoder(3).double().eval()
    (a, ea, _), (b, eb, _) = graph(1), graph(2, n=7)
    batch = torch.tensor([0] * 12 + [1] * 7)
    _, codes = encoder(torch.cat([a, b]), torch.cat([ea, eb + 12], 1), batch)
    torch.testing.assert_close(codes, torch.cat([encoder(a, ea)[1], encoder(b, eb)[1]]))


def test_a_graph_without_nodes_is_zero_and_nodes_need_no_edges() -> None:
    encoder = GraphEncoder(3).eval()
    nodes, codes = encoder(torch.randn(2, 3), torch.empty(2, 0, dtype=torch.int64), torch.tensor([0, 2]))
    assert codes.shape == (3, 64) and not codes[1].any() and torch.equal(codes[2], nodes[1])


def test_in_a_complete_graph_all_nodes_are_alike() -> None:
    """Why k stays below n - 1: with eps = 0, every node sums all nodes."""
    encoder, ends = GraphEncoder(3).double().eval(), torch.combinations(torch.arange(6), 2).T
    nodes, _ = encoder(torch.randn(6, 3, dtype=torch.float64), torch.cat([ends, ends.flip(0)], 1))
    assert (nodes - nodes[0]).abs().max() < 1e-12


def test_wrong_shapes_are_named() -> None:
    encoder, x, edges = GraphEncoder(3), torch.randn(4, 3), torch.zeros(2, 5, dtype=torch.int64)
    for arguments, found in (
        ((torch.randn(4, 6), edges), r"\(4, 6\).*\[N, 3\]"),
        ((x, edges.T), r"\(5, 2\).*\[2, E\] int64"),
        ((x, edges.float()), "float32.*int64"),
        ((x, edges, torch.zeros(5, dtype=torch.int64)), r"\(5,\).*\(4, 3\)"),
    ):
        with pytest.raises(ShapeError, match=found):
            encoder(*arguments)
    with pytest.raises(ConfigError, match="width 0"):
        GraphEncoder(3, 0)
