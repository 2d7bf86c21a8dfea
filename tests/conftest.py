"""Fixtures shared by all tests: threads, seeds, and the material that lives beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("NEARFAR_SHARED", ROOT.parent / "shared"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _beside(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"{name} is not beside this checkout (set NEARFAR_SHARED to its folder)")
    return path


@pytest.fixture
def golden_dir() -> Path:
    """Numbers from independent derivations, one folder a method."""
    return _beside("golden")


@pytest.fixture
def shared_data() -> Path:
    """Real images for tests; never committed."""
    return _beside("data")
