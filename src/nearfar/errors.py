"""The errors nearfar raises on purpose: what is wrong, where, what was expected, how to fix it.

Every one is a `NearfarError`, prints as one short paragraph, and carries the exit status of the command line
(DESIGN: 2 wrong use or configuration, 3 bad data, 1 anything else).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar, overload


class NearfarError(Exception):
    """Base of all deliberate errors.

    `what` names the thing and the fault. The optional parts are joined into one paragraph in a fixed order:
    where (file, line, key or argument), found, expected, and `fix`, the remedy as an imperative sentence.
    """

    exit_status: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        found: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        self.what, self.where, self.found, self.expected, self.fix = what, where, found, expected, fix
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"{self.where}: {self.what}" if self.where is not None else self.what
        details = [
            f"{name} {value}"
            for name, value in (("found", self.found), ("expected", self.expected))
            if value is not None
        ]
        if details:
            text += f" ({', '.join(details)})"
        if not text.endswith((".", "?", "!")):
            text += "."
        return f"{text} {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (loader workers, spawned ranks); the default reduce drops keyword arguments.
        return _rebuild, (type(self), self.what, self.where, self.found, self.expected, self.fix)


def _rebuild(
    kind: type[NearfarError], what: str, where: object, found: object, expected: object, fix: str | None
) -> NearfarError:
    return kind(what, where=where, found=found, expected=expected, fix=fix)


class ConfigError(NearfarError):
    """Wrong use: an unknown key, a value of the wrong type, options that contradict each other."""

    exit_status = 2


class DataError(NearfarError):
    """The data is not what it should be: a missing folder, a corrupt image, a NaN, an unknown label."""

    exit_status = 3


class ShapeError(NearfarError, ValueError):
    """Tensors whose shapes do not fit each other; the message names both shapes."""


class ResumeError(NearfarError):
    """A run that cannot be resumed: no whole checkpoint, or a changed configuration."""

    exit_status = 2


class NonFiniteError(NearfarError):
    """Too many steps in a row with a NaN or infinite loss or gradient."""


def missing_extra(what: str, package: str, extra: str) -> ConfigError:
    """The one line for an optional dependency that is not installed, e.g. `Parquet needs pyarrow: ...`."""
    return ConfigError(f"{what} needs {package}: pip install 'nearfar[{extra}]'")


@overload
def did_you_mean(name: object, known: Iterable[str], otherwise: str, *, quote: str = ..., most: int = ...) -> str: ...
@overload
def did_you_mean(
    name: object, known: Iterable[str], otherwise: None = ..., *, quote: str = ..., most: int = ...
) -> str | None: ...
def did_you_mean(
    name: object, known: Iterable[str], otherwise: str | None = None, *, quote: str = "", most: int = 1
) -> str | None:
    """The remedy for a name that does not exist: the nearest known one (`most`: up to so many), or `otherwise`."""
    near = difflib.get_close_matches(str(name), list(known), most)
    return f"Did you mean {' or '.join(f'{quote}{other}{quote}' for other in near)}?" if near else otherwise
