"""Gloo processes that stay alive between tests: starting torch takes seconds, a case takes milliseconds.

Tests hand over functions of importable modules (this one, or others beside it), called as `function(rank, *args)`.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class RankError(RuntimeError):
    """A rank raised, died or did not answer."""


def _serve(rank: int, world: int, store: str, pipe: Connection) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timedelta(seconds=30)
    )
    while (task := pipe.recv()) is not None:
        function, args = task
        try:
            pipe.send((True, function(rank, *args)))
        except Exception as error:
            pipe.send((False, f"{type(error).__name__}: {error}"))
    dist.destroy_process_group()


class GlooPool:
    """`world` processes with a process group over a file store, so no port can be taken twice."""

    def __init__(self, world: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch", "nearfar.losses"])
        self.folder = tempfile.TemporaryDirectory()
        store = str(Path(self.folder.name) / "store")
        self.pipes, self.processes = [], []
        for rank in range(world):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, world, store, theirs), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(mine)
            self.processes.append(process)

    def run(self, function: Callable[..., Any], *args: Any, timeout: float = 60.0) -> list[Any]:
        """One result a rank, in rank order. Raises RankError with every rank's fault."""
        for pipe in self.pipes:
            pipe.send((function, args))
        answers = [self._answer(rank, timeout) for rank in range(len(self.pipes))]
        faults = [f"rank {rank}: {value}" for rank, (good, value) in enumerate(answers) if not good]
        if faults:
            raise RankError("; ".join(faults))
        return [value for _, value in answers]

    def _answer(self, rank: int, timeout: float) -> tuple[bool, Any]:
        try:
            if not self.pipes[rank].poll(timeout):
                return False, f"no answer in {timeout} s"
            answer: tuple[bool, Any] = self.pipes[rank].recv()
        except EOFError:
            return False, "died"
        return answer

    def close(self) -> None:
        for pipe in self.pipes:
            with suppress(OSError):  # a rank that died has closed its end
                pipe.send(None)
        for process in self.processes:
            process.join(5)
            if process.is_alive():
                process.kill()
        self.folder.cleanup()
