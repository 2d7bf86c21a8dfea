"""The part of `nearfar predict` that makes a map of a scene."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from nearfar.cli.common import fresh_file, note, table
from nearfar.errors import ConfigError, DataError

if TYPE_CHECKING:
    from nearfar.cli.predict import Arguments
    from nearfar.evaluate.scene import SceneMap
    from nearfar.train import Run


def predict_map(args: Arguments) -> int:
    """Write the map that the arguments ask for, and print what it shows. Returns the exit status."""
    assert args.output is not None
    out = fresh_file(args.output, args.force)
    beside = out.with_name(f"{out.stem}_probabilities{out.suffix}") if args.probabilities else None
    if beside is not None:
        fresh_file(beside, args.force)
    scenes = [args.source, args.second] if args.second else [args.source]
    _not_onto_itself([path for path in (out, beside) if path], [path for scene in scenes for path in scene])
    from nearfar.evaluate.heads import load_predictor
    from nearfar.evaluate.scene import predict_scene
    from nearfar.evaluate.scene_files import SceneOptions
    from nearfar.train import Run
    from nearfar.train.signals import raising

    run = Run(args.run)
    task = args.task or choose_task(run, bool(args.second))
    predictor = load_predictor(run, task)
    options = SceneOptions(**{field.name: getattr(args, field.name) for field in fields(SceneOptions)})
    note(f"{task} of {', '.join(map(str, args.source))}")
    with raising(), ExitStack() as stack:
        made = predict_scene(
            predictor,
            scenes,
            out,
            options=options,
            window=args.window,
            overlap=args.overlap,
            probabilities=beside,
            progress=_progress(stack),
        )
    print(describe(made))
    return 0


def choose_task(run: Run, pair: bool) -> str:
    """The head to use where none is named. Raises ConfigError where there is none, or several."""
    from nearfar.evaluate.heads import HEAD_TASKS, head_path

    have = [task for task in HEAD_TASKS if head_path(run, task).is_file()]
    if pair or len(have) == 1:
        return "change" if pair else have[0]
    if have:
        raise ConfigError("the run has several heads", found=", ".join(have), fix="Choose one with --task.")
    raise ConfigError(
        "the run has no head that makes maps",
        where=run.path,
        fix=f"Train one on labelled data: nearfar eval {run.path} --task segment --root DATA (or landcover, change).",
    )


def describe(made: SceneMap) -> str:
    """The legend with the share and the area of every class, and the files."""
    seen = max(sum(made.counts), 1)
    rows = [["value", "class", "pixels", "share", *(["km2"] if made.metres else [])]]
    for i, (name, count) in enumerate(zip(made.classes, made.counts, strict=True)):
        area = [f"{count * made.metres**2 / 1e6:.3f}"] if made.metres else []
        rows.append([str(i), name, str(count), f"{100 * count / seen:.1f}%", *area])
    if made.without_data:
        rows.append(["255", "no data", str(made.without_data), "", *([""] if made.metres else [])])
    files = [f"map            {made.target}"]
    files += [f"probabilities  {made.probabilities}"] if made.probabilities else []
    return "\n".join([table(rows), *files])


def _not_onto_itself(targets: list[Path], sources: list[Path]) -> None:
    for source in sources:
        if not source.exists():
            raise DataError("There is no such scene", where=source)
        if any(target.exists() and target.samefile(source) for target in targets):
            raise ConfigError("the map would overwrite its scene", where=source, fix="Choose another name with -o.")


def _progress(stack: ExitStack) -> Callable[[int, int], None] | None:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=sys.stderr)
    if not console.is_terminal:
        return None
    bar = stack.enter_context(Progress(console=console, transient=True))
    line = bar.add_task("windows")
    return lambda done, of: bar.update(line, completed=done, total=of)
