import math

import pytest
import torch

from nearfar.losses.core.exponentials import exponential


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 4e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize(("shift", "power"), [(0.0, 1.0), (40.0, 1.0), (0.0, -1.0), (3.0, 1.5)])
def test_exponentials(dtype: torch.dtype, error: float, shift: float, power: float) -> None:
    s = torch.linspace(-50, 50, 1001, dtype=dtype)
    expected = (power * s.double() - shift).exp()
    into = torch.empty_like(s)
    assert exponential(s, shift, power, out=into) is into
    torch.testing.assert_close(into.double(), expected, rtol=error * (1 + abs(power)), atol=0)
    assert exponential(s, shift, power) is s and torch.equal(s, into)


def test_nothing_is_the_exponential_of_minus_infinity() -> None:
    s = torch.tensor([-math.inf, 0.0])
    assert exponential(s).tolist() == [0.0, 1.0]
