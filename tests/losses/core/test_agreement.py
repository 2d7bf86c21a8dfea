"""Dense and tiled are one loss: values, gradients and the laws of contrast, at the edges too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nearfar.errors import ConfigError
from nearfar.losses import HCL, clip_loss, evidential, hcl, info_nce, nt_xent, supcon
from nearfar.losses.core import choose, kept, tile

Call = Callable[..., Tensor]
"""loss(z [N, 2, D], labels [N], temperature=, memory=)"""


def _evidential(**options: Any) -> Call:
    return lambda z, y, temperature, **o: evidential(z, y, progress=0.4, temperature=temperature, **options, **o)


LOSSES: dict[str, Call] = {
    "info_nce": lambda z, y, **o: info_nce(z[:, 0], z[:, 1], **o),
    "clip_loss": lambda z, y, temperature, **o: clip_loss(z[:, 0], z[:, 1], scale=1 / temperature, **o),
    "nt_xent pair": lambda z, y, **o: nt_xent(z, **o),
    "nt_xent of labels": nt_xent,
    "supcon out": supcon,
    "supcon in": lambda z, y, **o: supcon(z, y, form="in", **o),
    "hcl": lambda z, y, **o: hcl(z, **o),
    "hcl of labels": lambda z, y, **o: hcl(z, y, beta=0.5, tau_plus=0.0, **o),
    "evidential": _evidential(),
    "evidential gamma 0": _evidential(gamma=0.0, evidence="softplus", margin=0.2),
    "evidential ratio": _evidential(evidence="log_likelihood_ratio", class_balanced=True),
    "evidential patches": _evidential(evidence="patches"),
    "reference": _evidential(mode="reference", eps=None),
    "reference clamped": _evidential(mode="reference", rank_scope="class"),
    "later": _evidential(mode="later"),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


@pytest.fixture(autouse=True)
def _small_tiles() -> Iterator[None]:
    with tile(4):
        yield


def value_and_gradient(name: str, z: Tensor, labels: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    z = z.detach().clone().requires_grad_()
    loss = LOSSES[name](z, labels, **({"temperature": 0.1} | options))
    loss.backward()
    return loss.detach(), z.grad


def check_agreement(name: str, z: Tensor, labels: Tensor, temperature: float = 0.1) -> None:
    dense = value_and_gradient(name, z, labels, temperature=temperature, memory="dense")
    tiled = value_and_gradient(name, z, labels, temperature=temperature, memory="tiled")
    assert tiled[1].isfinite().all()
    torch.testing.assert_close(tiled[0], dense[0], rtol=1e-10, atol=1e-13)
    assert float((tiled[1] - dense[1]).norm()) <= 1e-10 * float(dense[1].norm()) + 1e-13


@every_loss
@pytest.mark.filterwarnings("ignore:.*anchors on 1 rank")
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_dense_and_tiled_agree(name: str, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    labels = torch.tensor(data.draw(st.lists(st.integers(-1, 4), min_size=n, max_size=n)))
    z = torch.randn(
        n, 2, 3, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))), dtype=torch.float64
    )
    check_agreement(name, z, labels, data.draw(st.sampled_from([1e-3, 0.05, 0.3, 50.0])))


EDGES: dict[str, tuple[Tensor, Tensor]] = {
    "one class": (torch.randn(7, 2, 3), torch.zeros(7, dtype=torch.int64)),
    "all singletons": (torch.randn(7, 2, 3), torch.arange(7)),
    "all unknown": (torch.randn(5, 2, 3), torch.full((5,), -1)),
    "one row": (torch.randn(1, 2, 3), torch.zeros(1, dtype=torch.int64)),
    "zero rows of z": (torch.randn(6, 2, 3) * torch.tensor([0, 1, 1, 0, 1, 1])[:, None, None], torch.arange(6) % 2),
    "duplicated rows": (torch.randn(3, 2, 3).repeat(3, 1, 1), torch.arange(9) % 3),
    "all rows equal": (torch.ones(6, 2, 3), torch.arange(6) % 3),
    "a class larger than tiles": (torch.randn(30, 2, 3), torch.arange(30) // 25),
}


@every_loss
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.filterwarnings("ignore:.*anchors on 1 rank")
def test_agreement_at_the_edges(name: str, edge: str) -> None:
    z, labels = EDGES[edge]
    check_agreement(name, z.double(), labels)


@every_loss
def test_single_precision_is_as_good_as_the_dense_form(name: str) -> None:
    z, labels = torch.randn(40, 2, 16, dtype=torch.float64), torch.arange(40) % 5
    exact = value_and_gradient(name, z, labels, memory="dense")
    value, gradient = value_and_gradient(name, z.float(), labels, memory="tiled")
    assert float(value) == pytest.approx(float(exact[0]), rel=1e-6)
    assert float((gradient - exact[1]).norm()) <= 1e-6 * float(exact[1].norm())


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite_at_a_hundredth(name: str, dtype: torch.dtype) -> None:
    z, labels = torch.randn(20, 2, 16).to(dtype), torch.arange(20) % 5
    value, gradient = value_and_gradient(name, z, labels, temperature=0.01, memory="tiled")
    assert value.dtype == torch.float32 and value.isfinite()
    assert gradient.dtype == dtype and gradient.isfinite().all()


@every_loss
def test_order_of_rows_and_views_and_names_of_labels_do_not_matter(name: str) -> None:
    z, labels = torch.randn(11, 2, 4, dtype=torch.float64), torch.arange(11) % 3
    order = torch.randperm(11)
    expected, gradient = value_and_gradient(name, z, labels, memory="tiled")
    loss, permuted = value_and_gradient(name, z[order], labels[order] * -5 + 70, memory="tiled")
    torch.testing.assert_close((loss, permuted), (expected, gradient[order]), rtol=1e-10, atol=1e-12)
    if name != "info_nce":  # whose views have different parts
        loss, swapped = value_and_gradient(name, z.flip(1), labels, memory="tiled")
        torch.testing.assert_close((loss, swapped), (expected, gradient.flip(1)), rtol=1e-10, atol=1e-12)


@every_loss
def test_autocast_around_the_backward_pass_changes_nothing(name: str) -> None:
    z, labels = torch.randn(12, 2, 8), torch.arange(12) % 3
    expected = value_and_gradient(name, z, labels, memory="tiled")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = value_and_gradient(name, z, labels, memory="tiled")
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


@every_loss
def test_second_derivatives_are_refused_and_not_wrong(name: str) -> None:
    z = torch.randn(12, 2, 4, requires_grad=True)
    loss = LOSSES[name](z, torch.arange(12) % 3, temperature=0.1, memory="tiled")
    with pytest.raises(ConfigError, match="memory='dense'"):
        torch.autograd.grad(loss, z, create_graph=True)


def test_opinions_have_first_derivatives_alone_in_the_dense_form_too() -> None:
    z, labels = torch.randn(12, 2, 4, dtype=torch.float64, requires_grad=True), torch.arange(12) % 3
    loss = evidential(z, labels, memory="dense")
    with pytest.raises(ConfigError, match="first derivatives"):
        torch.autograd.grad(loss, z, create_graph=True)
    expected = torch.autograd.grad(loss, z)[0]
    torch.testing.assert_close(torch.func.grad(lambda z: evidential(z, labels, memory="dense"))(z), expected)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, Tensor) and x.untyped_storage().size() > 0:
                self.elements = max(self.elements, x.untyped_storage().nbytes() // x.element_size())
        return out


@every_loss
def test_nothing_of_all_pairs_is_ever_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_KEPT", "0.7")
    monkeypatch.setattr(kept, "_free", {})  # the store that a larger loss before this one left
    n = 700
    z, labels = torch.randn(n, 2, 8), torch.arange(n) % 10
    with tile(128), Largest() as largest:
        value_and_gradient(name, z, labels, memory="tiled")
    assert 0 < largest.elements < (2 * n) ** 2 / 6


def test_auto_goes_by_size_and_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.randn(20, 2, 4, dtype=torch.float64)
    small = nt_xent(z)
    assert torch.equal(small, nt_xent(z, memory="dense"))
    monkeypatch.setattr(choose, "AUTO_PAIRS", 39 * 40)
    large = nt_xent(z)
    assert torch.equal(large, nt_xent(z, memory="tiled"))
    torch.testing.assert_close(small, large, rtol=1e-12, atol=0)
    torch.testing.assert_close(HCL(memory="dense")(z), hcl(z), rtol=1e-12, atol=0)


def test_neighbourhoods_stay_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "AUTO_PAIRS", 1)
    z, labels = torch.randn(8, 2, 4), torch.arange(8) % 2
    expected = evidential(z, labels, evidence="neighbourhood", memory="dense")
    assert torch.equal(evidential(z, labels, evidence="neighbourhood"), expected)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda z, y: supcon(z, y, memory="tile"), "Did you mean 'tiled'"),
        (lambda z, y: supcon(z, y, exchange="rings"), "Did you mean 'ring'"),
        (lambda z, y: nt_xent(z, memory="dense", exchange="ring"), "a ring has no dense form"),
        (lambda z, y: supcon(z, y, weights=torch.ones(16, 16), exchange="ring"), "weights do not go round"),
        (lambda z, y: evidential(z, y, evidence="neighbourhood", memory="tiled"), "memory='dense'"),
        (lambda z, y: evidential(z, y, evidence="patches", exchange="ring"), "exchange='gather'"),
        (lambda z, y: evidential(z, y, mode="later", exchange="ring"), "rank a whole row"),
        (lambda z, y: hcl(z, beta=-1.0), "beta >= 0"),
        (lambda z, y: hcl(z, tau_plus=1.0), "tau_plus < 1"),
        (lambda z, y: hcl(z[:, 0]), "need ids"),
    ],
)
def test_wrong_use_is_refused(call: Call, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        call(torch.randn(8, 2, 4), torch.arange(8) % 2)


def test_hcl_without_hardness_is_nt_xent() -> None:
    z = torch.randn(9, 3, 4, dtype=torch.float64)
    expected = nt_xent(z, temperature=0.2)
    for memory in ("dense", "tiled"):
        got = hcl(z, temperature=0.2, beta=0.0, tau_plus=0.0, memory=memory)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
