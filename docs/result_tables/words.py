"""Numbers as they stand in tables."""

from __future__ import annotations


def interval(value: dict[str, float], digits: int = 3) -> str:
    """0.912 (0.880 to 0.941)."""
    return "{0:.{3}f} ({1:.{3}f} to {2:.{3}f})".format(*(value[key] for key in ("value", "low", "high")), digits)


def signed(value: dict[str, float], digits: int = 2) -> str:
    """+0.12 (-0.03 to +0.27)."""
    return "{0:+.{3}f} ({1:+.{3}f} to {2:+.{3}f})".format(*(value[key] for key in ("value", "low", "high")), digits)
