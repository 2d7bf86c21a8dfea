"""`nearfar export RUN --to FORMAT`: an encoder, a diagnostic model with its model card, or what a scene consists of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from nearfar.cli.common import fresh_file, fresh_folder, parse
from nearfar.errors import ConfigError

if TYPE_CHECKING:
    from nearfar.scenes.run import SceneRun

ENCODERS = ("safetensors", "onnx")
SCENES = {"ply": ".ply", "transforms": ".json", "depth": ""}
"""what a run of a scene is exported to, and the suffix"""


@dataclass
class Arguments:
    """Export the encoder of a run, with its channels, normalisation and input size inside.

    Of a run of spatialclip the whole model, tokenizer and frozen decision inside, and beside it MODEL_CARD.md. Of a run
    of a scene or of objects its points, its cameras, or the depth of its views.
    """

    run: tyro.conf.Positional[Path]
    to: Literal["safetensors", "onnx", "ply", "transforms", "depth"] = "safetensors"
    """scenes: ply (points, colours and influence; features beside it), transforms (cameras as transforms.json), depth
    (a folder of 16-bit PNG and NPZ)"""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """file or folder to write; default RUN-NAME with the suffix of the format in this folder"""
    encoder_only: bool = False
    """of a diagnostic model too, its image encoder alone"""
    object: str | None = None
    """scenes: which of many objects, by its name; default the first"""
    force: bool = False
    """overwrite the output"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "export")
    from nearfar.scenes.run import SceneRun, open_run

    run = open_run(args.run)
    known = tuple(SCENES) if isinstance(run, SceneRun) else ENCODERS
    if args.to not in known:
        raise ConfigError("this run is not exported to that", where="--to", found=args.to, expected=", ".join(known))
    if isinstance(run, SceneRun):
        return _export_scene(run, args)
    from nearfar.evaluate.diagnosis import diagnoses
    from nearfar.export import export
    from nearfar.fused import CARD, export_fused

    out = fresh_file(args.output or Path(f"{args.run.resolve().name}.{args.to}"), args.force)
    if not args.encoder_only and diagnoses(run):
        fresh_file(out.parent / CARD, args.force)
        for path in export_fused(run, args.to, out):
            print(path)
        return 0
    export(run.encoder(), args.to, out)
    print(out)
    return 0


def _export_scene(run: SceneRun, args: Arguments) -> int:
    from nearfar.scenes.formats import write_transforms
    from nearfar.scenes.outputs import export_depth, export_ply
    from nearfar.scenes.paths import find_scene

    default = args.run.resolve().name + (SCENES[args.to] or f"-{args.to}")
    out = args.output or Path(default)
    out = fresh_file(out, args.force) if SCENES[args.to] or args.force else fresh_folder(out, "-o")
    with run.threads():
        learner = run.learner()
        scene = find_scene(learner, args.object)
        if args.to == "transforms":
            print(write_transforms(scene, out))
        else:
            print({"ply": export_ply, "depth": export_depth}[args.to](learner, scene, out))
    return 0
