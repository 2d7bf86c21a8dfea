"""`nearfar embed RUN FOLDER -o out.parquet|npz`: one embedding an image, with id and label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nearfar.cli.common import fresh_file, note, parse, result


@dataclass
class Arguments:
    """Embed every image of a folder, or one image, with a run's encoder."""

    run: tyro.conf.Positional[Path]
    folder: tyro.conf.Positional[Path]
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """file to write, .npz or .parquet"""
    format: str = "auto"
    """reader by name, or auto"""
    force: bool = False
    """overwrite the output"""
    json: bool = False
    """the result as JSON, for a program"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "embed")
    fresh_file(args.output, args.force)
    from nearfar.evaluate.embed import embed_folder
    from nearfar.train import Run

    note(f"embedding {args.folder}")
    made = embed_folder(Run(args.run), args.folder, args.output, format=args.format)
    facts = {"file": args.output, "rows": len(made), "dimensions": made.z.shape[1]}
    result(facts, args.json, f"{args.output}  {len(made)} embeddings of {made.z.shape[1]} dimensions")
    return 0
