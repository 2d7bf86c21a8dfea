"""A reader is found because its file is there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import nearfar.data.readers as package
from nearfar.data.readers.base import Problem
from nearfar.errors import DataError

NEW = '''
from nearfar.data.readers.base import Reader

class Raw(Reader):
    """Raw frames of a camera."""
    name = "raw_frames"
    priority = 99
    def recognises(self, root): return True
    def scan(self, config): raise NotImplementedError
    def write_example(self, root, *, count=24, size=16, seed=0): raise NotImplementedError
'''


def test_a_new_file_is_a_new_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw_frames.py").write_text(NEW)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(package, "READERS", package._discover())
    assert next(iter(package.READERS)) == "raw_frames"
    assert package.find_reader("auto", tmp_path).name == "raw_frames"
    sys.modules.pop("nearfar.data.readers.raw_frames")
    importlib.invalidate_caches()


def test_readers_of_this_version() -> None:
    satellites = ["eurosat", "oscd", "pastis", "seco", "gid15", "gid5", "geotiff_labelled", "mvtec", "geotiff_series"]
    known = [*satellites, "manifest", "modalities", "folder"]
    assert [name for name in package.READERS if name in known] == known


def test_problem_of_an_error() -> None:
    problem = Problem.of(DataError("it is bad", found=3, expected=4, fix="Mend it."), "here")
    assert problem == Problem("here", "it is bad (found 3, expected 4)", "Mend it.")
    assert Problem.of(DataError("bad", where="there"), "here").path == "there"
