"""Alignment, uniformity and effective rank against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from toy import build, configuration, dataset

from nearfar.train.health import alignment, effective_rank, measure, uniformity


def test_alignment() -> None:
    x = torch.randn(5, 4)
    assert float(alignment(x, 3 * x)) == pytest.approx(0, abs=1e-6)
    assert float(alignment(x, -x)) == pytest.approx(4, rel=1e-5)
    assert float(alignment(torch.tensor([[1.0, 0]]), torch.tensor([[0, 7.0]]))) == pytest.approx(2)


def test_uniformity() -> None:
    assert float(uniformity(torch.ones(6, 3))) == pytest.approx(0, abs=1e-6)
    # Two points at a right angle: squared distance 2, so log exp(-4).
    assert float(uniformity(torch.eye(2))) == pytest.approx(-4)
    square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert float(uniformity(square)) == pytest.approx(math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6), rel=1e-5)


def test_effective_rank() -> None:
    assert float(effective_rank(torch.ones(6, 3))) == 0
    line = torch.arange(6.0)[:, None] * torch.tensor([[1.0, 2.0, 3.0]])
    assert float(effective_rank(line)) == pytest.approx(1, abs=1e-4)
    cross = torch.cat([torch.eye(4), -torch.eye(4)])
    assert float(effective_rank(cross)) == pytest.approx(4, rel=1e-5)


def test_measuring_repeats_and_leaves_the_random_state_and_mode_alone() -> None:
    method = build(configuration({"noise": 0.1})).train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = measure(method, dataset(), torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    assert method.training
    assert first == measure(method, dataset(), torch.device("cpu"))
    assert first["health/alignment"] > 0 > first["health/uniformity"]
