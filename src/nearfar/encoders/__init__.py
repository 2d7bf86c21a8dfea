"""Encoders: networks from images to features. Nothing is imported before it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearfar.encoders.bands import BandEncoder, build_encoder

__all__ = ["BandEncoder", "build_encoder"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from nearfar.encoders import bands

        return getattr(bands, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
