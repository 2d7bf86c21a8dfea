"""What several commands share: parsing, output folders, tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from nearfar.errors import ConfigError, did_you_mean
from nearfar.report.summary import aligned

Args = TypeVar("Args")


def parse(kind: type[Args], argv: Sequence[str], command: str, **options: Any) -> Args:
    """The arguments of `nearfar COMMAND` as the dataclass `kind`; wrong use exits with status 2."""
    import tyro

    parsed: Args = tyro.cli(kind, args=list(argv), prog=f"nearfar {command}", **options)
    return parsed


def unknown(what: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not in `known`, with the nearest one as a suggestion."""
    names = list(known)
    fix = did_you_mean(name, names, f"Known: {', '.join(names)}.", quote="'")
    return ConfigError(f"unknown {what} '{name}'", fix=fix)


def fresh_folder(path: Path, flag: str) -> Path:
    """`path`, made if needed; refused if it holds anything, because nothing is overwritten unasked."""
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise ConfigError(f"{path} is not empty", fix=f"Choose another folder with {flag}, or remove it.")
    path.mkdir(parents=True, exist_ok=True)
    return path


def fresh_file(path: Path, force: bool) -> Path:
    """`path`, refused if it exists and `force` is not given; its folder is made."""
    if path.exists() and not force:
        raise ConfigError(f"{path} exists", fix="Choose another name with -o, or give --force.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def next_run(preset: str, root: Path = Path("runs")) -> Path:
    """The first of runs/PRESET-1, runs/PRESET-2, ... that does not exist."""
    number = 1
    while (root / f"{preset}-{number}").exists():
        number += 1
    return root / f"{preset}-{number}"


@contextmanager
def resumable(run: Path) -> Iterator[None]:
    """Inside, whoever stops a training that has a checkpoint is told how to go on with it."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if any((run / "checkpoints").glob("*.pt")):
            note(f"go on with: nearfar train --resume {run}")
        raise


def note(message: str) -> None:
    """One line of progress, on stderr."""
    print(message, file=sys.stderr, flush=True)


def result(value: Any, as_json: bool, text: str) -> None:
    """The result on stdout, for a program or for a person."""
    print(json.dumps(value, indent=1, default=str) if as_json else text)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned text, the first one the heading, underlined."""
    rules = ["-" * max(map(len, column)) for column in zip(*rows, strict=True)]
    return aligned([rows[0], rules, *rows[1:]])
