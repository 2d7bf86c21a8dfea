"""One suite over all losses of `loss_cases.LOSS_CASES`: the loss contract, clause by clause."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from loss_batch import Loss, LossBatch, LossCase, make_batch
from loss_cases import LOSS_CASES

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses import CLIPLoss, clip_loss, info_nce, nt_xent, supcon

LABELS = [0, 1, 0, 2, 1, 0, -1]
every_loss = pytest.mark.parametrize("case", LOSS_CASES, ids=lambda case: case.name)
labelled = pytest.mark.parametrize("case", [c for c in LOSS_CASES if c.labelled], ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def _not_claimed(request: pytest.FixtureRequest) -> None:
    """A loss whose formula cannot meet a clause says so, with the reason, in the registry."""
    case = getattr(request.node, "callspec", None) and request.node.callspec.params.get("case")
    name = getattr(request.node, "originalname", "")
    if case is not None and name in case.skips:
        pytest.skip(case.skips[name])


def batch_for(case: LossCase, dtype: torch.dtype = torch.float64) -> LossBatch:
    return make_batch(LABELS, views=1 if case.labelled else 2, dtype=dtype)


def value_and_gradient(call: Loss, batch: LossBatch, autocast: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    z = batch.z.detach().clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = call(replace(batch, z=z))
    loss.backward()
    return loss.detach(), z.grad


@every_loss
def test_smoke(case: LossCase) -> None:
    loss, gradient = value_and_gradient(case.function, batch_for(case, torch.float32))
    assert loss.shape == () and loss.dtype == torch.float32 and loss > 0
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


@every_loss
def test_value(case: LossCase) -> None:
    if case.oracle is None:
        pytest.skip("its values are tested against the goldens")
    batch = batch_for(case)
    assert float(case.function(batch)) == pytest.approx(case.oracle(batch), rel=1e-12)
    single = replace(batch, z=batch.z.float(), keys=batch.keys.float())
    assert float(case.function(single)) == pytest.approx(case.oracle(batch), rel=1e-5)


@labelled
def test_value_of_several_views(case: LossCase) -> None:
    if case.oracle is None:
        pytest.skip("its values are tested against the goldens")
    batch = make_batch(LABELS, views=3)
    assert float(case.function(batch)) == pytest.approx(case.oracle(batch), rel=1e-12)


@every_loss
def test_gradcheck(case: LossCase) -> None:
    batch = batch_for(case)
    z = batch.z.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: case.function(replace(batch, z=z)), (z,))


@every_loss
def test_function_equals_module(case: LossCase) -> None:
    batch = batch_for(case)
    assert case.module(batch).item() == pytest.approx(case.function(batch).item(), rel=1e-6, abs=0)


@pytest.mark.slow
@every_loss
def test_compile_equals_eager(case: LossCase) -> None:
    torch.compiler.reset()
    batch = batch_for(case)
    compiled = torch.compile(case.function, backend="aot_eager", fullgraph=True)
    expected, got = value_and_gradient(case.function, batch), value_and_gradient(compiled, batch)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite_and_computed_in_float32(case: LossCase, dtype: torch.dtype) -> None:
    half = replace(batch_for(case, dtype), temperature=0.01)
    single = replace(half, z=half.z.float(), keys=half.keys.float())
    loss, gradient = value_and_gradient(case.function, half)
    assert loss.dtype == torch.float32 and gradient.dtype == dtype and gradient.isfinite().all()
    assert float(loss) == pytest.approx(float(case.function(single)), rel=1e-6)


@every_loss
def test_autocast_changes_nothing(case: LossCase) -> None:
    batch = replace(batch_for(case, torch.float32), temperature=0.01)
    expected = value_and_gradient(case.function, batch)
    got = value_and_gradient(case.function, batch, autocast=True)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


@every_loss
def test_permutation(case: LossCase) -> None:
    batch, order = batch_for(case), torch.tensor([3, 6, 0, 5, 1, 4, 2])
    expected, gradient = value_and_gradient(case.function, batch)
    loss, permuted = value_and_gradient(case.function, batch.rows(order))
    torch.testing.assert_close((loss, permuted), (expected, gradient[order]), rtol=1e-11, atol=1e-13)


@labelled
def test_label_renaming(case: LossCase) -> None:
    batch = batch_for(case)

    def renamed(labels: torch.Tensor) -> torch.Tensor:
        return torch.where(labels >= 0, 50 - 7 * labels, labels)

    other = replace(batch, labels=renamed(batch.labels), key_labels=renamed(batch.key_labels))
    assert float(case.function(other)) == pytest.approx(float(case.function(batch)), rel=1e-12)


@every_loss
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scale_invariance(case: LossCase, scale: float) -> None:
    batch = batch_for(case)
    scaled = replace(batch, z=batch.z * scale, keys=batch.keys * scale)
    assert float(case.function(scaled)) == pytest.approx(float(case.function(batch)), rel=1e-10)


@labelled
@pytest.mark.parametrize("labels", [[-1] * 4, [10, 11, 12, 13]], ids=["unknown", "distinct"])
def test_no_positives_is_a_zero_with_a_graph_and_one_warning(case: LossCase, labels: list[int]) -> None:
    batch = make_batch(labels, views=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss, gradient = value_and_gradient(case.function, batch)
    assert loss == 0 and torch.equal(gradient, torch.zeros_like(gradient))
    assert len(caught) == 1 and "0 of 4 anchors" in str(caught[0].message)


@labelled
def test_no_warning_where_a_positive_exists(case: LossCase) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        case.function(batch_for(case))


@labelled
def test_anchors_without_positive_leave_the_mean(case: LossCase) -> None:
    """A row far from everything adds nothing but a vanishing share of the denominators."""
    batch = replace(make_batch([0, 0, 1, 1], views=1, dim=8), temperature=0.005)
    z = batch.z.clone()
    z[..., 4:] = 0
    lone = torch.zeros(1, 1, 8, dtype=z.dtype)
    lone[..., 4:] = -1
    near = replace(batch, z=z + torch.tensor([1.0] * 4 + [0.5] * 4, dtype=z.dtype))
    more = replace(near, z=torch.cat([near.z, lone]), labels=torch.tensor([0, 0, 1, 1, 9]), uid=torch.arange(5))
    assert float(case.function(more)) == pytest.approx(float(case.function(near)), rel=1e-6)


@every_loss
def test_exceptions(case: LossCase) -> None:
    batch = batch_for(case)
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises((ConfigError, ZeroDivisionError)):
            case.module(replace(batch, temperature=temperature))
    if case.labelled:
        with pytest.raises(ShapeError, match=r"\(7, 1, 4\).*\(6,\)"):
            case.function(replace(batch, labels=batch.labels[:6]))
        with pytest.raises(ConfigError, match="integers"):
            case.function(replace(batch, labels=batch.labels.double()))


def test_shape_errors_name_both_shapes() -> None:
    z, y = torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    for call in (lambda: info_nce(z, z[:5]), lambda: clip_loss(z, z[:5], scale=1.0)):
        with pytest.raises(ShapeError, match=r"\(6, 4\).*\(5, 4\)"):
            call()
    with pytest.raises(ShapeError, match=r"\(3, 5\).*\(6, 4\)"):
        info_nce(z, z, keys=torch.randn(3, 5))
    with pytest.raises(ShapeError, match=r"\(2,\).*\(3, 4\)"):
        supcon(z, y, keys=torch.randn(3, 4), key_labels=torch.tensor([0, 1]))
    with pytest.raises(ShapeError, match=r"\(6, 5\).*\(6, 6\)"):
        supcon(z, y, weights=torch.ones(6, 5))


def test_arguments_may_be_named() -> None:
    z, y = torch.randn(4, 4), torch.tensor([0, 0, 1, 1])
    assert torch.equal(supcon(labels=y, z=z), supcon(z, y))
    assert torch.equal(info_nce(temperature=0.2, z1=z, z0=z), info_nce(z, z, temperature=0.2))


def test_wrong_use_is_refused_with_the_remedy() -> None:
    z, y = torch.randn(4, 4), torch.tensor([0, 0, 1, 1])
    with pytest.raises(ConfigError, match="Did you mean 'pair'"):
        nt_xent(z, y, form="pairs")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="ids"):
        nt_xent(z)
    with pytest.raises(ConfigError, match="together"):
        supcon(z, y, keys=z)
    with pytest.raises(ConfigError, match="keys"):
        info_nce(z, z, in_batch=False)


def test_forms_of_nt_xent_agree_on_two_views_and_differ_on_three() -> None:
    two, three = torch.randn(5, 2, 4, dtype=torch.float64), torch.randn(5, 3, 4, dtype=torch.float64)
    forms = ("pair", "out", "in")
    values = torch.stack([nt_xent(two, form=form) for form in forms])
    torch.testing.assert_close(values, values[:1].expand(3), rtol=1e-12, atol=0)
    assert len({round(float(nt_xent(three, form=form)), 6) for form in forms}) == 3


@pytest.mark.parametrize("form", ["out", "in"])
def test_a_dominant_positive_does_not_cancel(form: str) -> None:
    """Loss near 1e-13: log-sum-exp minus the positive would give exactly 0 in float32."""
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.7, 0.714142842854285], [0.7, 0.714142842854285]])
    y = torch.tensor([0, 0, 1, 1])
    loss = float(supcon(z, y, temperature=0.01, form=form))
    assert loss == pytest.approx(2 * torch.tensor(-30.0, dtype=torch.float64).exp().item(), rel=1e-4)


def test_an_empty_bank_is_no_bank() -> None:
    z, y = torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    empty = supcon(z, y, keys=torch.zeros(0, 4), key_labels=torch.zeros(0, dtype=torch.int64))
    assert torch.equal(empty, supcon(z, y))


def test_clip_scale_learns_and_stays_below_its_limit() -> None:
    loss = CLIPLoss(temperature=0.07, largest=20.0)
    z0, z1 = torch.randn(5, 4), torch.randn(5, 4)
    loss(z0, z1).backward()
    assert loss.log_scale.grad is not None and loss.log_scale.grad != 0
    with torch.no_grad():
        loss.log_scale.fill_(9.0)
    torch.testing.assert_close(loss(z0, z1), clip_loss(z0, z1, scale=20.0))
