"""`nearfar export RUN --to safetensors|onnx`: the encoder, or a whole diagnostic model with its model card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nearfar.cli.common import fresh_file, parse


@dataclass
class Arguments:
    """Export the encoder of a run, with its channels, normalisation and input size inside.

    Of a run of spatialclip the whole model, tokenizer and frozen decision inside, and beside it MODEL_CARD.md.
    """

    run: tyro.conf.Positional[Path]
    to: Literal["safetensors", "onnx"] = "safetensors"
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """file to write; default RUN-NAME.safetensors or .onnx in this folder"""
    encoder_only: bool = False
    """of a diagnostic model too, its image encoder alone"""
    force: bool = False
    """overwrite the output"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "export")
    from nearfar.evaluate.diagnosis import diagnoses
    from nearfar.export import export
    from nearfar.train import Run

    run = Run(args.run)
    out = fresh_file(args.output or Path(f"{args.run.resolve().name}.{args.to}"), args.force)
    if not args.encoder_only and diagnoses(run):
        from nearfar.fused import CARD, export_fused

        fresh_file(out.parent / CARD, args.force)
        for path in export_fused(run, args.to, out):
            print(path)
        return 0
    export(run.encoder(), args.to, out)
    print(out)
    return 0
