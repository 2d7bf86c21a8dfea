"""Writing files so that a kill, a crash or a full disk never leaves half of one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearfar.errors import NearfarError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of a write into one line that names the file. Raises NearfarError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise NearfarError(
            "the disk is full" if full else f"the file cannot be written: {error.strerror or error}",
            where=path,
            fix="Free some space and resume the run; what was written before is whole."
            if full
            else "Check the folder's permissions and resume the run.",
        ) from error


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Temporary name, fsync, rename, fsync of the folder: the old file or the new one survives, never half.

    Raises NearfarError where the disk is full or the folder cannot be written; the old file is kept.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut (a no-op where folders cannot be opened)."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
