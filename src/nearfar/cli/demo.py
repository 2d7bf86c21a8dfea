"""`nearfar demo`: generate a world, train a method and its baseline side by side, evaluate, report."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from nearfar.cli.common import fresh_folder, note, parse, result, unknown
from nearfar.cli.explore import explore
from nearfar.cli.progress import Bars
from nearfar.cli.train_scene import warn
from nearfar.cli.workers import Job, run_jobs
from nearfar.presets import DEMOS, Demo
from nearfar.report.summary import summary_text


@dataclass
class Arguments:
    """Run the embedded demonstration; opens nothing, downloads nothing."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=f"which demonstration: {', '.join(DEMOS)}")] = "disco"
    out: Path | None = None
    """folder for the world, the runs and the report; default nearfar-demo, nearfar-demo-2, ..."""
    seed: int = 0
    samples: int | None = None
    """images in the world; fewer is faster and less telling"""
    epochs: int | None = None
    """training epochs of every method"""
    seconds: float | None = None
    """seconds of training of every scene"""
    encoder: str | None = None
    """another encoder, e.g. nano_vit: slower, and the report shows its attention (last block, rollout, patches)"""
    json: bool = False
    """the result as JSON, for a program"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "demo")
    if args.name not in DEMOS:
        raise unknown("demonstration", args.name, DEMOS)
    demo = DEMOS[args.name]
    out = fresh_folder(args.out or _next_folder(), "--out")
    world = _world(demo, out, args)
    jobs = [_job(demo, preset, world, out, args) for preset in demo.presets]
    jobs += [_scene_job(task, settings, world, out, args) for task, settings in demo.scenes.items()]
    note(f"training {' and '.join(job.name for job in jobs)} side by side")
    with Bars() as bars:
        metrics = run_jobs(jobs, bars)
    page = _report(demo, jobs, out)
    first = out / demo.presets[0]
    explorer = explore(first, first / "explorer.html")
    text = f"{summary_text(metrics)}\n\nreport    {page}\nexplorer  {explorer}"
    result({"report": page, "runs": [job.folder for job in jobs], "metrics": metrics}, args.json, text)
    for job in jobs:
        if job.task is not None:
            warn(job.folder, job.name)
    return 0


def _next_folder() -> Path:
    path, number = Path("nearfar-demo"), 2
    while path.exists():
        path, number = Path(f"nearfar-demo-{number}"), number + 1
    return path


def _world(demo: Demo, out: Path, args: Arguments) -> Path:
    from importlib import import_module

    samples = args.samples or demo.samples
    note(f"generating {samples} {demo.unit} in {out / 'world'}")
    module = import_module(demo.world)
    return Path(module.generate(out / "world", n=samples, seed=args.seed))


def _job(demo: Demo, preset: str, world: Path, out: Path, args: Arguments) -> Job:
    overrides: dict[str, Any] = {**demo.overrides, **demo.own.get(preset, {})}
    overrides.update({key: str(world / folder) for key, folder in demo.paths.items()})
    overrides["train.seed"] = args.seed
    # One process a run: two runs on two cores, each with its own thread, are faster than one after the other.
    overrides["train.threads"] = max(1, (os.cpu_count() or 1) // (len(demo.presets) + len(demo.scenes)))
    if args.encoder is not None:
        overrides["encoder.name"] = args.encoder
    if args.epochs is not None:
        overrides["train.epochs"] = args.epochs
    return Job(preset, overrides, out / preset)


def _scene_job(task: str, settings: dict[str, Any], world: Path, out: Path, args: Arguments) -> Job:
    overrides = {**settings, "data.root": world / settings["data.root"], "train.seed": args.seed}
    if args.seconds is not None:
        overrides["train.max_seconds"] = args.seconds
        overrides["train.graph_seconds"] = min(args.seconds, settings.get("train.graph_seconds", 0.0))
    return Job("demo", overrides, out / task, task)


def _report(demo: Demo, jobs: list[Job], out: Path) -> Path:
    from nearfar.report import build
    from nearfar.scenes.run import open_run

    note("writing the report")
    runs = [open_run(job.folder) for job in jobs]
    page: Path = build(runs, out / "report.html", title=demo.title, lead=demo.lead)
    return page
