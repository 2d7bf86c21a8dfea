"""Ctrl-C and SIGTERM: finish the step, write a checkpoint, then leave with 130 or 143."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Stop:
    """Context in which the first SIGINT or SIGTERM only sets `number`; a second one has its usual effect.

    Outside the main thread, where Python allows no handlers, signals are left alone.
    """

    def __init__(self) -> None:
        self.number = 0
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._old = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old = {}

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._restore()


def leave(number: int) -> None:
    """Raise what ends the process as the signal would: KeyboardInterrupt, or SystemExit with 143."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


@contextmanager
def raising() -> Iterator[None]:
    """Inside, SIGTERM raises SystemExit with 143, so that what is half done is cleaned up as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGTERM, lambda number, _: leave(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
