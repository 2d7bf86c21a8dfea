"""Focal frequency loss and its contrast: published numbers, bounds, gradients where weights allow them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses import focal_frequency, spectral_contrast


def random_maps(count: int = 3) -> list[Tensor]:
    source = torch.Generator().manual_seed(3)
    return [torch.randn(4, 2, 4, 6, generator=source, dtype=torch.float64) for _ in range(count)]


def test_the_published_numbers(golden_dir: Path) -> None:
    case: Any = json.loads((golden_dir / "smcl" / "golden.json").read_text())["focal_frequency"]
    x, y = (torch.tensor(case[name], dtype=torch.float64) for name in ("pred", "target"))
    assert float(focal_frequency(x, y)) == pytest.approx(case["ffl"], abs=1e-9)
    assert float(focal_frequency(x, y, alpha=2)) == pytest.approx(case["ffl_alpha2"], abs=1e-9)
    assert float(focal_frequency(x, y, log=True)) == pytest.approx(case["ffl_log_matrix"], abs=1e-9)
    assert -math.log10(float(focal_frequency(x, y))) == pytest.approx(case["ffl2_minus_log10"], abs=1e-9)


def test_without_weights_it_is_the_mean_square_by_parseval() -> None:
    x, y, _ = random_maps()
    assert float(focal_frequency(x, y, alpha=0)) == pytest.approx(float((x - y).square().mean()), rel=1e-12)


def test_gradients_where_weights_are_constant() -> None:
    x, y, z = (m.requires_grad_() for m in random_maps())
    assert torch.autograd.gradcheck(lambda x, y: focal_frequency(x, y, alpha=0), (x, y))
    assert torch.autograd.gradcheck(lambda *m: spectral_contrast(*m, alpha=0, margin=1.9), (x, y, z))


def test_equal_maps_cost_nothing_and_have_a_gradient() -> None:
    x = random_maps(1)[0].requires_grad_()
    loss = focal_frequency(x, x.detach().clone())
    loss.backward()
    assert loss == 0 and x.grad is not None and torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_contrast_is_bounded_below_at_any_scale(scale: float) -> None:
    a, _, n = (scale * m for m in random_maps())
    assert -0.5 <= float(spectral_contrast(a, a, n, margin=0.5)) < 0
    assert float(spectral_contrast(a, a, 1e3 * n, margin=0.5)) == pytest.approx(-0.5, rel=0.05 if scale < 1 else 1e-12)


def test_a_negative_beyond_the_margin_no_longer_pushes() -> None:
    a, p, n = random_maps()
    far = (100 * n).requires_grad_()
    spectral_contrast(a, p, far).backward()
    assert far.grad is not None and torch.equal(far.grad, torch.zeros_like(far))


def test_negatives_that_do_not_count_leave_the_positive() -> None:
    a, p, n = random_maps()
    none = torch.zeros(4, dtype=torch.bool)
    assert spectral_contrast(a, p, n, valid=none) == focal_frequency(a, p)


def test_what_does_not_fit_is_refused() -> None:
    a, p, n = random_maps()
    with pytest.raises(ShapeError, match=r"\[B, C, H, W\] both"):
        focal_frequency(a, p[:, :1])
    with pytest.raises(ShapeError, match=r"\[B, C, H, W\] both"):
        focal_frequency(a.flatten(1), p.flatten(1))
    with pytest.raises(ShapeError, match="one truth value"):
        spectral_contrast(a, p, n, valid=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ConfigError, match="margin"):
        spectral_contrast(a, p, n, margin=0)
    with pytest.raises(ConfigError, match="negative"):
        focal_frequency(a, p, alpha=-1)
