"""The guard against non-finite steps and its report of spikes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nearfar.errors import NonFiniteError
from nearfar.train.guard import WARM, Guard


def test_bad_steps_are_counted_and_stop_the_run_only_in_a_row() -> None:
    guard = Guard(nn.Linear(1, 1), limit=3)
    losses = [1.0, math.nan, math.inf, 1.0, math.nan, math.nan]
    assert [guard.admit(loss, 1.0, step) for step, loss in enumerate(losses)] == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    assert guard.skipped == 4
    with pytest.raises(NonFiniteError, match=r"step 6: 3 steps in a row.*gradient norm inf.*Lower train\.lr"):
        guard.admit(1.0, math.inf, 6)


def test_batch_statistics_are_put_back() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))
    guard = Guard(net, limit=9)
    net(torch.randn(4, 3))
    guard.admit(1.0, 1.0, 0)
    good = {name: value.clone() for name, value in net.state_dict().items()}
    net(torch.full((4, 3), math.nan))
    assert not torch.isfinite(net[0].running_mean).any()
    guard.admit(math.nan, 1.0, 1)
    assert all(torch.equal(value, good[name]) for name, value in net.state_dict().items())


def test_a_spike_is_reported_and_ordinary_noise_is_not() -> None:
    guard = Guard(nn.Linear(1, 1), limit=1)
    noise = torch.randn(WARM + 100).mul(0.1).add(2).tolist()
    assert not any(guard.spike(loss) for loss in noise)
    copy = Guard(nn.Linear(1, 1), limit=1)
    copy.load_state_dict(guard.state_dict())
    height = guard.spike(4.0)
    assert height is not None
    assert height > 10
    assert copy.spike(4.0) == height
