"""Folders that appear whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearfar.errors import ConfigError


@contextmanager
def whole_folder(root: Path) -> Iterator[Path]:
    """A folder to fill, which takes the name `root` when all went well.

    Raises ConfigError where `root` exists and is not empty.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigError("The output folder is not empty", where=root, fix="Choose a new folder or remove this one.")
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        yield partial
        partial.chmod(0o755)
        partial.rename(root)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
