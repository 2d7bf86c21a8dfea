"""Signals: SIGTERM as an exception."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from nearfar.train.signals import raising


def test_sigterm_raises_inside_and_has_its_old_effect_after() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop, raising():
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_go_on_without_handlers() -> None:
    seen: list[str] = []

    def work() -> None:
        with raising():
            seen.append("ran")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["ran"]
