"""The torch form against the exact one on the CPU, its gradients, and what it does with devices and dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.spatial.force_torch import CHUNK
from nearfar.spatial.forces import force_banner, force_histogram


def masks(seed: int, batch: int = CHUNK + 1, size: tuple[int, int] = (20, 14)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, batch, *size))
    a[..., 8:] = 0
    b[..., :5] = 0
    return a, b


OPTIONS: list[dict[str, Any]] = [
    {},
    {"policy": "drop"},
    {"policy": "inf", "normalize": "none"},
    {"policy": "inf", "normalize": "global_max"},
    {"policy": "cutoff", "cutoff": 0.6, "normalize": "log", "symmetric": True},
    {"sub_angles": 3, "normalize": "mass", "directions": 20},
    {"normalize": "scale", "directions": 12},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("crisp", [False, True])
def test_equals_the_numpy_form(options: dict[str, Any], crisp: bool) -> None:
    pair = masks(0)
    a, b = (m > 0.5 for m in pair) if crisp else pair
    given = {"r": (-5.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0), "directions": 24, **options}
    expected = force_banner(a, b, **given)
    got = force_banner(*(torch.tensor(np.asarray(m, float)) for m in (a, b)), **given)
    assert got.dtype == torch.float64 and got.shape == expected.shape
    assert got.numpy() == pytest.approx(expected, rel=1e-10, abs=1e-13 * np.ma.masked_invalid(expected).max())
    single = force_banner(*(torch.tensor(np.asarray(m, "f4")) for m in (a, b)), **given)
    assert single.dtype == torch.float32
    finite = np.isfinite(expected)
    assert np.array_equal(np.isfinite(single.numpy()), finite)
    top = np.where(finite, expected, 0).max(-1, keepdims=True)
    error = np.abs(single.numpy()[finite] - expected[finite])
    assert (error <= 1e-5 * np.broadcast_to(top, finite.shape)[finite]).all()


def test_hybrid_equals_the_numpy_form() -> None:
    a, b = masks(1)
    got = force_histogram(*(torch.tensor(m) for m in (a, b)), r="hybrid", directions=16)
    assert got.numpy() == pytest.approx(force_histogram(a, b, r="hybrid", directions=16), rel=1e-9)


def test_bool_tensors_are_correlated_exactly() -> None:
    a, b = (torch.tensor(m > 0.4) for m in masks(2))
    got = force_banner(a, b, [-1.0, 0.0, 3.0], 24, policy="drop", normalize="none")
    expected = force_banner(a.numpy(), b.numpy(), [-1.0, 0.0, 3.0], 24, policy="drop", normalize="none")
    assert got.dtype == torch.get_default_dtype()
    assert np.array_equal(got.numpy() == 0, expected == 0)
    assert got.numpy() == pytest.approx(expected, rel=1e-6)
    assert force_banner(a, b, [12.0], 8).dtype == torch.float64


@pytest.mark.parametrize(
    "options",
    [
        {"normalize": "none", "cutoff": 0.3},
        {"cutoff": 0.9},
        {"policy": "drop", "normalize": "log"},
        {"normalize": "mass", "symmetric": True, "sub_angles": 2},
        {"normalize": "global_max"},
    ],
)
def test_gradients(options: dict[str, Any]) -> None:
    a, b = (torch.rand(2, 5, 6, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_() for _ in range(2))
    forces = [-1.0, 0.5, 1.0, 2.0, 3.0]
    assert torch.autograd.gradcheck(lambda x, y: force_banner(x, y, forces, 8, **options), (a, b))


def test_gradient_of_the_hybrid_force() -> None:
    a, b = (torch.rand(1, 5, 6, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, y: force_histogram(x, y, r="hybrid", directions=8), (a, b))


def test_gradient_reaches_pixels_outside_the_masks() -> None:
    """There the correlation is 0, and what the FFT leaves of it is removed: the value, not the gradient."""
    a, b = (torch.tensor(m[:1]) for m in masks(3, size=(6, 9)))
    b[..., 6:] = 0
    a.requires_grad_()
    force_banner(a, b, [-1.0], 8, normalize="none").sum().backward()
    step = torch.zeros_like(a)
    step[0, 2, 8] = 1e-3  # empty so far
    with torch.no_grad():
        change = force_banner(a + step, b, [-1.0], 8, normalize="none") - force_banner(
            a, b, [-1.0], 8, normalize="none"
        )
    assert a.grad is not None
    assert float(change.sum()) == pytest.approx(float((a.grad * step).sum()), rel=1e-9) and float(change.sum()) > 0


def test_autocast_and_half_do_not_lose_digits() -> None:
    a, b = (torch.tensor(m > 0.5).to(torch.float32) for m in masks(4))
    expected = force_banner(a, b, directions=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(force_banner(a, b, directions=16), expected)
    half = force_banner(a.half(), b.half(), directions=16)
    assert half.dtype == torch.float32 and torch.allclose(half, expected, atol=1e-5)


def test_wrong_tensors() -> None:
    a, b = (torch.tensor(m) for m in masks(5))
    with pytest.raises(ConfigError, match="not of one kind"):
        force_banner(a, b.numpy())  # type: ignore[type-var]
    with pytest.raises(ConfigError, match="cpu and Tensor on meta"):
        force_banner(a, b.to("meta"))
    with pytest.raises(ShapeError, match="one image"):
        force_banner(a, b[:, 1:])
    with pytest.raises(DataError, match=r"mask b\[3\] is empty"):
        force_banner(a, b * (torch.arange(len(b)) != 3)[:, None, None])
    with pytest.raises(DataError, match="NaN"):
        force_banner(a.clone().fill_(float("nan")), b)
    with pytest.raises(DataError, match=r"-1 to 1.*0 to 1"):
        force_banner(a.clone().bernoulli_().mul(2).sub(1), b)
    with pytest.raises(DataError, match="no numbers"):
        force_banner(a[:0], b[:0])
