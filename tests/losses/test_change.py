"""Change ratios, their running value and the flags that follow from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.losses import ChangeFlags, change_ratio


def at(distances: list[float]) -> torch.Tensor:
    """[N, 2] features at these distances from the origin."""
    return torch.tensor([[0.6 * d, -0.8 * d] for d in distances], dtype=torch.float64)


def test_golden_ratio_and_running_value(golden_dir: Path) -> None:
    """The file holds results; these distances and old values, all round numbers, give them."""
    golden = json.loads((golden_dir / "saco" / "losses.json").read_text())
    far, near = [1.2, 0.3, 0.9, 0.2], [0.4, 0.5, 0.3, 0.4]
    ratio = change_ratio(at([0.0] * 4), at(far), at(near))
    assert ratio.tolist() == pytest.approx(golden["caco_ratio"], abs=1e-9)
    flags, places, new = ChangeFlags(3), torch.arange(3), torch.tensor([1.2, 0.4, float(ratio[0])], dtype=torch.float64)
    flags.visit(places, new)
    assert flags.ratio.tolist() == pytest.approx(golden["caco_running first visit, den=0"], abs=1e-9)
    flags.ratio.copy_(torch.tensor([0.5, 0.6, 1.0], dtype=torch.float64))
    flags.visit(places, new)
    assert flags.ratio.tolist() == pytest.approx(golden["caco_running (num*4+new)/(den*4+1), den=1"], abs=1e-9)


def test_ratio_is_float32_without_a_graph() -> None:
    now = torch.randn(3, 4, dtype=torch.bfloat16, requires_grad=True)
    ratio = change_ratio(now, torch.randn(3, 4), now)
    assert ratio.dtype == torch.float32 and not ratio.requires_grad and ratio.isfinite().all()
    with pytest.raises(ShapeError, match=r"\(3, 4\).*\(2, 4\)"):
        change_ratio(now, now[:2], now)


def test_visits_of_one_place_count_by_their_mean_and_others_stay() -> None:
    flags = ChangeFlags(4)
    flags.visit(torch.tensor([2, 0, 2]), torch.tensor([1.0, 7.0, 3.0]))
    assert flags.ratio.tolist() == [7, 0, 2, 0] and flags.visited.tolist() == [True, False, True, False]
    flags.visit(torch.tensor([2]), torch.tensor([12.0]))
    assert flags.ratio.tolist() == [7, 0, 4, 0]


def test_the_mixture_finds_the_places_that_changed() -> None:
    truth = torch.arange(200) % 5 == 0
    flags = ChangeFlags(220)
    flags.visit(torch.arange(200), 1 + 0.1 * torch.randn(200) + 3 * truth)
    assert not flags.changed.any()
    changed = flags.refit()
    assert torch.equal(changed[:200], truth) and not changed[200:].any()
    assert torch.equal(flags.refit(), changed)


@pytest.mark.parametrize("ratios", [[], [3.0], [2.0, 2.0]])
def test_too_little_to_tell_apart_flags_nothing(ratios: list[float]) -> None:
    flags = ChangeFlags(4)
    flags.changed.fill_(True)
    flags.visit(torch.arange(len(ratios)), torch.tensor(ratios))
    assert not flags.refit().any()


def test_goes_on_after_a_restart() -> None:
    one, two = ChangeFlags(5), ChangeFlags(5)
    one.visit(torch.arange(4), torch.tensor([1.0, 1.1, 5.0, 5.2]))
    one.refit()
    two.load_state_dict(one.state_dict())
    for flags in (one, two):
        flags.visit(torch.tensor([0]), torch.tensor([9.0]))
    torch.testing.assert_close(dict(two.state_dict()), dict(one.state_dict()), rtol=0, atol=0)
    assert one.changed.tolist() == [False, False, True, True, False]


def test_wrong_use() -> None:
    flags = ChangeFlags(3)
    with pytest.raises(ConfigError, match="size 0"):
        ChangeFlags(0)
    with pytest.raises(ShapeError, match=r"\(2,\).*\(3,\)"):
        flags.visit(torch.arange(2), torch.ones(3))
    for place in (3, -1):
        with pytest.raises(DataError, match="0 to 2"):
            flags.visit(torch.tensor([place]), torch.ones(1))
    with pytest.raises(DataError, match="1 of 2"):
        flags.visit(torch.arange(2), torch.tensor([1.0, float("nan")]))
    assert not flags.visited.any()
