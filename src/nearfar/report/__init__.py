"""Reports: figures and one self-contained HTML page a run, and the embedding explorer."""

from __future__ import annotations

from typing import Any

__all__ = ["build", "write_explorer"]


def __getattr__(name: str) -> Any:
    # matplotlib takes a second to import; `nearfar.report.summary` does not need it.
    if name == "build":
        from nearfar.report.compose import build

        return build
    if name == "write_explorer":
        from nearfar.report.explore import write_explorer

        return write_explorer
    raise AttributeError(f"module 'nearfar.report' has no attribute {name!r}")
