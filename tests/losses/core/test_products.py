"""Products by oneDNN are those of torch.mm, whatever the shapes; and without oneDNN torch.mm serves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from nearfar.losses.core import products

BOTH = pytest.mark.parametrize("name", ["", "blas"])


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (64, 33, 128), (130, 70, 16), (4, 0, 3), (3, 2, 0)])
def test_products(name: str, dtype: torch.dtype, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_PRODUCTS", name)
    n, m, d = shape
    x, y, w = torch.randn(n, d, dtype=dtype), torch.randn(m, d, dtype=dtype), torch.randn(n, m, dtype=dtype)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-13, "atol": 1e-13}
    torch.testing.assert_close(products.outer(x, y), x @ y.T, **tolerance)
    rows, columns = torch.ones(n, d, dtype=dtype), torch.ones(m, d, dtype=dtype)
    products.add_rows(rows, w, y)
    products.add_columns(columns, w, x.T.contiguous())
    torch.testing.assert_close(rows, 1 + w @ y, **tolerance)
    torch.testing.assert_close(columns, 1 + w.T @ x, **tolerance)


def test_an_operator_that_changed_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products.torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    for answer in (lambda x, w: x @ w.T + 1.0, lambda x, w: SimpleNamespace().missing):
        products._works.cache_clear()
        monkeypatch.setattr(products, "_linear", answer)
        assert not products._works()
    products._works.cache_clear()


def test_a_processor_without_the_instructions_keeps_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    products._works.cache_clear()
    monkeypatch.setattr(products.torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not products._works()
    products._works.cache_clear()
