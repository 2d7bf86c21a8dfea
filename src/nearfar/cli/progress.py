"""Progress of training on stderr: live bars on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Bars:
    """Bars for one or several runs. `bars(event)` takes the trainer's events; the key `run` tells runs apart.

    An event is a line of metrics.jsonl with `total_steps`: {"kind", "step", "epoch", "loss", ...}.
    """

    def __init__(self, live: bool | None = None) -> None:
        self.console = Console(file=sys.stderr)
        self.live = self.console.is_terminal if live is None else live
        self.progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[state]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.tasks: dict[str, TaskID] = {}

    def __reduce__(self) -> tuple[type[Bars], tuple[bool]]:
        # A spawned rank cannot draw on this process's terminal: there the copy prints lines.
        return Bars, (False,)

    def __enter__(self) -> Bars:
        if self.live:
            self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.progress.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        run = str(event.get("run", "training"))
        total = int(event.get("total_steps", 0))
        state = _state(event)
        if self.live:
            if run not in self.tasks:
                self.tasks[run] = self.progress.add_task(run, total=total, state="")
            self.progress.update(self.tasks[run], completed=event["step"] + 1, total=total, state=state)
        elif event.get("kind") in ("epoch", "evaluation"):
            share = f"{100 * (event['step'] + 1) / max(total, 1):3.0f}%"
            print(f"{run:<10} {share}  {state}", file=sys.stderr, flush=True)


def _state(event: Mapping[str, Any]) -> str:
    """What stands beside a bar: stage, epoch and loss of a method; PSNR of a scene, and how many points it has."""
    if "epoch" in event:
        loss = event.get("loss")
        stage = f"{event['stage']}  " if "stage" in event else ""
        return f"{stage}epoch {event['epoch'] + 1}  loss {float('nan') if loss is None else loss:.3f}"
    groups = [key.split("/")[0] for key in event if key.endswith("/psnr") and not key.startswith("anchor/")]
    views = [f"{g.replace('_', ' ')} {event[f'{g}/psnr']:.2f} dB" for g in groups]
    rays = [f"rays {event['psnr']:.2f} dB"] if event.get("psnr") is not None else []
    points = [f"{event['points']} points"] if "points" in event else []
    return "  ".join([*views, *rays, *points])
