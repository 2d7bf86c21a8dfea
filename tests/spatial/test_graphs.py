"""Blocks and edges of points: even, undirected, the same in any order and at any place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.spatial import graphs
from nearfar.spatial.graphs import block_graphs, blocks, knn_edges

lattice = arrays.arrays(np.int64, st.tuples(st.integers(2, 60), st.just(3)), elements=st.integers(-3, 3))
"""clouds of integer places: ties and coincidences everywhere, and exact arithmetic"""
smooth = arrays.arrays(np.float64, st.tuples(st.integers(2, 60), st.just(3)), elements=st.floats(-9, 9, width=32))
quick = settings(max_examples=60, deadline=None)


def cloud(n: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3))


def edge_set(edges: np.ndarray) -> set[tuple[int, int]]:
    return set(map(tuple, edges.T.tolist()))


def places_of(points: np.ndarray, found: list[np.ndarray]) -> list[list[tuple[float, ...]]]:
    return [sorted(map(tuple, points[index].tolist())) for index in found]


@quick
@given(points=st.one_of(lattice, smooth), size=st.integers(1, 70))
def test_blocks_divide_the_points_evenly(points: np.ndarray, size: int) -> None:
    found = blocks(points, size)
    counts = [len(index) for index in found]
    assert sorted(np.concatenate(found).tolist()) == list(range(len(points)))
    assert len(found) == -(-len(points) // size) and max(counts) <= size and max(counts) - min(counts) <= 1
    assert all((np.diff(index) > 0).all() for index in found)


@quick
@given(points=st.one_of(lattice, smooth), size=st.integers(1, 20), data=st.data())
def test_blocks_do_not_depend_on_the_order(points: np.ndarray, size: int, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(points)))))
    assert places_of(points, blocks(points, size)) == places_of(points[order], blocks(points[order], size))


@quick
@given(points=lattice, size=st.integers(1, 20), by=st.tuples(*[st.integers(-1000, 1000)] * 3))
def test_graphs_do_not_depend_on_the_place(points: np.ndarray, size: int, by: tuple[int, int, int]) -> None:
    moved = points + np.array(by)
    assert all(map(np.array_equal, blocks(points, size), blocks(moved, size)))
    k = min(3, len(points) - 1)
    assert np.array_equal(knn_edges(points, k), knn_edges(moved.astype(np.float32), k))


@quick
@given(points=st.one_of(lattice, smooth), data=st.data())
def test_edges_are_undirected_single_and_never_loops(points: np.ndarray, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(points) - 1))
    edges = knn_edges(points, k)
    found = edge_set(edges)
    assert edges.dtype == np.int64 and len(found) == edges.shape[1]
    assert all(u != v and (v, u) in found for u, v in found)
    assert np.bincount(edges[0], minlength=len(points)).min() >= k


@quick
@given(points=st.one_of(lattice, smooth), data=st.data())
def test_edges_do_not_depend_on_the_order(points: np.ndarray, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(points) - 1))
    order = np.array(data.draw(st.permutations(range(len(points)))))
    assert edge_set(order[knn_edges(points[order], k)]) == edge_set(knn_edges(points, k))


def test_edges_are_those_of_brute_force() -> None:
    points = cloud()
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(distances, np.inf)
    near = np.argsort(distances, axis=1)[:, :5]
    expected = {(u, int(v)) for u, row in enumerate(near) for v in row}
    assert edge_set(knn_edges(points, 5)) == expected | {(v, u) for u, v in expected}


def test_ties_and_coinciding_points_all_count() -> None:
    grid = np.argwhere(np.ones((3, 3)))
    assert np.bincount(knn_edges(grid, 1)[0]).tolist() == [2, 3, 2, 3, 4, 3, 2, 3, 2]
    tenth = grid * 0.1  # 0.1 + 0.1 and 0.2 differ from a lattice by rounding alone
    assert np.array_equal(knn_edges(tenth + 7.3, 1), knn_edges(grid, 1))
    same = np.repeat(cloud(5), 4, axis=0)
    assert edge_set(knn_edges(same, 3)) == {(u, v) for u in range(20) for v in range(20) if u != v and u // 4 == v // 4}


def test_graphs_of_blocks_stay_in_their_block_and_are_centred() -> None:
    points = cloud(500) * [1, 2, 5] + 1e4
    found = block_graphs(points, size=64, k=8)
    assert found.count == 8 and np.bincount(found.block).tolist() == [63] * 4 + [62] * 4
    assert (found.block[found.edges[0]] == found.block[found.edges[1]]).all()
    assert np.bincount(found.edges[0], minlength=500).min() >= 8
    for number in range(found.count):
        assert np.abs(found.centred[found.block == number].mean(axis=0)).max() < 1e-9
    assert np.sqrt((found.centred**2).sum(1).mean()) == pytest.approx(1)


@quick
@given(seed=st.integers(0, 99), by=st.floats(-100, 100), scale=st.floats(0.01, 100))
def test_moving_turning_round_and_scaling_change_nothing(seed: int, by: float, scale: float) -> None:
    points, order = cloud(90, seed), np.random.default_rng(seed).permutation(90)
    found, other = block_graphs(points, 20, 4), block_graphs(points[order] * scale + by, 20, 4)
    np.testing.assert_array_equal(other.block, found.block[order])
    np.testing.assert_allclose(other.centred, found.centred[order], atol=1e-9)
    assert edge_set(order[other.edges]) == edge_set(found.edges)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_points_than_a_block(n: int) -> None:
    found = block_graphs(cloud(n), size=64, k=8)
    assert found.count == 1 and found.edges.shape == (2, n * (n - 1)) and np.isfinite(found.centred).all()


def test_points_at_one_place_have_a_graph() -> None:
    found = block_graphs(np.ones((10, 3)), size=4, k=2)
    assert found.count == 3 and (found.centred == 0).all()


@pytest.mark.parametrize("k", [5, 6, 0, -1])
def test_k_must_leave_a_point_out(k: int) -> None:
    with pytest.raises(ConfigError, match=f"k = {k}, 5 points.*1 <= k < points"):
        knn_edges(cloud(5), k)


def test_bad_points_are_named() -> None:
    broken = cloud(6)
    broken[4, 1], broken[5, 0] = np.nan, np.inf
    for call in (lambda: blocks(broken, 4), lambda: knn_edges(broken, 2), lambda: block_graphs(broken)):
        with pytest.raises(DataError, match=r"2 of 6 rows.*first is 4"):
            call()
    with pytest.raises(DataError, match="no points"):
        blocks(np.empty((0, 3)), 4)
    with pytest.raises(ShapeError, match=r"\(6,\)"):
        knn_edges(np.ones(6), 2)
    with pytest.raises(ConfigError, match="at least one point"):
        blocks(cloud(5), 0)
    with pytest.raises(ConfigError, match="k = 64, blocks of 64"):
        block_graphs(cloud(100), size=64, k=64)


def test_masses_of_coinciding_points_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST_EDGES", 1000)
    with pytest.raises(DataError, match=r"39 neighbours of one point.*coincide"):
        knn_edges(np.zeros((40, 3)), 2)
