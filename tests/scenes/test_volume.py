"""Where rays are sampled and what they show: the golden numbers, and sampling against brute force."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nearfar.errors import ShapeError
from nearfar.scenes.volume import around, composite, importance, strata, stratified

WHITE = torch.ones(3, dtype=torch.float64)


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, torch.Tensor]:
    table = json.loads((golden_dir / "smcl" / "golden.json").read_text())["volume_rendering"]
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in table.items() if name != "note"}


def test_golden_compositing(golden: dict[str, torch.Tensor]) -> None:
    seen = composite(golden["z"], golden["sigma"], golden["color"], golden["rays"][:, 7], WHITE)
    assert torch.allclose(seen.weights, golden["weights"], atol=1e-9)
    assert torch.allclose(seen.rgb, golden["rgb_white"], atol=1e-9)
    assert torch.allclose(seen.depth, golden["depth"], atol=1e-9)


def test_golden_places_are_the_middles_of_strata(golden: dict[str, torch.Tensor]) -> None:
    edges = strata(golden["rays"][:1, 6], golden["rays"][:1, 7], 6)
    assert torch.allclose(stratified(edges), golden["z"][:1], atol=1e-9)


def test_stratified_puts_one_sample_in_each_stratum() -> None:
    edges = strata(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.5]), 50)
    places = stratified(edges, torch.Generator().manual_seed(0))
    assert ((places >= edges[:, :-1]) & (places <= edges[:, 1:])).all()
    share = (places - edges[:, :-1]) / torch.diff(edges)
    assert share.std() > 0.25  # of a uniform draw: 0.289


def test_importance_is_the_inverse_of_the_cumulative_weights() -> None:
    edges, weights = torch.tensor([0.0, 1.0, 2.0, 4.0]).double(), torch.tensor([1.0, 0.0, 3.0]).double()
    places = importance(edges, weights, 8)
    # By hand: a quarter of the mass in 0..1, none in 1..2, three quarters in 2..4.
    expected = torch.tensor([0.25, 0.75, *(2 + 2 * (torch.arange(6) + 0.5) / 6)]).double()
    assert torch.allclose(places, expected, atol=1e-4)


def test_importance_agrees_with_brute_force() -> None:
    rng = np.random.default_rng(0)
    edges = np.sort(rng.uniform(1, 4, (3, 9)), axis=1)
    weights = rng.random((3, 8)) ** 4
    places = importance(torch.tensor(edges), torch.tensor(weights), 4000, torch.Generator().manual_seed(0)).numpy()
    for row in range(3):
        # Brute force: choose strata by their weights, then a place in them.
        share = (weights[row] + 1e-5) / (weights[row] + 1e-5).sum()
        chosen = rng.choice(8, size=200_000, p=share)
        drawn = rng.uniform(edges[row][chosen], edges[row][chosen + 1])
        levels = np.linspace(0.01, 0.99, 33)
        assert np.abs(np.quantile(places[row], levels) - np.quantile(drawn, levels)).max() < 0.05
        counts = np.histogram(places[row], edges[row])[0]
        assert np.abs(counts / 4000 - share).max() < 2 / 4000  # one draw a quantile: off by one at each border


def test_importance_without_weights_is_uniform_and_without_gradient() -> None:
    edges = strata(torch.tensor([1.0]), torch.tensor([2.0]), 5)
    weights = torch.zeros(1, 5, requires_grad=True)
    places = importance(edges, weights, 10)
    assert torch.allclose(places, 1 + (torch.arange(10) + 0.5)[None] / 10, atol=1e-5)
    assert not places.requires_grad


def test_importance_refuses_weights_of_other_strata() -> None:
    with pytest.raises(ShapeError, match="strata do not fit"):
        importance(torch.zeros(2, 5), torch.zeros(2, 5), 3)


def test_samples_around_a_depth() -> None:
    depth, near, far = torch.tensor([2.0, 1.0]), torch.tensor([1.0, 1.0]), torch.tensor([4.0, 4.0])
    places = around(depth, 0.1, 4000, near, far, torch.Generator().manual_seed(0))
    assert abs(float(places[0].mean()) - 2) < 0.01
    assert abs(float(places[0].std()) - 0.1) < 0.01
    assert float(places[1].min()) == 1.0  # kept within near and far
    still = around(depth, 0.1, 3, near, far)
    assert torch.allclose(still[0], torch.tensor([1.90326, 2.0, 2.09674]), atol=1e-4)  # normal quantiles 1/6, 1/2, 5/6


def test_the_last_sample_reaches_to_far() -> None:
    distances, density = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[0.0, 0.7]]).double()
    seen = composite(distances, density, torch.zeros(1, 2, 3).double(), torch.tensor([3.5]).double(), WHITE)
    assert torch.allclose(seen.alpha, 1 - torch.exp(torch.tensor([-0.7 * 1.5]).double()), atol=1e-9)


def test_background_shows_where_nothing_stops_a_ray() -> None:
    clear = composite(
        torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2), torch.rand(1, 2, 3), torch.tensor([3.0]), torch.ones(3)
    )
    assert torch.equal(clear.rgb, torch.ones(1, 3))
    assert clear.alpha == 0 and clear.depth == 0
    blue = composite(
        torch.tensor([[1.0, 2.0]]), torch.full((1, 2), 1e4), torch.rand(1, 2, 3), torch.tensor([3.0]), torch.eye(3)[2]
    )
    assert torch.allclose(blue.alpha, torch.ones(1))


def test_compositing_has_exact_gradients_where_opaque() -> None:
    density = torch.tensor([[0.3, 5.0, 40.0, 2.0]], dtype=torch.float64, requires_grad=True)
    colours = torch.rand(1, 4, 3, dtype=torch.float64, requires_grad=True)
    distances, far = torch.tensor([[1.0, 1.5, 2.0, 2.5]]).double(), torch.tensor([3.0]).double()
    assert torch.autograd.gradcheck(lambda s, c: composite(distances, s, c, far, WHITE)[:3], (density, colours))


def test_compositing_refuses_other_shapes() -> None:
    with pytest.raises(ShapeError, match="samples of rays do not fit"):
        composite(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 4, 3), torch.zeros(2), torch.ones(3))
