"""`nearfar data check FOLDER` lists everything wrong with it in one pass; `nearfar data formats` lists the readers.

`nearfar data mir180 FOLDER` pairs the views of objects.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from nearfar.cli.common import note, parse, result, table, unknown
from nearfar.config import DataConfig
from nearfar.errors import ConfigError

if TYPE_CHECKING:
    from nearfar.data.check import Problem
    from nearfar.data.readers import Scan

SHOWN = 20
"""problems printed"""


@dataclass
class CheckArguments:
    """Read every file once and list every problem; exit status 3 if there is any, of studies an error."""

    root: tyro.conf.Positional[Path | None] = None
    """folder, manifest, or one JSON file of a study"""
    train: Path | None = None
    """of studies: the JSON file of each split, where they do not lie in one folder"""
    val: Path | None = None
    test: Path | None = None
    image_root: Path | None = None
    """of studies: folder that image paths are relative to"""
    max_objects: int = 32
    """of studies: detections of an image that are kept"""
    labels: Path | None = None
    """of studies: YAML or JSON file with the object classes"""
    on_unknown: Literal["error", "map"] = "error"
    """of studies: a detection of another class"""
    format: str = "auto"
    """reader by name, or auto"""
    modalities: tuple[str, ...] = ()
    """sibling folders to pair"""
    sensor: str = ""
    """of satellite images: by name, or a YAML file; empty: what the reader says"""
    bands: tuple[str, ...] = ()
    """of satellite images: the bands wanted, or the names of those of files that do not name them"""
    dates: int = 0
    """of time series: how many dates a place must have; 0: any number"""
    protocol: str = "official"
    """which of the published splits: official, or spatial (EuroSAT)"""
    report: Path | None = None
    """JSON file to write all problems to"""
    figure: Path | None = None
    """of scenes: PNG file to draw the cameras to, of the first object where there are many"""
    json: bool = False
    """as JSON, for a program"""


@dataclass
class FormatsArguments:
    """List the layouts that are read."""

    json: bool = False
    """as JSON, for a program"""


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: nearfar data check FOLDER | nearfar data formats | nearfar data mir180 FOLDER -o OUT")
        return 0
    actions: dict[str, Callable[[list[str]], int]] = {"check": _check, "formats": _formats, "mir180": _mir180}
    if argv[0] not in actions:
        raise unknown("action", argv[0], actions)
    return actions[argv[0]](argv[1:])


def _check(argv: list[str]) -> int:
    from nearfar.data.check import check
    from nearfar.data.readers.base import split_files

    args = parse(CheckArguments, argv, "data check")
    own = ("json", "report", "figure")
    config = DataConfig(**{field.name: getattr(args, field.name) for field in fields(args) if field.name not in own})
    sources = [args.root] if args.root is not None else list(split_files(config).values())
    if not sources:
        raise ConfigError("no data", where="data check", fix="Name a folder, or --train FILE.json.")
    note(f"reading {' '.join(map(str, sources))}")
    scene = args.root is not None and _is_scene(args.root, args.format)
    if args.figure is not None and not scene:
        raise ConfigError("only scenes have cameras to draw", where="--figure", found=sources[0])
    problems = _check_scenes(args) if scene else check(config, lambda scan: note(_described(scan)))
    values = [_value(problem) for problem in problems]
    if args.report is not None:
        args.report.parent.mkdir(parents=True, exist_ok=True)
        args.report.write_text(json.dumps(values, indent=1), encoding="utf-8")
    result(values, args.json, _listing(problems))
    return 3 if any(problem.fatal or not problem.code for problem in problems) else 0


def _described(scan: Scan) -> str:
    """The layout and what it holds, so that data read as something else are noticed."""
    splits = Counter(record.split for record in scan.records if record.split)
    labels = Counter(record.label for record in scan.records if record.label >= 0)
    classes = ", ".join(f"{scan.classes[label]} {count}" for label, count in labels.most_common(5))
    more = ", ..." if len(labels) > 5 else ""
    parts = [f"layout {scan.layout}, {len(scan.records)} samples"]
    parts += [f"{len(labels)} classes ({classes}{more})"] if labels else []
    shares = ", ".join(f"{name} {splits[name]}" for name in ("train", "val", "test") if splits[name])
    return "; ".join([*parts, shares] if shares else parts)


def _is_scene(root: Path, name: str) -> bool:
    """Whether a folder holds cameras, and is to be checked as a scene or as many objects."""
    from nearfar.data.readers import READERS
    from nearfar.scenes.check import find_objects
    from nearfar.scenes.formats import FORMATS, recognise

    if name != "auto":
        return name in FORMATS
    if not root.exists() or READERS["mir180"].recognises(root):  # a manifest may lie among the objects it names
        return False
    return recognise(root) is not None or find_objects(root) is not None


def _check_scenes(args: CheckArguments) -> list[Problem]:
    from nearfar.scenes.check import check_folder

    assert args.root is not None
    scenes, problems = check_folder(args.root, args.format)
    note(f"{len(scenes)} scene(s), {sum(len(scene.frames) for scene in scenes)} views")
    if args.figure is not None and scenes:
        from nearfar.report.frustums import frustums_figure

        note(f"wrote {frustums_figure(scenes[0], args.figure)}")
    return problems


def _value(problem: Problem) -> dict[str, Any]:
    value = {"path": str(problem.path), "what": problem.what, "fix": problem.fix}
    if problem.code:
        value |= {"code": problem.code, "level": problem.level, "location": problem.location}
    return value


def _listing(problems: Sequence[Problem]) -> str:
    """The first problems, errors first, and how many there are."""
    if not problems:
        return "no problems found"
    first = sorted(problems, key=lambda problem: not problem.fatal)[:SHOWN]
    lines = [f"{p.path}: {p.what}. {p.fix}" for p in first]
    if len(problems) > SHOWN:
        lines.append(f"... and {len(problems) - SHOWN} more: --report FILE.json writes all")
    levels = Counter(problem.level for problem in problems if problem.code)
    counts = ", ".join(f"{levels[level]} {level}" for level in ("error", "warning", "info") if levels[level])
    return "\n".join([*lines, f"{len(problems)} problem(s)" + (f": {counts}" if counts else "")])


def _formats(argv: list[str]) -> int:
    from nearfar.data.readers import READERS
    from nearfar.scenes.formats import FORMATS

    args = parse(FormatsArguments, argv, "data formats")
    described = {**READERS, **{f"scene {name}": kind for name, kind in FORMATS.items()}}
    summaries = {name: (reader.__doc__ or "").strip().splitlines()[0] for name, reader in described.items()}
    result(summaries, args.json, table([["format", "layout"], *([k, v] for k, v in summaries.items())]))
    return 0


def _mir180(argv: list[str]) -> int:
    from nearfar.cli import mir180

    return mir180.main(argv)
