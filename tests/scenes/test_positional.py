"""The code of coordinates: its order, its gradient, its size."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from nearfar.scenes.positional import code_size, coordinate_code


def test_golden(golden_dir: Path) -> None:
    g = json.loads((golden_dir / "smcl/golden.json").read_text())["posenc"]
    x = torch.tensor(g["x"], dtype=torch.float64)
    expected = torch.tensor(g["point_dim_major"]["out"], dtype=torch.float64)
    assert (coordinate_code(x, 6) - expected).abs().max() < 1e-9
    assert expected.shape[-1] == code_size(3, 6) == 39


def test_gradient() -> None:
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: coordinate_code(t, 4), (x,))


def test_codes_of_joined_coordinates_are_joined_codes() -> None:
    a, b = torch.randn(7, 3), torch.randn(7, 3)
    joined = coordinate_code(torch.cat([a, b], dim=-1), 2)
    assert torch.equal(joined, torch.cat([coordinate_code(a, 2), coordinate_code(b, 2)], dim=-1))
