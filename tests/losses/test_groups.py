"""Group attraction against loops and goldens, and the parts of SACo that exist elsewhere against theirs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses import GroupAttraction, group_attraction, info_nce, nt_xent
from nearfar.memory import EMA, Queue


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, Any]:
    arrays = np.load(golden_dir / "saco" / "losses.npz")
    return json.loads((golden_dir / "saco" / "losses.json").read_text()) | {
        name: torch.from_numpy(arrays[name]) for name in arrays
    }


def groups(batch: int = 5, count: int = 3, dim: int = 4) -> Tensor:
    source = torch.Generator().manual_seed(2)
    return torch.randn(batch, count, dim, generator=source, dtype=torch.float64)


def test_golden_forms(golden: dict[str, Any]) -> None:
    z = golden["groups"]
    reference = "saco_group_reference_code (margin-1 square on distances to the normalised mean)"
    assert float(group_attraction(z, form="reference_margin")) == pytest.approx(golden[reference], abs=1e-9)
    assert float(group_attraction(z)) == pytest.approx(golden["saco_group_cosine (mean 1 - cos)"], abs=1e-9)
    squared = golden["saco_group_attraction (mean ||g/|g| - anchor||^2)"]
    assert 2 * float(group_attraction(z)) == pytest.approx(squared, abs=1e-9)


@pytest.mark.parametrize("temperature", [0.07, 0.05, 0.2])
def test_golden_info_nce(golden: dict[str, Any], temperature: float) -> None:
    q = golden["q"].requires_grad_()
    options = {"temperature": temperature, "keys": golden["queue"], "in_batch": False, "normalize": False}
    loss = info_nce(q, golden["k"], **options)
    assert loss.item() == pytest.approx(golden[f"infonce_t{temperature}"], abs=1e-9)
    loss.backward()
    if temperature == 0.2:
        torch.testing.assert_close(q.grad, golden["grad_infonce_t0_2_wrt_q"], rtol=0, atol=1e-6)
    if temperature == 0.05:
        both = loss + info_nce(q, golden["k2"], **options)
        assert both.item() == pytest.approx(golden["two_positives_t0.05 (q,k)+(q,k2)"], abs=1e-9)


def test_golden_queue(golden: dict[str, Any]) -> None:
    queue = Queue(6, 10).double()
    queue.keys.copy_(golden["queue"])
    queue.pointer.fill_(int(golden["fifo_start_ptr"]))
    queue.count.fill_(10)
    for keys in golden["fifo_keys"]:
        queue.enqueue(keys)
    torch.testing.assert_close(queue.keys, golden["fifo_queue_after"], rtol=0, atol=1e-9)
    assert int(queue.pointer) == int(golden["fifo_ptr_after"])


def test_golden_teacher(golden: dict[str, Any]) -> None:
    """The file holds the result; 1, -2, 0.5 moved by 0.001 towards 0, 1, 2 gives it."""
    student = nn.Linear(3, 1, bias=False).double()
    student.weight.data = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    teacher = EMA(student, 0.999)
    student.weight.data = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    teacher.update(student)
    assert teacher.module.weight[0].tolist() == pytest.approx(golden["ema_m0.999"], abs=1e-9)


def test_contrast_form_is_nt_xent_between_each_group_and_the_mean() -> None:
    z = groups()
    mean = z.mean(1)
    expected = [float(nt_xent(torch.stack([z[:, g], mean], 1), temperature=0.5)) for g in range(3)]
    assert float(group_attraction(z, form="simclr")) == pytest.approx(np.mean(expected), rel=1e-12)


def test_published_form_rewards_distance_and_not_agreement() -> None:
    q = torch.nn.functional.normalize(groups(count=1), dim=2)
    same = q.expand(-1, 4, -1)
    assert float(group_attraction(same)) == pytest.approx(0, abs=1e-12)
    assert float(group_attraction(same, form="reference_margin")) == pytest.approx(1, abs=1e-5)
    # Means of 1, groups at 0 and 2 along one axis: distance 1 from the normalised mean.
    apart = torch.cat([0 * q, 2 * q], 1)
    assert float(group_attraction(apart, form="reference_margin")) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("form", ["attract", "simclr", "reference_margin"])
def test_gradient_and_its_stop_at_the_mean(form: str) -> None:
    z = groups(3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: group_attraction(z, form=form), (z,))
    free = torch.autograd.grad(group_attraction(z, form=form), z)[0]
    stopped = torch.autograd.grad(group_attraction(z, form=form, detach_mean=True), z)[0]
    assert stopped.abs().sum() > 0 and not torch.allclose(free, stopped)


def test_attraction_brings_groups_together() -> None:
    z = groups().requires_grad_()
    optimizer = torch.optim.SGD([z], 5.0)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = group_attraction(z)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 < losses[0] and math.isfinite(losses[-1])


def test_one_sample_alone_has_nothing_to_push() -> None:
    z = groups(1).requires_grad_()
    loss = group_attraction(z, form="simclr")
    loss.backward()
    assert loss == 0 and torch.equal(z.grad, torch.zeros_like(z))


def test_wrong_use() -> None:
    with pytest.raises(ShapeError, match=r"\(5, 4\).*\[B, G, D\]"):
        group_attraction(groups()[:, 0])
    with pytest.raises(ShapeError, match=r"\(5, 0, 4\)"):
        group_attraction(groups()[:, :0])
    with pytest.raises(ConfigError, match="Did you mean 'attract'"):
        GroupAttraction(form="atract")(groups())  # type: ignore[arg-type]
