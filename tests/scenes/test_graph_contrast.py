"""Graph contrast on a small cloud: it learns, each point keeps its feature, and neither order nor place matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.scenes.graph_contrast import GraphFeatures, GraphOptions, block_retrieval, embed, point_graphs, pretrain

SMALL = GraphOptions(size=24, k=5)


def cloud(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Points of an ellipsoid, and colours that follow their places."""
    way = np.random.default_rng(0).normal(size=(n, 3))
    points = way / np.linalg.norm(way, axis=1, keepdims=True) * [1.0, 0.7, 0.5]
    return points, (np.sin(7 * points) + 1) / 2


@pytest.fixture(scope="module")
def trained() -> GraphFeatures:
    return pretrain(*cloud(), steps=150, options=SMALL)


def test_blocks_find_themselves_better_than_before() -> None:
    history = pretrain(cloud()[0], steps=150, options=SMALL).history
    first, last = history[0], history[-1]
    assert [line["step"] for line in history] == [*range(0, 150, 20), 150]
    assert "loss" not in first and last["loss"] < history[1]["loss"] < np.log(17)
    assert first["retrieval"] < 0.96 < last["retrieval"]
    seconds = [line["seconds"] for line in history]
    assert seconds == sorted(seconds)


def test_every_point_has_its_own_feature(trained: GraphFeatures) -> None:
    """The published code gives 10,000 points 20 distinct features."""
    assert trained.features.shape == (400, 64) and trained.features.dtype == torch.float32
    assert not trained.features.requires_grad and trained.features.isfinite().all()
    assert len(torch.unique(trained.features, dim=0)) == 400


def test_the_order_of_the_points_is_nothing_bit_by_bit(trained: GraphFeatures) -> None:
    points, colours = cloud()
    order = np.random.default_rng(1).permutation(400)
    other = pretrain(points[order], colours[order], steps=150, options=SMALL)
    assert torch.equal(other.features, trained.features[order])
    assert [line["loss"] for line in other.history[1:]] == [line["loss"] for line in trained.history[1:]]


def test_order_place_and_scale_change_no_code(trained: GraphFeatures) -> None:
    points, colours = cloud()
    order = np.random.default_rng(1).permutation(400)
    found = embed(trained, 3.0 * points[order] + [100.0, -7.0, 1.0], colours[order])
    torch.testing.assert_close(found, trained.features[order], rtol=1e-4, atol=1e-4)


def test_seeds_differ_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    found = [pretrain(cloud()[0], steps=2, seed=seed, options=SMALL).features for seed in (0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before) and not torch.allclose(*found)


def test_the_contrast_of_nodes_takes_part() -> None:
    with_nodes = pretrain(cloud()[0], steps=3, options=GraphOptions(size=24, k=5, node_weight=1.0))
    without = pretrain(cloud()[0], steps=3, options=SMALL)
    assert with_nodes.history[-1]["loss"] > without.history[-1]["loss"] + 1


def test_retrieval_counts_blocks_that_are_nearest_to_themselves(trained: GraphFeatures) -> None:
    graphs = point_graphs(*cloud(), SMALL)
    assert set(block_retrieval(trained.encoder, graphs, trained.head, share=0.0).values()) == {1.0}
    alike = torch.nn.Linear(64, 8)
    torch.nn.init.zeros_(alike.weight)
    with torch.no_grad():
        found = block_retrieval(trained.encoder, graphs, alike, share=0.0)
    assert found == dict.fromkeys(("drop_nodes", "mask_features", "remove_edges"), pytest.approx(1 / graphs.count))


def test_seconds_bound_the_training() -> None:
    found = pretrain(cloud()[0], seconds=0.3, options=SMALL)
    assert 0.3 <= found.history[-1]["seconds"] < 1.5 and found.history[-1]["step"] >= 1


def test_coinciding_points_are_learned_too() -> None:
    points = np.repeat(cloud(60)[0], 3, axis=0)
    assert pretrain(points, steps=2, options=GraphOptions(size=20, k=4)).features.isfinite().all()


def test_wrong_input_is_named() -> None:
    points, colours = cloud()
    broken = points.copy()
    broken[7] = np.nan
    with pytest.raises(DataError, match=r"1 of 400 rows.*first is 7"):
        pretrain(broken, steps=1)
    with pytest.raises(DataError, match=r"one block.*40 points, blocks of 64"):
        pretrain(points[:40], steps=1)
    with pytest.raises(ShapeError, match=r"colours \(9, 3\), points \(400, 3\)"):
        pretrain(points, colours[:9], steps=1)
    with pytest.raises(ShapeError, match=r"\(400, 2\)"):
        pretrain(points[:, :2], steps=1)
    with pytest.raises(DataError, match="255"):
        pretrain(points, colours * 255, steps=1)
    with pytest.raises(ConfigError, match="k = 64"):
        pretrain(points, steps=1, options=GraphOptions(k=64))
    for limit in ({"seconds": 0.0}, {"steps": 0}):
        with pytest.raises(ConfigError, match="training takes time"):
            pretrain(points, **limit)
