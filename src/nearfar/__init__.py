"""nearfar: contrastive representation learning on spatially structured data.

The public names below are imported when first used, so that `import nearfar` and `nearfar --help` stay fast and do
not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "create": "nearfar.methods",
    "build_method": "nearfar.methods",
    "fit": "nearfar.train",
    "Run": "nearfar.train",
    "evaluate": "nearfar.evaluate",
    "export": "nearfar.export",
    "load_encoder": "nearfar.encoders.io",
    "open_dataset": "nearfar.data",
    "make_loader": "nearfar.data",
    "TensorDataset": "nearfar.data",
    "InfoNCE": "nearfar.losses",
    "NTXent": "nearfar.losses",
    "SupConLoss": "nearfar.losses",
    "EvidentialLoss": "nearfar.losses",
    "NearfarError": "nearfar.errors",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'nearfar' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
