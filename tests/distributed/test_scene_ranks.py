"""Ranks that train one scene agree, also where the number of points changes or one of them fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import scene_tasks
from gloo_pool import GlooPool


@pytest.fixture(scope="module")
def pool() -> Iterator[GlooPool]:
    started = GlooPool(2)
    yield started
    started.close()


def test_gradients_are_means_also_where_sizes_change(pool: GlooPool) -> None:
    assert pool.run(scene_tasks.averaged) == [[-1.0] * 5] * 2


def test_where_one_rank_fails_all_leave_the_step_out(pool: GlooPool) -> None:
    assert pool.run(scene_tasks.one_fails) == ["told", "left out"]
    assert pool.run(scene_tasks.averaged) == [[-1.0] * 5] * 2
