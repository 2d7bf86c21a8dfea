"""`nearfar train PRESET`: configuration from preset < YAML < flags, then train, evaluate, report."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.cli.common import next_run, note, result, resumable, unknown
from nearfar.cli.progress import Bars
from nearfar.config import RunConfig
from nearfar.errors import ConfigError
from nearfar.presets import PRESETS

if TYPE_CHECKING:
    from nearfar.train import Run

USAGE = """usage: nearfar train PRESET --data.root FOLDER [--out DIR] [--config FILE.yaml] [--SECTION.KEY VALUE ...]
       nearfar train --resume RUN [--allow-changes] [--SECTION.KEY VALUE ...]

  --out DIR        run folder; default runs/PRESET-1, -2, ...
  --config FILE    YAML with any part of the configuration; flags win over it
  --resume RUN     go on from the newest whole checkpoint of a run
  --allow-changes  accept a configuration that differs from the run's
  --no-eval        train only: no evaluation, no report
  --max-seconds S  scenes and objects: end after S seconds of training
  --json           print the result as JSON

`nearfar train PRESET --help` shows every setting of a preset with its default. `nearfar train smcl` has three tasks:
--task encoder (mirrored views of objects; the default), scene (one scene as points), objects (many objects by a
conditional field); the last two take --preset, and `nearfar train smcl --task scene --help` names them."""


def main(argv: list[str]) -> int:
    own, rest = _own_flags(argv)
    if own.resume is None and (not rest or rest[0] in ("-h", "--help")):
        presets = "\n".join(f"  {name:<16} {preset.summary}" for name, preset in PRESETS.items())
        print(f"{USAGE}\n\npresets:\n{presets}")
        return 0
    from nearfar.cli import train_scene

    if train_scene.concerns(own, rest):
        return train_scene.run(own, rest)
    config, folder = _configure(own, rest)
    from nearfar.train import fit

    with resumable(folder), Bars() as bars:
        run = fit(config, folder, resume=own.resume is not None, allow_changes=own.allow_changes, progress=bars)
    if own.no_eval:
        return _finish(run, own.json, {})
    from nearfar.parallel import rank

    if rank() != 0:
        return 0
    note("evaluating")
    from nearfar.evaluate import evaluate
    from nearfar.report import build

    metrics = evaluate(run, config.eval)
    build([run], run.path / "report.html")
    return _finish(run, own.json, metrics)


def _own_flags(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="nearfar train", add_help=False, allow_abbrev=False)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--task")
    parser.add_argument("--preset")
    parser.add_argument("--max-seconds", type=float)
    for flag in ("--allow-changes", "--no-eval", "--json"):
        parser.add_argument(flag, action="store_true")
    return parser.parse_known_args(argv)


def _configure(own: argparse.Namespace, rest: list[str]) -> tuple[RunConfig[Any], Path]:
    from nearfar import configio

    if own.resume is not None:
        if own.out is not None or own.config is not None:
            raise ConfigError(
                "--resume takes its folder and configuration from the run", fix="Leave --out and --config out."
            )
        base, folder = configio.read_run_config(own.resume / "config.yaml"), own.resume
        flags = rest[1:] if rest and rest[0] == base.preset else rest
    else:
        preset = rest[0]
        if preset not in PRESETS:
            raise unknown("preset", preset, PRESETS)
        base, folder, flags = configio.load(preset, own.config), own.out or next_run(preset), rest[1:]
    config = parse_flags(base, flags)
    data = config.data
    if data.root is None and data.train is None:
        raise ConfigError("no data", where="data.root", fix="Name your folder: --data.root FOLDER.")
    return config, folder


def parse_flags(base: RunConfig[Any], flags: list[str]) -> RunConfig[Any]:
    """`--section.key value` flags over a configuration, checked."""
    import tyro

    from nearfar import configio

    if any(flag.startswith("--train.stages") for flag in flags):
        fix = "Give them in a YAML file: --config FILE. --train.epochs stretches those of a preset."
        raise ConfigError("stages are not set by flags", where="--train.stages", fix=fix)
    # tyro reads the method's own section from the type: a generic alias made at run time, which mypy cannot follow.
    kind: Any = RunConfig[type(base.method)]  # type: ignore[misc]
    options: dict[str, Any] = {"prog": f"nearfar train {base.preset}", "config": (tyro.conf.FlagConversionOff,)}
    # Without its stages, which would be many flags each.
    plain = replace(base, train=replace(base.train, stages=()))
    config: RunConfig[Any] = tyro.cli(kind, args=flags, default=plain, **options)
    staged = replace(config.train, stages=base.train.stages)
    if staged.stages and staged.epochs != base.train.epochs:
        staged = configio.with_epochs(staged, staged.epochs)
    config = replace(config, train=staged)
    configio.check(config)
    return config


def _finish(run: Run, as_json: bool, metrics: dict[str, Any]) -> int:
    lines = [f"run     {run.path}"]
    if metrics:
        lines.append(f"report  {run.path / 'report.html'}")
    else:
        lines.append(f"next    nearfar eval {run.path}")
    result({"run": run.path, "metrics": metrics}, as_json, "\n".join(lines))
    return 0
