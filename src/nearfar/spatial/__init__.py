"""Measuring space: pure functions on arrays and tensors that know nothing of the rest of nearfar.

The names below are imported when first used, so that importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "force_banner": "nearfar.spatial.forces",
    "force_histogram": "nearfar.spatial.forces",
    "box_banner": "nearfar.spatial.force_boxes",
    "polygon_banner": "nearfar.spatial.force_polygons",
}

__all__ = [*_PUBLIC]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'nearfar.spatial' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
