"""`nearfar explore RUN`: the embedding explorer as one HTML file that needs no server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nearfar.cli.common import fresh_file, parse
from nearfar.errors import DataError


@dataclass
class Arguments:
    """Write the embedding explorer of an evaluated run."""

    run: tyro.conf.Positional[Path]
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """file to write; default explorer.html in the run"""
    force: bool = False
    """overwrite the output"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "explore")
    out = fresh_file(args.output, args.force) if args.output else args.run / "explorer.html"
    print(explore(args.run, out))
    return 0


def explore(folder: Path, out: Path) -> Path:
    """Write the explorer of the evaluated run in `folder` to `out`."""
    import numpy as np

    from nearfar.configio import read_run_config
    from nearfar.report.explore import write_explorer
    from nearfar.train import Run

    run = Run(folder)
    files = [run.arrays / "embeddings.npz", run.arrays / "thumbnails.npz"]
    for file in files:
        if not file.is_file():
            read_run_config(folder / "config.yaml")  # refuses what is no run, and runs that never have embeddings
            raise DataError("the run has no embeddings yet", where=file, fix=f"Run: nearfar eval {folder}")
    with np.load(files[0]) as e, np.load(files[1]) as t:
        return write_explorer(out, e["z"], t["images"], e["label"], [str(c) for c in e["classes"]], e["id"])
