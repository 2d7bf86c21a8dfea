"""What a force histogram is asked for, checked once: forces r, directions, what to do where an integral diverges."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, get_args

from typing import Literal  # isort: skip

from nearfar.errors import ConfigError, ShapeError, did_you_mean

Policy = Literal["auto", "cutoff", "drop", "inf"]
Normalization = Literal["none", "row_max", "global_max", "scale", "mass", "log"]

FORCES: tuple[float, ...] = tuple(round(-5 + 0.1 * i, 10) for i in range(101))
"""r from -5 (far pairs count most) to 5 (near pairs count most), 101 rows: the default banner."""

CUTOFF = 0.02
LARGEST_FORCE = 20.0
LARGEST_SINGLE = 8.0
"""Beyond it single precision overflows within the size of an image."""


def _choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value in choices:
        return
    fix = did_you_mean(value, choices, quote="'")
    raise ConfigError(f"unknown {name}", found=repr(value), expected=" or ".join(choices), fix=fix)


def check_forces(r: Any) -> tuple[float, ...]:
    """The forces as floats; raises a ConfigError for none, NaN, infinity, or more than 20 either way."""
    try:
        values = tuple(float(value) for value in (r if isinstance(r, Iterable) else [r]))
    except (TypeError, ValueError):
        raise ConfigError(
            "the forces r are not real numbers", found=repr(r), expected="a list such as [-1, 0, 2]"
        ) from None
    if not values:
        raise ConfigError("the list of forces r is empty", expected="one real number or more")
    for value in values:
        if not abs(value) <= LARGEST_FORCE:
            raise ConfigError(
                "a force r is out of range", found=value, expected=f"{-LARGEST_FORCE:g} to {LARGEST_FORCE:g}"
            )
    return values


@dataclass(frozen=True)
class ForceOptions:
    """A checked request; hashable, since plans are cached by it."""

    r: tuple[float, ...]
    directions: int = 180
    policy: Policy = "auto"
    cutoff: float = CUTOFF
    normalize: Normalization = "none"
    symmetric: bool = False
    sub_angles: int = 1

    @classmethod
    def of(cls, r: Any, **rest: Any) -> ForceOptions:
        """Check everything; "auto" becomes "cutoff" where some r >= 1 can diverge, else "drop", as nothing does."""
        options = cls(check_forces(r), **rest)
        _choice("policy", options.policy, get_args(Policy))
        _choice("normalization", options.normalize, get_args(Normalization))
        options._check_numbers()
        policy: Policy = options.policy
        if policy == "auto":
            policy = "cutoff" if max(options.r) >= 1 else "drop"
        return cls(options.r, **{**rest, "policy": policy})

    @property
    def needs_double(self) -> bool:
        return max(map(abs, self.r)) > LARGEST_SINGLE

    def _check_numbers(self) -> None:
        for name, value in (("directions", self.directions), ("sub_angles", self.sub_angles)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} is not valid", found=repr(value), expected="a whole number from 1")
        if self.directions % 4:
            raise ConfigError(
                "directions must be divisible by 4, so that quarter turns are exact",
                found=self.directions,
                fix=f"Take {max(4, round(self.directions / 4) * 4)}.",
            )
        if not (isinstance(self.cutoff, Real) and 0 < self.cutoff < math.inf):
            raise ConfigError(
                "cutoff is not valid", found=repr(self.cutoff), expected="a length above 0, in parts of lambda"
            )


def check_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Raise a ShapeError unless both are [.., H, W] of one H and W, with leading sizes that broadcast."""
    if len(a) < 2 or len(b) < 2 or a[-2:] != b[-2:]:
        raise ShapeError(
            "masks a and b are not of one image", found=f"{a} and {b}", expected="[.., H, W] of one H and W"
        )
    pairs = zip(reversed(a[:-2]), reversed(b[:-2]), strict=False)
    if any(p != q and 1 not in (p, q) for p, q in pairs):
        raise ShapeError("the leading sizes of a and b do not broadcast", found=f"{a} and {b}")
