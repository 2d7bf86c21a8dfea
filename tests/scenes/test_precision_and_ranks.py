"""Half precision against full, and two processes against one that does what both do."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from nearfar.scenes import fit
from nearfar.scenes.config import SceneConfig
from nearfar.scenes.learner import Learner
from nearfar.scenes.run import build_learner

Make = Callable[..., SceneConfig]
FITS = {"scene": fit.fit_scene, "objects": fit.fit_objects}
LONGER: dict[str, dict[str, Any]] = {
    "scene": {"train__steps": 150, "points__rays": 128},
    "objects": {"train__steps": 150},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "settings"),
    [("scene", {}), ("scene", {"points__attention": "ray"}), ("objects", {})],
)
def test_half_precision_learns_as_full(tiny: Make, tmp_path: Path, task: str, settings: dict[str, Any]) -> None:
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        config = tiny(task, **LONGER[task], **settings, train__precision=precision)
        run = FITS[task](config, tmp_path / precision)
        lines = [line for line in run.history() if line["kind"] == "step"]
        assert all(line["loss"] is not None and math.isfinite(line["loss"]) for line in lines)
        first, last = (float(np.mean([line["psnr"] for line in part])) for part in (lines[:10], lines[-50:]))
        assert last > first + 1
        found[precision] = last, run.learner("cpu").field.state_dict()
    full, half = found["32-true"], found["bf16-mixed"]
    assert abs(full[0] - half[0]) < 0.5
    assert all(value.dtype == half[1][name].dtype for name, value in full[1].items())  # autocast, not half weights
    assert any(not torch.equal(value, half[1][name]) for name, value in full[1].items())  # and it did cast


def averaged(config: SceneConfig, ranks: int) -> dict[str, torch.Tensor]:
    """What the field is after the steps of one process that averages the gradients of the rays that all ranks draw."""
    learners: list[Learner] = []
    for _ in range(ranks):
        torch.manual_seed(config.train.seed)
        learners.append(build_learner(config, Path(), torch.device("cpu"), fresh=True))
    parameters = [[p for group in one.optimiser.param_groups for p in group["params"]] for one in learners]
    for step in range(config.train.steps):
        for rank, learner in enumerate(learners):
            with patch.object(learner.optimiser, "step"):  # gradients alone
                learner.step(step, step / config.train.steps, fit._draws(config.train.seed, step, rank))
        for column in zip(*parameters, strict=True):
            mean = torch.stack([p.grad for p in column if p.grad is not None]).mean(0)
            for p in column:
                p.grad = mean.clone()
        for learner in learners:
            learner.optimiser.step()
    return learners[0].field.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["scene", "objects"])
def test_two_processes_learn_from_the_rays_of_both(tiny: Make, tmp_path: Path, task: str) -> None:
    settings = {"train__steps": 3, "train__evaluations": 0, "train__accelerator": "cpu"}
    run = FITS[task](tiny(task, **settings, train__devices=2), tmp_path / "run")
    state = run.learner("cpu").field.state_dict()
    expected = averaged(tiny(task, **settings), 2)
    alone = averaged(tiny(task, **settings), 1)
    for name, value in expected.items():
        assert torch.allclose(state[name], value, rtol=1e-4, atol=1e-6), name
    assert any(not torch.allclose(state[name], value, rtol=1e-4, atol=1e-6) for name, value in alone.items())
