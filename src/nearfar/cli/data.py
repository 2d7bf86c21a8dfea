"""`nearfar data check FOLDER` lists everything wrong with it in one pass; `nearfar data formats` lists the readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tyro

from nearfar.cli.common import note, parse, result, table, unknown
from nearfar.config import DataConfig


@dataclass
class CheckArguments:
    """Read every file once and list every problem; exit status 3 if there is any."""

    root: tyro.conf.Positional[Path]
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
    json: bool = False
    """as JSON, for a program"""


@dataclass
class FormatsArguments:
    """List the layouts that are read."""

    json: bool = False
    """as JSON, for a program"""


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: nearfar data check FOLDER | nearfar data formats")
        return 0
    actions: dict[str, Callable[[list[str]], int]] = {"check": _check, "formats": _formats}
    if argv[0] not in actions:
        raise unknown("action", argv[0], actions)
    return actions[argv[0]](argv[1:])


def _check(argv: list[str]) -> int:
    from nearfar.data.check import check

    args = parse(CheckArguments, argv, "data check")
    note(f"reading {args.root}")
    config = DataConfig(
        root=args.root,
        format=args.format,
        modalities=args.modalities,
        sensor=args.sensor,
        bands=args.bands,
        dates=args.dates,
        protocol=args.protocol,
    )
    problems = check(config)
    lines = [f"{p.path}: {p.what}. {p.fix}" for p in problems]
    text = "\n".join([*lines, f"{len(problems)} problem(s)" if problems else "no problems found"])
    result([{"path": str(p.path), "what": p.what, "fix": p.fix} for p in problems], args.json, text)
    return 3 if problems else 0


def _formats(argv: list[str]) -> int:
    from nearfar.data.readers import READERS

    args = parse(FormatsArguments, argv, "data formats")
    summaries = {name: (reader.__doc__ or "").strip().splitlines()[0] for name, reader in READERS.items()}
    result(summaries, args.json, table([["format", "layout"], *([k, v] for k, v in summaries.items())]))
    return 0
