"""Health of a run, and of features whose health is known."""

from __future__ import annotations

import pytest
import torch

from nearfar.errors import DataError, ShapeError
from nearfar.evaluate.health import health, health_task
from nearfar.train.run import Run


def test_known_features() -> None:
    z = torch.cat([torch.eye(4), -torch.eye(4)])
    found = health(z, z, -z)
    assert found["alignment"] == pytest.approx(4) and found["effective_rank"] == pytest.approx(4, rel=1e-4)
    assert health(torch.ones(5, 3), z[:5, :3], z[:5, :3])["uniformity"] == pytest.approx(0, abs=1e-6)


def test_a_run_is_measured_the_same_twice(run: Run) -> None:
    first = health_task(run, run.config.eval)
    assert first == health_task(run, run.config.eval)
    assert first["samples"] == len(run.dataset("test")) and 0 < first["alignment"] < 2 and first["uniformity"] < 0


def test_a_single_view_is_at_no_distance_from_itself() -> None:
    assert "alignment" not in health(torch.eye(4))


def test_bad_features_are_named(run: Run) -> None:
    z = torch.ones(3, 2)
    with pytest.raises(DataError, match="NaN"):
        health(z, z, z * torch.nan)
    with pytest.raises(ShapeError, match=r"\(3, 2\) and \(2, 2\)"):
        health(z, z, z[:2])
    with pytest.raises(DataError, match="two test images"):
        health_task(run, run.config.eval, run.dataset("test").subset([0]))
