"""Checkpoints that are whole or recognised as broken: step-00000042.pt, a plain `torch.save` file.

Every record of such a file carries a CRC-32 and its directory stands at the end, so a truncated or damaged one shows.
"""

from __future__ import annotations

import io
import platform
import re
import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nearfar.errors import ResumeError
from nearfar.train.files import write_atomically

_NAME = re.compile(r"step-(\d{8,})\.pt")


def save(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write the state after `step` steps, then delete all but the newest `keep`.

    Raises NearfarError where the disk is full; the checkpoints before it are kept.
    """
    buffer = io.BytesIO()
    torch.save({**state, "versions": versions()}, buffer)
    path = folder / f"step-{step:08d}.pt"
    write_atomically(path, buffer.getbuffer())
    for old in paths(folder)[keep:]:
        old.unlink()
    return path


def newest(folder: Path) -> dict[str, Any] | None:
    """The state of the newest whole checkpoint, on the CPU; None where there is no checkpoint at all.

    A broken one is named in a warning and the next older one taken. Raises ResumeError where none is whole.
    """
    found = paths(folder)
    for path in found:
        if is_whole(path):
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
        warnings.warn(f"checkpoint {path} is truncated or damaged: the next older one is tried", stacklevel=2)
    if found:
        names = ", ".join(path.name for path in found)
        raise ResumeError("no checkpoint is whole", where=folder, found=names, fix="Start the run anew.")
    return None


def paths(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if _NAME.fullmatch(p.name)), key=lambda p: p.name, reverse=True)


def is_whole(path: Path) -> bool:
    """Whether the file is complete and every record fits its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError):
        return False


def versions() -> dict[str, str]:
    """Versions of what decides the numbers of a run."""
    packages = {name: version(name) for name in ("nearfar", "torch", "timm", "lightning", "numpy")}
    return {"python": platform.python_version(), **packages}
