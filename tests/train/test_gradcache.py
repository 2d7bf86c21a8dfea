"""The two-pass step gives the gradients of the one-pass step, with a bounded number of rows at a time."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import Toy, build, configuration, dataset

from nearfar.data import collate
from nearfar.train.gradcache import two_pass_step


def prepared(method: Toy, count: int = 10) -> dict[str, Any]:
    data = dataset()
    batch = method.views(collate([data[i] for i in range(count)]))
    return {**batch, "views": batch["views"].double()}


def gradients(method: Toy) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}
    method.zero_grad()
    return found


def two_pass(method: Toy, batch: dict[str, Any], rows: int, project: Any = None, scale: float = 1.0) -> Any:
    return two_pass_step(
        method,
        batch,
        rows,
        project=project or method.project,
        backward=torch.Tensor.backward,
        unsynced=nullcontext,
        scale=scale,
    )


@pytest.mark.parametrize("memory", ["none", "queue"])
@pytest.mark.parametrize("rows", [1, 3, 10, 64])
def test_equals_the_one_pass_step(rows: int, memory: str) -> None:
    method = build(configuration({"memory": memory})).double()
    batch = prepared(method)
    one = method.step(batch)
    one.loss.backward()
    expected = gradients(method)
    two = two_pass(method, batch, rows)
    assert two.loss.item() == pytest.approx(one.loss.item(), rel=1e-12)
    found = gradients(method)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-11)


def test_scale_and_accumulation() -> None:
    method = build(configuration()).double()
    batch = prepared(method)
    (method.step(batch).loss * 0.5).backward()
    expected = gradients(method)
    two_pass(method, batch, 4, scale=0.25)
    two_pass(method, batch, 4, scale=0.25)
    found = gradients(method)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-11)


def test_random_numbers_are_replayed_and_memory_bounded() -> None:
    method = build(configuration({"dropout": 0.5})).double()
    batch = prepared(method)
    seen: list[Tensor] = []
    sizes: list[int] = []

    def project(chunk: dict[str, Any]) -> dict[str, Tensor]:
        out = method.project(chunk)
        seen.append(out["z"].detach())
        sizes.append(len(chunk["views"]))
        assert len(chunk["id"]) == len(chunk["views"])
        return out

    two_pass(method, batch, 4, project)
    assert sizes == [4, 4, 2, 4, 4, 2]
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(first, second)
    assert (seen[0] == 0).any()


def test_the_generator_goes_on_after_the_first_pass() -> None:
    method = build(configuration({"dropout": 0.5})).double()
    batch = prepared(method)
    torch.manual_seed(1)
    two_pass(method, batch, 4)
    after = torch.rand(())
    torch.manual_seed(1)
    assert not torch.equal(after, torch.rand(()))
