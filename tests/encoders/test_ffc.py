"""Fast Fourier convolution: the published numbers, and what one pixel reaches."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nearfar.encoders.ffc import FFC, FourierUnit, SpectralTransform
from nearfar.errors import ConfigError


def fill(module: nn.Module) -> nn.Module:
    """The weights of the goldens, in double precision and evaluation mode."""
    for p in module.parameters():
        if p.dim() > 1:
            ramp = torch.arange(1, p.numel() + 1, dtype=torch.float64).sin() / math.sqrt(p[0].numel())
            p.data = ramp.view(p.shape)
    for part in module.modules():
        if isinstance(part, SpectralTransform):  # the goldens take this one's norm for an ordinary layer
            norm = part.squeeze[1]
            norm.weight.data = norm.bias.data = 0.01 * torch.arange(1, len(norm.weight) + 1, dtype=torch.float64)  # type: ignore[arg-type,assignment]
    return module.double().eval()


@pytest.fixture
def golden(golden_dir: Path) -> Any:
    return json.loads((golden_dir / "smcl" / "golden.json").read_text())


def values(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_fourier_unit_is_the_published_one(golden: Any) -> None:
    case = golden["fourier_unit"]
    unit = fill(FourierUnit(2, 2))
    torch.testing.assert_close(unit.conv.weight.data[:, :, 0, 0], values(case["weight"]), atol=1e-11, rtol=0)  # type: ignore[index]
    torch.testing.assert_close(unit(values(case["x"])), values(case["y"]), atol=1e-9, rtol=0)


def test_spectral_transform_is_the_published_one(golden: Any) -> None:
    case = golden["spectral_transform"]
    made = fill(SpectralTransform(case["in_ch"], case["out_ch"]))(values(case["x"]))
    torch.testing.assert_close(made, values(case["y"]), atol=1e-9, rtol=0)


def test_ffc_is_the_published_one(golden: Any) -> None:
    case = golden["ffc_bn_act"]
    module = fill(FFC(case["in_ch"], case["out_ch"], activation="identity"))
    local, wide = module(values(case["x_local"]), values(case["x_global"]))
    torch.testing.assert_close(local, values(case["y_local"]), atol=1e-9, rtol=0)
    torch.testing.assert_close(wide, values(case["y_global"]), atol=1e-9, rtol=0)
    rectified = fill(FFC(case["in_ch"], case["out_ch"]))(values(case["x_local"]), values(case["x_global"]))
    torch.testing.assert_close(rectified, (local.relu(), wide.relu()))


def test_one_pixel_is_felt_everywhere_by_the_spectrum_alone() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 4, 16, 16, requires_grad=True)
    FourierUnit(4, 4).eval()(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None and (x.grad != 0).float().mean() > 0.9


@pytest.mark.parametrize(("outputs", "local"), [(4, True), (12, True), (3, False)])
def test_channels_that_cannot_be_divided(outputs: int, local: bool) -> None:
    with pytest.raises(ConfigError, match="multiple of"):
        SpectralTransform(4, outputs, local=local)
