"""Points come and go: Adam's moments of those that stay, zeros for new ones, schedules."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from nearfar.scenes.densify import Change, adapt, densify, prune
from nearfar.scenes.point_training import build_optimiser
from nearfar.scenes.points import ROWS, PointField, PointOptions

SMALL = PointOptions(points=60, neighbours=5, width=16, feature_dim=6, value_dim=4, head_width=8, octaves=2)


def learned() -> tuple[PointField, torch.optim.Adam]:
    torch.manual_seed(2)
    f = PointField(SMALL, torch.rand(60, 3) - 0.5)
    optimiser = build_optimiser(f, SMALL)
    for _ in range(3):
        step(f, optimiser)
    return f, optimiser


def step(f: PointField, optimiser: torch.optim.Adam) -> None:
    origins = torch.nn.functional.normalize(torch.randn(50, 3), dim=1) * 2
    optimiser.zero_grad()
    f(origins, 0.2 * torch.randn(50, 3) - origins)["rgb"].square().sum().backward()
    optimiser.step()


def moments(f: PointField, optimiser: torch.optim.Adam) -> dict[str, torch.Tensor]:
    names = ("exp_avg", "exp_avg_sq")
    return {f"{n}/{m}": optimiser.state[getattr(f, n)][m].clone() for n in ROWS for m in names}


def test_pruning_keeps_rows_and_their_moments() -> None:
    f, optimiser = learned()
    with torch.no_grad():
        f.influence[7:20] = -0.1
        f.influence[30] = 0.0
    keep = f.influence > 0
    before, old = {n: getattr(f, n).detach().clone() for n in ROWS}, moments(f, optimiser)
    identities = [id(getattr(f, n)) for n in ROWS]
    assert prune(f, optimiser) == 14
    assert [id(getattr(f, n)) for n in ROWS] == identities
    for name in ROWS:
        assert torch.equal(getattr(f, name), before[name][keep])
    for name, value in moments(f, optimiser).items():
        assert torch.equal(value, old[name][keep]) and value.abs().sum() > 0, name
    places = f.points.detach().clone()
    step(f, optimiser)
    assert not torch.equal(places, f.points)


def test_pruning_leaves_as_many_as_a_ray_asks() -> None:
    f, optimiser = learned()
    best = f.influence.detach().topk(5).values.sort().values
    assert prune(f, optimiser, below=9.0) == 55
    assert torch.equal(f.influence.detach().sort().values, best)
    assert prune(f, optimiser, below=9.0) == 0
    step(f, optimiser)


def test_added_points_mix_neighbours_and_start_without_moments() -> None:
    f, optimiser = learned()
    before, old = {n: getattr(f, n).detach().clone() for n in ROWS}, moments(f, optimiser)
    assert densify(f, optimiser, 10, 65, torch.Generator().manual_seed(0)) == 5
    for name in ROWS:
        assert torch.equal(getattr(f, name)[:60], before[name])
    for name, value in moments(f, optimiser).items():
        assert torch.equal(value[:60], old[name]) and (value[60:] == 0).all(), name
    step(f, optimiser)
    for name in ROWS:  # a new point lies in the box of three old ones, in everything it is
        new, low, high = getattr(f, name)[60:], before[name].min(dim=0).values, before[name].max(dim=0).values
        assert ((new >= low - 0.05) & (new <= high + 0.05)).all()


def test_points_are_added_where_the_cloud_is_uneven() -> None:
    grid = torch.cartesian_prod(*[torch.arange(4.0)] * 3)
    bump = torch.tensor([2.9, 2.9, 2.9]) + torch.rand(4, 3) * 0.1
    f = PointField(replace(SMALL, points=64), torch.cat([grid, bump]))
    with torch.no_grad():
        f.influence.copy_(f.points.sum(dim=1))
        f.features.copy_(f.points[:, :1].expand(-1, 6))
    assert densify(f, None, 5, 1000, torch.Generator().manual_seed(0)) == 5
    new = f.points[68:]
    assert (new > 1.9).all()
    assert torch.allclose(f.influence[68:], new.sum(dim=1), atol=1e-5)  # the same mixture for all rows
    assert torch.allclose(f.features[68:, 3], new[:, 0], atol=1e-5)


def test_nothing_to_add() -> None:
    f, optimiser = learned()
    assert densify(f, optimiser, 10, 60) == 0 and densify(f, optimiser, 0, 100) == 0


def test_the_same_seed_adds_the_same_points() -> None:
    clouds = []
    for _ in range(2):
        f, optimiser = learned()
        densify(f, optimiser, 8, 100, torch.Generator().manual_seed(5))
        clouds.append(f.points.detach())
    assert torch.equal(*clouds)


def test_schedule() -> None:
    f, optimiser = learned()
    options = replace(
        SMALL, prune_every=4, prune_from=8, prune_until=16, add_every=6, add_from=12, add_until=20, add_number=3
    )
    with torch.no_grad():
        f.influence[0] = -1.0
    generator = torch.Generator().manual_seed(0)
    changes = {s: adapt(f, optimiser, options, s, generator) for s in range(1, 25)}
    happened = {s: c for s, c in changes.items() if c is not None}
    assert happened == {8: Change(8, 1, 0, 59), 12: Change(12, 0, 3, 62), 18: Change(18, 0, 3, 65)}
    assert all(adapt(f, optimiser, SMALL, s) is None for s in range(1, 100))


def test_a_state_of_another_number_of_points_resumes_with_its_moments() -> None:
    f, optimiser = learned()
    densify(f, optimiser, 7, 100, torch.Generator().manual_seed(1))
    saved = copy.deepcopy((f.state_dict(), optimiser.state_dict()))
    g = PointField(SMALL, torch.rand(60, 3))
    g.load_state_dict(saved[0])
    other = build_optimiser(g, SMALL)
    other.load_state_dict(saved[1])
    for field, owner in ((f, optimiser), (g, other)):
        torch.manual_seed(11)
        step(field, owner)
        step(field, owner)
    for name, value in f.state_dict().items():
        assert torch.equal(value, g.state_dict()[name]), name
