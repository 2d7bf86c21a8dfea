"""`nearfar export RUN --to safetensors|onnx`: the encoder with its channels, normalisation and input size inside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nearfar.cli.common import fresh_file, parse


@dataclass
class Arguments:
    """Export the encoder of a run."""

    run: tyro.conf.Positional[Path]
    to: Literal["safetensors", "onnx"] = "safetensors"
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """file to write; default RUN-NAME.safetensors or .onnx in this folder"""
    force: bool = False
    """overwrite the output"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "export")
    from nearfar.export import export
    from nearfar.train import Run

    run = Run(args.run)
    out = fresh_file(args.output or Path(f"{args.run.resolve().name}.{args.to}"), args.force)
    export(run.encoder(), args.to, out)
    print(out)
    return 0
