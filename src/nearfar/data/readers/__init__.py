"""The readers, one file a format: a new file with a `Reader` in this folder is found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from nearfar.data.readers.base import Problem, Reader, Scan
from nearfar.errors import ConfigError, DataError, did_you_mean

__all__ = ["READERS", "Problem", "Reader", "Scan", "find_reader"]


def _discover() -> dict[str, Reader]:
    found: list[Reader] = []
    for module in pkgutil.iter_modules(__path__):
        names = vars(importlib.import_module(f"{__name__}.{module.name}"))
        kinds = [kind for kind in names.values() if isinstance(kind, type) and issubclass(kind, Reader)]
        found += [kind() for kind in kinds if kind.__module__ == f"{__name__}.{module.name}" and kind is not Reader]
    return {reader.name: reader for reader in sorted(found, key=lambda r: (-r.priority, r.name))}


READERS = _discover()
"""readers by name, the ones that are asked first first"""


def find_reader(name: str, root: Path) -> Reader:
    """The reader of that name, or for "auto" the first that recognises `root`.

    Raises ConfigError for an unknown name, DataError where no reader recognises the layout.
    """
    if name != "auto":
        if name not in READERS:
            hint = did_you_mean(name, READERS)
            raise ConfigError(
                f"unknown data format {name!r}", where="data.format", expected=" | ".join(("auto", *READERS)), fix=hint
            )
        return READERS[name]
    for reader in READERS.values():
        if reader.recognises(root):
            return reader
    raise DataError(
        "no reader recognises this as data",
        where=root,
        expected=" | ".join(READERS),
        fix="Check that it holds images; `nearfar data formats` describes the layouts.",
    )
