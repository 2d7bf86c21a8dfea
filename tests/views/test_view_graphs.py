"""Views of graphs: what goes, what stays, and that the seed alone decides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import ConfigError
from nearfar.spatial.graphs import block_graphs
from nearfar.views.graphs import AUGMENTATIONS, Graphs, augment, drop_nodes, mask_features, remove_edges

View = Callable[[Graphs, float, int], Graphs]
each = pytest.mark.parametrize("view", AUGMENTATIONS, ids=lambda view: view.__name__)


def graphs(n: int = 300, size: int = 20) -> Graphs:
    made = block_graphs(np.random.default_rng(0).normal(size=(n, 3)), size, min(4, size - 1))
    block = torch.from_numpy(made.block)
    x = torch.from_numpy(made.centred).float() + 9
    return Graphs(x, torch.from_numpy(made.edges), block, made.count, torch.arange(n))


def undirected(view: Graphs) -> set[tuple[int, int]]:
    found = set(map(tuple, view.edges.T.tolist()))
    assert len(found) == view.edges.shape[1] and all((v, u) in found for u, v in found)
    return {(int(view.nodes[u]), int(view.nodes[v])) for u, v in found}


@each
def test_the_seed_decides_and_share_0_is_the_identity(view: View) -> None:
    whole = graphs()
    same, other = view(whole, 0.3, 5), view(whole, 0.3, 6)
    again = view(whole, 0.3, 5)
    assert torch.equal(same.x, again.x) and torch.equal(same.edges, again.edges)
    assert same.x.shape != other.x.shape or same.edges.shape != other.edges.shape or not torch.equal(same.x, other.x)
    still = view(whole, 0.0, 5)
    assert torch.equal(still.x, whole.x) and torch.equal(still.edges, whole.edges)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.9))
def test_edges_stay_undirected_and_among_those_of_the_whole(seed: int, share: float) -> None:
    whole = graphs()
    all_edges = undirected(whole)
    for view in AUGMENTATIONS:
        made = view(whole, share, seed)
        assert undirected(made) <= all_edges
        assert torch.equal(made.batch, whole.batch[made.nodes]) and made.count == whole.count
    dropped = drop_nodes(whole, share, seed)
    here = set(dropped.nodes.tolist())
    assert undirected(dropped) == {(u, v) for u, v in all_edges if u in here and v in here}
    assert torch.equal(dropped.x, whole.x[dropped.nodes])


def test_shares_are_kept() -> None:
    whole = graphs(4000)
    assert len(drop_nodes(whole, 0.3, 1).x) / 4000 == pytest.approx(0.7, abs=0.03)
    assert remove_edges(whole, 0.3, 1).edges.shape[1] / whole.edges.shape[1] == pytest.approx(0.7, abs=0.03)
    masked = mask_features(whole, 0.3, 1).x == 0
    assert float(masked.float().mean()) == pytest.approx(0.3, abs=0.05)
    for number in range(whole.count):
        rows = masked[whole.batch == number]
        assert torch.equal(rows, rows[:1].expand_as(rows))


def test_every_graph_keeps_a_node_and_a_column() -> None:
    whole = graphs(30, size=2)
    for seed in range(20):
        assert sorted(set(drop_nodes(whole, 0.9, seed).batch.tolist())) == list(range(15))
        assert mask_features(whole, 0.9, seed).x.any(dim=1).all()


def test_a_part_has_the_views_of_the_whole() -> None:
    """What happens to a node or an edge does not depend on what else is in the batch."""
    whole = graphs()
    some = torch.tensor([7, 2, 4])
    for view in (drop_nodes, remove_edges):
        first, then = view(whole, 0.4, 3).chosen(some), view(whole.chosen(some), 0.4, 3)
        assert first.count == 3 and undirected(first) == undirected(then)
        assert torch.equal(first.nodes, then.nodes) and torch.equal(first.batch, then.batch)
    assert set(whole.chosen(some).nodes[whole.chosen(some).batch == 0].tolist()) == set(
        torch.nonzero(whole.batch == 7)[:, 0].tolist()
    )


def test_all_three_come_up() -> None:
    whole = graphs()
    seen = set()
    for seed in range(30):
        made = augment(whole, 0.3, seed)
        seen.add((len(made.x) < len(whole.x), bool((made.x == 0).any()), len(made.x) == len(whole.x)))
    assert len(seen) == 3


@each
@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_impossible_shares(view: View, share: float) -> None:
    with pytest.raises(ConfigError, match="0 <= share < 1"):
        view(graphs(40), share, 0)
