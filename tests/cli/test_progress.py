"""Progress: lines where there is no terminal, bars where there is, and copies for spawned ranks."""

from __future__ import annotations

import pickle

import pytest

from nearfar.cli.progress import Bars

EVENT = {"kind": "epoch", "step": 9, "epoch": 1, "loss": 0.5, "total_steps": 20, "run": "disco"}


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars(live=False) as bars:
        bars({**EVENT, "kind": "step"})
        bars(EVENT)
    assert capsys.readouterr().err == "disco       50%  epoch 2  loss 0.500\n"


def test_a_loss_that_could_not_be_computed_is_shown_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    Bars(live=False)({**EVENT, "loss": None})
    assert "loss nan" in capsys.readouterr().err


def test_bars_have_one_task_a_run() -> None:
    with Bars(live=True) as bars:
        bars(EVENT)
        bars({**EVENT, "run": "supcon", "step": 19})
        tasks = {t.description: t.percentage for t in bars.progress.tasks}
    assert tasks == {"disco": 50.0, "supcon": 100.0}


def test_a_copy_for_a_spawned_rank_prints_lines() -> None:
    assert pickle.loads(pickle.dumps(Bars(live=True))).live is False
