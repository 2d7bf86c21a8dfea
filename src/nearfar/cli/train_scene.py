"""`nearfar train smcl --task scene|objects`: train on views, measure held-out ones, report."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nearfar.cli.common import next_run, note, result, resumable, unknown
from nearfar.cli.progress import Bars
from nearfar.errors import ConfigError
from nearfar.report.summary import summary_text
from nearfar.scenes import config as settings
from nearfar.scenes.config import SceneConfig
from nearfar.scenes.presets import SCENE_PRESETS, Task

if TYPE_CHECKING:  # a mistyped option is refused before torch is read
    from nearfar.scenes.run import SceneRun

TASKS = ("encoder", "objects", "scene")
METHOD = "smcl"


def concerns(own: argparse.Namespace, rest: list[str]) -> bool:
    """Whether a command line is for a scene or objects. Raises ConfigError for options of these elsewhere."""
    if own.task is not None and own.task not in TASKS:
        raise unknown("task", own.task, TASKS)
    if own.task is not None and own.resume is None and rest[:1] != [METHOD]:
        raise ConfigError("only smcl has tasks", where="--task", found=rest[:1] or None, expected=METHOD)
    scene = own.task in TASKS[1:] or (own.resume is not None and settings.is_scene_run(own.resume))
    for name in ("preset", "max_seconds"):
        if getattr(own, name) is not None and not scene:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError("this is for scenes and objects", where=flag, fix="Add --task scene or objects.")
    return scene


def run(own: argparse.Namespace, rest: list[str]) -> int:
    """The whole command."""
    flags = rest[1:] if rest[:1] == [METHOD] else rest
    if {"-h", "--help"} & set(flags):
        presets = {name: preset for name, preset in SCENE_PRESETS.items() if own.task in preset.tasks}
        print("\n".join(["presets (--preset):", *(f"  {name:<16} {one.summary}" for name, one in presets.items())]))
    config, folder = configure(own, flags)
    with resumable(folder), Bars() as bars:
        trained = fit(config, folder, resume=own.resume is not None, allow_changes=own.allow_changes, progress=bars)
    from nearfar.parallel import rank

    if rank() != 0:
        return 0
    if own.no_eval:
        result({"run": trained.path, "metrics": {}}, own.json, f"run     {trained.path}\nnext    nearfar eval {folder}")
        return 0
    return finish(trained, own.json)


def configure(own: argparse.Namespace, flags: list[str]) -> tuple[SceneConfig, Path]:
    """The configuration and the run folder. Raises ConfigError."""
    if own.resume is not None:
        if own.out is not None or own.config is not None or own.preset is not None or own.task is not None:
            raise ConfigError(
                "--resume takes its folder and configuration from the run",
                fix="Leave --out, --config, --task and --preset out.",
            )
        base, folder = settings.read_scene_config(own.resume), own.resume
    else:
        default = next(name for name, preset in SCENE_PRESETS.items() if own.task in preset.tasks)
        base = settings.load(own.preset or default, cast(Task, own.task), own.config)
        folder = own.out or next_run(f"{METHOD}-{own.task}")
    import tyro

    options: dict[str, Any] = {"prog": f"nearfar train {METHOD} --task {base.task}"}
    config: SceneConfig = tyro.cli(
        SceneConfig, args=flags, default=base, config=(tyro.conf.FlagConversionOff,), **options
    )
    if own.max_seconds is not None:
        config = replace(config, train=replace(config.train, max_seconds=own.max_seconds))
    settings.check(config)
    if config.data.root is None:
        raise ConfigError("no data", where="data.root", fix="Name your folder: --data.root FOLDER.")
    return config, folder


def fit(config: SceneConfig, folder: Path, **options: Any) -> SceneRun:
    """`fit_scene` or `fit_objects`, as the configuration says."""
    from nearfar.scenes.fit import fit_objects, fit_scene

    return {"scene": fit_scene, "objects": fit_objects}[config.task](config, folder, **options)


def finish(trained: SceneRun, as_json: bool) -> int:
    """Measure, report, and say what was found."""
    from nearfar.report import build
    from nearfar.scenes.measure import measure

    metrics = measure(trained, note=note)
    page = build([trained], trained.path / "report.html")
    text = f"{summary_text({trained.path.name: metrics})}\nrun     {trained.path}\nreport  {page}"
    result({"run": trained.path, "metrics": metrics}, as_json, text)
    warn(trained.path)
    return 0


def warn(folder: Path, name: str = "warning") -> None:
    """A line on stderr for what a measured run has not learnt."""
    from nearfar.scenes.measure import unlearnt
    from nearfar.scenes.run import SceneRun

    for said in unlearnt(SceneRun(folder)):
        note(f"{name}: {said}")
