"""Checkpoints: whole or recognised as broken, never half; the disk may be full."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from nearfar.errors import NearfarError, ResumeError
from nearfar.train import checkpoint, rng


def save(folder: Path, step: int, keep: int = 5) -> Path:
    return checkpoint.save(folder, step, {"step": step, "x": torch.arange(4096.0) * step}, keep)


def test_the_newest_is_read_back_with_weights_only_and_versions(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 12)
    state = torch.load(path, weights_only=True)
    assert state["versions"]["torch"] == torch.__version__.partition("+")[0]
    newest = checkpoint.newest(tmp_path)
    assert newest is not None
    assert newest["step"] == 12
    torch.testing.assert_close(newest["x"], torch.arange(4096.0) * 12)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (9, 10, 11, 100):
        save(tmp_path, step, keep=2)
    assert sorted([p.name for p in tmp_path.iterdir()]) == ["step-00000011.pt", "step-00000100.pt"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(4096.0).mul(2).numpy().tobytes()[:64]) + 5000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, halve, empty, flip])
def test_a_broken_newest_is_named_and_the_one_before_is_used(tmp_path: Path, damage: Any) -> None:
    save(tmp_path, 1)
    damage(save(tmp_path, 2))
    with pytest.warns(UserWarning, match=r"step-00000002\.pt is truncated or damaged"):
        state = checkpoint.newest(tmp_path)
    assert state is not None
    assert state["step"] == 1


def test_none_whole_and_none_at_all(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "absent") is None
    assert checkpoint.newest(tmp_path) is None
    truncate(save(tmp_path, 3))
    with (
        pytest.warns(UserWarning, match="truncated"),
        pytest.raises(ResumeError, match=r"no checkpoint is whole \(found step-00000003\.pt\)"),
    ):
        checkpoint.newest(tmp_path)


def test_a_full_disk_is_said_plainly_and_the_old_checkpoint_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1, keep=1)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NearfarError, match=r"step-00000002\.pt: the disk is full\. Free some space"):
        save(tmp_path, 2, keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001.pt"]
    state = checkpoint.newest(tmp_path)
    assert state is not None
    assert state["step"] == 1


def test_random_states_survive_a_checkpoint(tmp_path: Path) -> None:
    import random

    import numpy as np

    def draw() -> tuple[float, ...]:
        return random.gauss(0, 1), random.random(), float(np.random.randn()), float(torch.rand(()))

    rng.seed_all(5)
    draw()
    checkpoint.save(tmp_path, 1, {"rng": rng.capture()}, 1)
    expected = draw(), draw()
    state = checkpoint.newest(tmp_path)
    assert state is not None
    rng.restore(state["rng"])
    assert (draw(), draw()) == expected
