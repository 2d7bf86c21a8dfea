"""`nearfar report RUN [RUN ...]`: one page for a run, or for several beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nearfar.cli.common import fresh_file, parse
from nearfar.errors import ConfigError


@dataclass
class Arguments:
    """Write a self-contained report."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """file to write; default report.html in the run, needed for several runs"""
    force: bool = False
    """overwrite the output"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "report")
    if not args.runs:
        raise ConfigError("no run given", fix="nearfar report RUN")
    if args.output is None and len(args.runs) > 1:
        raise ConfigError("several runs need an output file", fix="Name it: -o comparison.html.")
    from nearfar.report import build
    from nearfar.scenes.run import open_run

    # A run's own report is a view of its JSON files, so writing it anew loses nothing.
    out = fresh_file(args.output, args.force) if args.output else args.runs[0] / "report.html"
    print(build([open_run(path) for path in args.runs], out))
    return 0
