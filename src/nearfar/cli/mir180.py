"""`nearfar data mir180 ROOT -o OUT` pairs mirrored and opposite views of objects by the poses of their cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from nearfar.cli.common import fresh_folder, note, parse, result
from nearfar.data.triples import ALIKE, RULE, WHITE, Rule
from nearfar.errors import ConfigError

if TYPE_CHECKING:
    from nearfar.data.mir180 import Direction, Rig
    from nearfar.scenes.formats import SceneFormat
    from nearfar.scenes.scene import Split


@dataclass
class Mir180Arguments:
    """Pair every view with its mirrored view and its opposite view, in a manifest that points to the images."""

    root: tyro.conf.Positional[Path]
    """folder of objects (NMR, DVR, SRN) or of one scene"""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """folder to write mir180.jsonl to"""
    format: str = "auto"
    """scene format by name, or auto"""
    mirror_plane: str = "x"
    """normal of the plane that cameras are mirrored in: x, y, z or three numbers, as 0.6,0.8,0"""
    up: str = "z"
    """axis that opposite views are turned about, written alike"""
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """a point of the plane and of the axis"""
    tolerance: float = 1.0
    """degrees by which cameras may miss their mirrored or opposite one"""
    flip: bool = False
    """show mirrored views flipped, left to right"""
    rule: Rule = RULE
    """when an opposite view counts as a negative: flipped (it differs from the view more than the flipped mirrored view
    does, and at all), plain (more than the mirrored view as it is), none (always, as published)"""
    alike: float = ALIKE
    """difference, as a share of the image's variance, below which views are taken to be the same"""
    published: bool = False
    """also copy the images to the published folders {train,val,test}/{images,mirror_views,180_views}"""
    json: bool = False
    """as JSON, for a program"""


def main(argv: list[str]) -> int:
    from nearfar.data.mir180 import build

    args = parse(Mir180Arguments, argv, "data mir180")
    rigs = find_rigs(args.root, args.format)
    note(f"pairing the views of {len(rigs)} objects")
    built = build(
        rigs,
        fresh_folder(args.out, "-o"),
        mirror_plane=_direction(args.mirror_plane, "--mirror-plane"),
        up=_direction(args.up, "--up"),
        centre=args.centre,
        tolerance=args.tolerance,
        flip=args.flip,
        rule=args.rule,
        alike=args.alike,
        published=args.published,
    )
    lines = [f"{built.triples} triples of {built.objects} objects: {built.manifest}"]
    lines += [f"{built.triples - built.negatives} opposite views do not count: the object looks the same there"]
    if built.skipped:
        lines.append(f"{len(built.skipped)} objects have no triple: {', '.join(built.skipped[:5])}")
    result({**vars(built), "manifest": str(built.manifest)}, args.json, "\n".join(lines))
    return 0


def find_rigs(root: Path, format: str = "auto") -> list[Rig]:
    """The objects below `root`, of all splits, or the one scene that it is; of a scene all views, whatever their split.

    Raises ConfigError for an unknown format, DataError where there is neither.
    """
    from nearfar.scenes.formats import FORMATS, find_format

    kinds = [find_format(format, root)] if format != "auto" else [kind for kind in FORMATS.values() if kind.many]
    for kind in kinds:
        found = _objects(root, kind)
        if found:
            return found
    return [_rig(root, format, None)]


def _objects(root: Path, kind: SceneFormat) -> list[Rig]:
    if not root.is_dir():
        return []
    splits: tuple[Split, ...] = ("train", "val", "test")
    return [_rig(path, kind.name, split, root) for split in splits for path in kind.objects(root, split)]


def _rig(path: Path, format: str, split: str | None, root: Path | None = None) -> Rig:
    from nearfar.data.mir180 import Rig
    from nearfar.scenes.formats import open_scene

    scene = open_scene(path, format, hold_out=0)
    category = "" if root is None or path.parent == root else path.parent.name
    paths, cameras = tuple(frame.path for frame in scene.frames), tuple(scene.cameras())
    return Rig(path.name, paths, cameras, category, split, scene.background or WHITE)


def _direction(text: str, flag: str) -> Direction:
    parts: Sequence[str] = text.split(",")
    if len(parts) == 1:
        return text
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        raise ConfigError("not a direction", where=flag, found=text, expected="x, y, z or three numbers") from None
