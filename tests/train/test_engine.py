"""Several ranks give the numbers of one; errors and signals come through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy import build, configuration, dataset

from nearfar.encoders.group_batchnorm import GroupBatchNorm
from nearfar.errors import ConfigError, NearfarError, NonFiniteError
from nearfar.train import checkpoint, engine, fit_method


@pytest.mark.slow
def test_two_ranks_train_as_one_process(tmp_path: Path) -> None:
    states = []
    for devices in (1, 2):
        config = configuration(
            {"memory": "queue"}, epochs=2, devices=devices, precision="64-true", optimizer="sgd", lr=0.003
        )
        fit_method(build(config), dataset(), config, tmp_path / str(devices))
        found = checkpoint.newest(tmp_path / str(devices) / "checkpoints")
        assert found is not None
        assert len(found["rng"]) == devices
        states.append(found["method"])
    one, two = states
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_an_error_of_a_spawned_rank_keeps_its_class_and_text(tmp_path: Path) -> None:
    config = configuration({"poison": tuple(range(40))}, devices=2, max_nonfinite=2)
    with pytest.raises(NonFiniteError, match="2 steps in a row"):
        fit_method(build(config), dataset(), config, tmp_path / "run")


def test_the_last_line_of_a_traceback_becomes_the_error_again() -> None:
    error = engine._original("Traceback\n ...\nnearfar.errors.ConfigError: x.yaml:3: wrong (found 1). Fix it.\n")
    assert type(error) is ConfigError
    assert str(error) == "x.yaml:3: wrong (found 1). Fix it."
    other = engine._original("Traceback\n ...\nValueError: boom")
    assert type(other) is NearfarError
    assert str(other) == "a training process failed: ValueError: boom."


def test_several_nodes_need_a_launcher(tmp_path: Path) -> None:
    config = configuration(nodes=2)
    with pytest.raises(ConfigError, match=r"several nodes need a launcher.*Start with torchrun"):
        fit_method(build(config), dataset(), config, tmp_path / "run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_absent_device_is_one_line(tmp_path: Path) -> None:
    config = configuration(accelerator="gpu")
    with pytest.raises(ConfigError, match="the devices cannot be used"):
        fit_method(build(config), dataset(), config, tmp_path / "run")


@pytest.mark.parametrize("option", [{"grad_cache": 2}, {"sync_batchnorm": True}])
def test_statistics_of_groups_are_neither_cut_in_chunks_nor_synchronised(
    tmp_path: Path, option: dict[str, Any]
) -> None:
    config = configuration(**option)
    method = build(config)
    method.head = torch.nn.Sequential(method.head, GroupBatchNorm.like(torch.nn.BatchNorm1d(4), 2))
    with pytest.raises(ConfigError, match=rf"train\.{next(iter(option))}.*nano_cnn"):
        fit_method(method, dataset(), config, tmp_path / "run")
