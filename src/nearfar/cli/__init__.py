"""The command line: one table of commands, one place that turns errors into exit statuses.

Exit status: 0 done, 2 wrong use or bad configuration, 3 bad data, 130 Ctrl-C, 143 SIGTERM, 1 anything else.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

from nearfar.errors import NearfarError

COMMANDS = {
    "demo": "generate a world, train and evaluate on it, and write a report",
    "train": "train a method on your data",
    "eval": "measure a run: classification, anomalies, embedding health, label noise, attention",
    "embed": "embeddings of a folder of images, as Parquet or NumPy",
    "search": "nearest images of an image",
    "banner": "the force banner of two masks, polygons or boxes, as a picture and as numbers",
    "predict": "class probabilities of new images, or the map of a scene",
    "render": "pictures of a trained scene along a path of cameras, as GIF, WebP or PNG",
    "report": "write the report of one run, or of several beside each other",
    "explore": "the embedding explorer of a run, as one HTML file",
    "export": "the encoder as safetensors or ONNX; of a scene its points, cameras or depth",
    "data": "check a folder, or list the formats",
    "launch": "print the job script for a cluster",
    "doctor": "what this machine has and what is missing",
    "methods": "list methods and presets",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    show_traceback = "--traceback" in args
    args = [a for a in args if a != "--traceback"]
    try:
        with warnings.catch_warnings():
            warnings.showwarning = notes()
            return _dispatch(args)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2 if stop.code else 0
    except BaseException as error:
        if show_traceback:
            traceback.print_exc()
        return _explain(error)


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if args[0] in ("-V", "--version"):
        from nearfar import __version__

        print(f"nearfar {__version__}")
        return 0
    name = args[0]
    if name not in COMMANDS:
        from nearfar.cli.common import unknown

        raise unknown("command", name, COMMANDS)
    return int(import_module(f"nearfar.cli.{name}").main(args[1:]))


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = ["usage: nearfar COMMAND ...", "", "Contrastive representation learning on spatially structured data.", ""]
    lines += [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    lines += ["", "`nearfar COMMAND --help` shows its options. `--traceback` shows where an error came from."]
    return "\n".join(lines)


def _explain(error: BaseException) -> int:
    if isinstance(error, NearfarError):
        return _say(str(error), error.exit_status)
    if isinstance(error, KeyboardInterrupt):
        return _say("interrupted; what was finished is kept.", 130)
    if isinstance(error, BrokenPipeError):
        # The reader of stdout has gone (`nearfar ... | head`): nothing is wrong and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _say(f"the disk is full: {error.filename or 'while writing'}. Free some space and run it again.", 1)
    if isinstance(error, PermissionError):
        return _say(f"no permission: {error.filename}. Change its permissions or choose another folder.", 1)
    return _say(f"{type(error).__name__}: {error} (--traceback shows where)", 1)


def notes(name: str = "nearfar") -> Callable[..., None]:
    """What stands in for `warnings.showwarning` in a command: a line on stderr, each text once."""
    said: set[str] = set()

    # Python's own form shows a path and a line of source, which help no user of a command; other packages' warnings
    # (deprecations, versions) concern developers.
    def note(message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning) and "nearfar" in filename and str(message) not in said:
            said.add(str(message))
            print(f"{name}: note: {message}", file=sys.stderr)

    return note


def _say(message: str, status: int) -> int:
    print(f"nearfar: {message}", file=sys.stderr)
    return status
