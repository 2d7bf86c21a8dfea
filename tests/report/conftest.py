"""A run with a measured diagnosis, for the tests of its sections."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from nearfar.train.run import Run


@pytest.fixture(scope="module")
def diagnosed(measured_study: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of `measured_study`, so that figures may be written into it."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    shutil.copytree(measured_study.path, folder)
    return Run(folder)
