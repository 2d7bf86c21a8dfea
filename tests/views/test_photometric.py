"""Values: what each change does, and that none cares about the unit of the image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nearfar.views import photometric

KEY = torch.arange(4) * 31


def filled(value: float) -> Tensor:
    return torch.full((4,), value)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "contrast": lambda x: photometric.contrast(x, filled(1.4)),
    "shift": lambda x: photometric.shift(x, filled(0.3)),
    "gamma": lambda x: photometric.gamma(x, filled(1.7)),
    "saturation": lambda x: photometric.saturation(x, filled(0.4)),
    "drop_channel": lambda x: photometric.drop_channel(x, torch.tensor([0, 1, 2, -1])),
    "blur": lambda x: photometric.blur(x, filled(0.8)),
    "noise": lambda x: photometric.noise(x, KEY, filled(0.1)),
    "erase": lambda x: photometric.erase(x, KEY),
}
NEUTRAL: dict[str, Callable[[Tensor], Tensor]] = {
    "brightness": lambda x: photometric.brightness(x, filled(1.0)),
    "contrast": lambda x: photometric.contrast(x, filled(1.0)),
    "shift": lambda x: photometric.shift(x, filled(0.0)),
    "gamma": lambda x: photometric.gamma(x, filled(1.0)),
    "saturation": lambda x: photometric.saturation(x, filled(1.0)),
    "drop_channel": lambda x: photometric.drop_channel(x, filled(-1)),
    "blur": lambda x: photometric.blur(x, filled(0.0)),
    "noise": lambda x: photometric.noise(x, KEY, filled(0.0)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_unit_does_not_matter(name: str) -> None:
    image = torch.rand(4, 3, 12, 10, dtype=torch.float64)
    changed = CHANGES[name](image)
    assert not torch.allclose(changed, image)
    kelvin = CHANGES[name](image * 40 + 280)
    torch.testing.assert_close(kelvin, changed * 40 + 280, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NEUTRAL)
def test_the_neutral_parameter_changes_nothing(name: str) -> None:
    image = torch.rand(4, 3, 9, 9)
    torch.testing.assert_close(NEUTRAL[name](image), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", CHANGES)
def test_a_constant_image_stays_finite(name: str) -> None:
    assert CHANGES[name](torch.full((4, 3, 8, 8), 0.5)).isfinite().all()


def test_contrast_keeps_the_mean_and_scales_the_deviation() -> None:
    image = torch.rand(4, 2, 16, 16)
    changed = photometric.contrast(image, filled(1.5))
    torch.testing.assert_close(photometric.mean(changed), photometric.mean(image))
    torch.testing.assert_close(photometric.deviation(changed), 1.5 * photometric.deviation(image))


def test_gamma_is_the_power_at_the_ends_and_half_way() -> None:
    ramp = torch.linspace(0, 1, 5).view(1, 1, 1, 5).expand(4, 1, 1, 5)
    curve = photometric.gamma(ramp, filled(2.0))[0, 0, 0]
    torch.testing.assert_close(curve[[0, 2, 4]], torch.tensor([0.0, 0.25, 1.0]))
    assert (curve.diff() > 0).all()


def test_saturation_zero_is_grey() -> None:
    grey = photometric.saturation(torch.rand(4, 3, 5, 5), filled(0.0))
    torch.testing.assert_close(grey[:, 0], grey[:, 2])


def test_blur_is_a_mean_with_unit_weight() -> None:
    dot = torch.zeros(1, 1, 9, 9)
    dot[..., 4, 4] = 1
    spread = photometric.blur(dot, torch.tensor([1.0]))
    assert spread.sum().item() == pytest.approx(1, abs=1e-6)
    assert spread[0, 0, 4, 4] < 0.2
    torch.testing.assert_close(spread, spread.transpose(2, 3))


def test_noise_has_the_asked_deviation() -> None:
    image = torch.rand(4, 1, 64, 64)
    grains = photometric.noise(image, KEY, filled(0.5)) - image
    torch.testing.assert_close(photometric.deviation(grains), 0.5 * photometric.deviation(image), rtol=0.06, atol=0)


def test_boxes_reach_every_edge_and_have_a_pixel_at_least() -> None:
    ends = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    box = photometric.box_mask(ends, torch.tensor([[0.5, 0.25], [0.0, 0.0]]), (8, 4))[:, 0]
    assert box[0].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert box[1].nonzero().tolist() == [[7, 3]]
