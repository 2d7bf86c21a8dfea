"""Several runs at once, one process each, their progress in one place."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from nearfar.cli import notes
from nearfar.errors import NearfarError

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """Train and evaluate one preset into a folder; with a task, a preset of scenes or objects."""

    preset: str
    overrides: dict[str, Any]
    folder: Path
    task: str | None = None

    @property
    def name(self) -> str:
        """What tells jobs apart."""
        return self.task or self.preset


def run_jobs(jobs: Sequence[Job], progress: Progress) -> dict[str, Any]:
    """Run all jobs side by side; metrics by their names.

    Raises the error of the first job that fails, after the others were stopped (their checkpoints stay); a process
    that dies without a word is named with its exit code.
    """
    context = multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    # The number of OpenMP threads is read when torch is first imported, in the child.
    os.environ.setdefault("OMP_NUM_THREADS", str(jobs[0].overrides.get("train.threads", 1)))
    processes = {job.name: context.Process(target=_work, args=(job, events), name=job.name) for job in jobs}
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        for process in processes.values():
            process.start()
        return _collect(processes, events, progress)
    finally:
        # SIGTERM lets a run finish its step and write a checkpoint.
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join(30)
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _collect(processes: Mapping[str, BaseProcess], events: Any, progress: Progress) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    while len(metrics) < len(processes):
        try:
            preset, kind, content = events.get(timeout=1.0)
        except queue.Empty:
            _check_alive(processes, metrics)
            continue
        if kind == "error":
            raise content
        if kind == "interrupted":
            raise KeyboardInterrupt
        if kind == "done":
            metrics[preset] = content
        else:
            progress({**content, "run": preset})
    return {preset: metrics[preset] for preset in processes}


def _check_alive(processes: Mapping[str, BaseProcess], metrics: Mapping[str, Any]) -> None:
    for preset, process in processes.items():
        if preset not in metrics and not process.is_alive():
            raise NearfarError(
                f"the process training {preset} died",
                found=f"exit code {process.exitcode}",
                fix="Out of memory? Its checkpoints are kept: `nearfar train --resume` its folder.",
            )


def _work(job: Job, events: Any) -> None:
    warnings.showwarning = notes(job.name)
    try:
        events.put((job.name, "done", _train_and_evaluate(job, lambda e: events.put((job.name, "event", dict(e))))))
    except KeyboardInterrupt:
        events.put((job.name, "interrupted", None))
    except NearfarError as error:
        events.put((job.name, "error", error))
    except Exception as error:
        text = f"training {job.name} failed: {type(error).__name__}: {error}\n{traceback.format_exc()}"
        events.put((job.name, "error", NearfarError(text)))


def _train_and_evaluate(job: Job, progress: Progress) -> dict[str, Any]:
    import torch

    from nearfar import configio
    from nearfar.evaluate import evaluate
    from nearfar.report import build
    from nearfar.train import fit

    torch.set_num_threads(max(1, int(job.overrides.get("train.threads", 1))))
    if job.task is not None:
        return _train_and_measure(job, progress)
    run = fit(configio.load(job.preset, None, job.overrides), job.folder, progress=progress)
    metrics = evaluate(run)
    build([run], run.path / "report.html")
    return dict(metrics)


def _train_and_measure(job: Job, progress: Progress) -> dict[str, Any]:
    """As `_train_and_evaluate`, for a scene or objects."""
    from nearfar.cli.train_scene import fit
    from nearfar.report import build
    from nearfar.scenes.config import load
    from nearfar.scenes.measure import measure

    run = fit(load(job.preset, job.task, None, job.overrides), job.folder, progress=progress)  # type: ignore[arg-type]
    metrics = measure(run)
    build([run], run.path / "report.html")
    return metrics
