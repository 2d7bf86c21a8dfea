"""Optimisers, parameter groups and the frozen stage."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy import build, configuration

from nearfar.train import optim


def test_groups_split_encoder_and_head_and_spare_one_dimensional_tensors() -> None:
    config = configuration({"memory": "queue"}, lr=0.1, head_lr=3.0, weight_decay=0.2)
    method = build(config)
    groups = optim.parameter_groups(method, config.train)
    assert {(g["part"], g["weight_decay"]): g["peak"] for g in groups} == {
        ("encoder", 0.2): 0.1,
        ("encoder", 0.0): 0.1,
        ("head", 0.2): pytest.approx(0.3),
        ("head", 0.0): pytest.approx(0.3),
    }
    assert all((p.ndim > 1) == (g["weight_decay"] > 0) for g in groups for p in g["params"])
    grouped = [id(p) for g in groups for p in g["params"]]
    assert sorted(grouped) == sorted(id(p) for p in method.parameters() if p.requires_grad)
    assert not set(grouped) & {id(p) for p in method.teacher.parameters()}


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_each_optimizer_lowers_a_loss(name: str) -> None:
    method = build(configuration())
    config = configuration(optimizer=name, lr=1.0 if name == "lars" else 0.01).train
    optimizer = optim.build_optimizer(method, config)
    x = torch.randn(4, 3, 8, 8)

    def loss() -> torch.Tensor:
        return (method.head(method.encoder(x)) - 1).square().mean()

    before = float(loss().detach())
    for _ in range(10):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert float(loss().detach()) < before


def test_lars_by_hand() -> None:
    matrix, bias = nn.Parameter(torch.full((2, 2), 2.0)), nn.Parameter(torch.ones(2))
    still = nn.Parameter(torch.zeros(2, 2))
    groups = [
        {"params": [matrix, still], "weight_decay": 0.5},
        {"params": [bias], "weight_decay": 0.0},
    ]
    optimizer = optim.LARS(groups, lr=0.1, momentum=0.5, trust=0.01)
    matrix.grad, bias.grad, still.grad = torch.ones(2, 2), torch.ones(2), torch.ones(2, 2)
    optimizer.step()
    # |w| = 4; grad + wd * w = 2 everywhere, norm 4; the ratio 0.01 * 4 / 4 scales the 2 to 0.02.
    torch.testing.assert_close(matrix.data, torch.full((2, 2), 2.0 - 0.1 * 0.02))
    torch.testing.assert_close(bias.data, torch.full((2,), 0.9))
    torch.testing.assert_close(still.data, torch.full((2, 2), -0.1))
    optimizer.step()
    torch.testing.assert_close(bias.data, torch.full((2,), 0.9 - 0.15))


def test_rates_follow_each_groups_peak() -> None:
    config = configuration(lr=0.1, head_lr=2.0, warmup=0.5, lr_floor=0.1).train
    optimizer = optim.build_optimizer(build(configuration()), config)
    for group in optimizer.param_groups:
        group["peak"] = 0.2 if group["part"] == "head" else 0.1
    assert optim.set_rates(optimizer, config, 0, 10) == pytest.approx(0.1 / 5)
    assert {g["part"]: g["lr"] for g in optimizer.param_groups} == pytest.approx({"encoder": 0.02, "head": 0.04})
    optim.set_rates(optimizer, config, 9, 10)
    assert all(g["lr"] == pytest.approx(0.01) for g in optimizer.param_groups)


def test_published_schedule_is_constant_within_an_epoch() -> None:
    config = configuration(schedule="published", epochs=10, warmup=0.2, lr=1.0, lr_floor=0.1).train
    optimizer = optim.build_optimizer(build(configuration()), config)
    rates = [optim.set_rates(optimizer, config, step, 30) for step in range(9)]
    assert rates == pytest.approx([0.1] * 3 + [0.325] * 3 + [1.0] * 3)


def test_frozen_stage_takes_only_the_encoders_gradients() -> None:
    config = configuration(freeze_encoder=0.5).train
    method = build(configuration())
    optimizer = optim.build_optimizer(method, config)
    for step, frozen in ((4, True), (5, False)):
        method.head(method.encoder(torch.randn(2, 3, 8, 8))).sum().backward()
        optim.drop_frozen(optimizer, config, step, 10)
        assert all((p.grad is None) == frozen for p in method.encoder.parameters())
        assert all(p.grad is not None for p in method.head.parameters())
