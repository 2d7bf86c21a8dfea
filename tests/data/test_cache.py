"""The cache keeps what the budget allows, in the process it belongs to."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest
import torch

from nearfar.data import cache
from nearfar.data.cache import SampleCache

ITEM = (torch.zeros(10), torch.zeros(8, dtype=torch.bool))  # 48 bytes


def test_budget() -> None:
    kept = SampleCache(100)
    for key in range(3):
        kept.put(key, ITEM)
    assert [kept.get(key) is ITEM for key in range(3)] == [True, True, False]
    assert kept.used == 96


def test_workers_share_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "get_worker_info", lambda: SimpleNamespace(num_workers=2))
    kept = SampleCache(100)
    kept.put(0, ITEM)
    kept.put(1, ITEM)
    assert (kept.get(0), kept.get(1)) == (ITEM, None)


def test_copies_start_empty() -> None:
    kept = SampleCache(100)
    kept.put(0, ITEM)
    copy = pickle.loads(pickle.dumps(kept))
    assert (copy.get(0), copy.used, copy.budget) == (None, 0, 100)
