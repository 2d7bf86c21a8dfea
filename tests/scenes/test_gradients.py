"""Gradients before they reach the parameters; ranks are tested in tests/distributed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from nearfar.scenes.config import SceneConfig
from nearfar.scenes.fit import fit_scene
from nearfar.scenes.gradients import Gradients


def _weights() -> tuple[nn.Parameter, nn.Parameter, torch.optim.Optimizer]:
    first, second = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))
    return first, second, torch.optim.SGD([first, second], lr=1.0)


def test_the_norm_is_that_of_all_gradients_and_is_limited() -> None:
    first, second, optimiser = _weights()
    gradients = Gradients(optimiser, limit=1.0)
    first.grad = torch.tensor([3.0, 0.0, 4.0])
    optimiser.step()
    assert gradients.norm == pytest.approx(5)
    assert torch.allclose(first.detach(), torch.tensor([-0.6, 0, -0.8]))
    assert (second == 0).all()


@pytest.mark.slow
def test_two_processes_train_one_scene(tiny: Callable[..., SceneConfig], tmp_path: Path) -> None:
    changing = {"points__add_every": 3, "points__add_until": 100, "points__add_number": 5}
    config = tiny(train__devices=2, train__accelerator="cpu", **changing)
    run = fit_scene(config, tmp_path / "run")
    assert run.metrics["train"]["steps"] == 8
    assert run.metrics["train"]["points"] == 70
    one = fit_scene(tiny(**changing), tmp_path / "one")
    state, other = (each.learner().field.state_dict()["points"] for each in (run, one))
    assert state.shape == other.shape
    assert not torch.equal(state, other)  # the second process has drawn rays of its own
