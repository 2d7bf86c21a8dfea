"""`nearfar eval RUN`: measure a run and rewrite its report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from nearfar.cli.common import note, parse, result
from nearfar.report.summary import summary_text


@dataclass
class Arguments:
    """Evaluate a run: metrics.json, arrays and report.html of its folder are rewritten."""

    run: tyro.conf.Positional[Path]
    tasks: tuple[str, ...] = ()
    """classify, anomaly, health, noise, attention; empty: all that the data allows"""
    root: Path | None = None
    """evaluate on another folder of the same format and classes"""
    json: bool = False
    """as JSON, for a program"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "eval")
    from nearfar.data import open_dataset
    from nearfar.evaluate import evaluate
    from nearfar.report import build
    from nearfar.train import Run

    run = Run(args.run)
    config = replace(run.config.eval, tasks=args.tasks or run.config.eval.tasks)
    other = open_dataset(replace(run.config.data, root=args.root)) if args.root else None
    note(f"evaluating {args.run}")
    metrics = evaluate(run, config, other)
    page = build([run], run.path / "report.html")
    result(metrics, args.json, f"{summary_text({run.path.name: metrics})}\nreport  {page}")
    return 0
