"""`nearfar render RUN --path orbit -o turn.gif`: what a trained scene looks like along a path of cameras."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track

from nearfar.cli.common import fresh_file, fresh_folder, note, parse

if TYPE_CHECKING:
    from nearfar.scenes.learner import Learner
    from nearfar.scenes.scene import Scene
    from nearfar.spatial.cameras import Camera

Picture = TypeVar("Picture")


@dataclass
class Arguments:
    """Render a run of a scene or of objects: an animation that plays for ever, or a folder of PNG files."""

    run: tyro.conf.Positional[Path]
    path: str = "auto"
    """orbit, spiral, sway (among the cameras, for scenes seen from one side), auto (orbit or sway), or a JSON file of
    poses: transforms.json, or a camera path of nerfstudio"""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """.gif, .webp, or a folder; default RUN-NAME.gif in this folder"""
    frames: int | None = None
    """pictures; default 48, or as many as a JSON file has; with one, its poses are key frames of a smooth path"""
    size: int = 0
    """shorter side in pixels; 0: that of the views"""
    fps: float = 12.0
    show: Literal["rgb", "depth", "both"] = "rgb"
    object: str | None = None
    """which of many objects, by its name; default the first"""
    force: bool = False
    """overwrite the output"""


def main(argv: list[str]) -> int:
    args = parse(Arguments, argv, "render")
    from nearfar.scenes.outputs import save_pictures
    from nearfar.scenes.paths import find_scene, one_sided, scaled_to

    _check(args)
    run = scene_run(args.run)
    out = args.output or Path(f"{args.run.resolve().name}.gif")
    out = fresh_file(out, args.force) if out.suffix or args.force else fresh_folder(out, "-o")
    with run.threads():
        learner = run.learner()
        scene = find_scene(learner, args.object)
        cameras = scaled_to([camera.scaled(learner.scale) for camera in _cameras(args, scene)], args.size)
        note(f"rendering {len(cameras)} pictures of {cameras[0].width} x {cameras[0].height}")
        if args.path in ("orbit", "spiral") and one_sided(scene):
            note("note: no camera stood on some side, and this path goes there; --path sway stays among the cameras")
        save_pictures(out, counted(_frames(learner, scene, cameras, args.show), len(cameras)), args.fps)
    print(out)
    return 0


def _check(args: Arguments) -> None:
    from nearfar.errors import ConfigError

    if args.frames is not None and args.frames < 1:
        raise ConfigError("there must be a picture", where="--frames", found=args.frames, expected="1 or more")
    if args.size < 0:
        raise ConfigError("a picture has pixels", where="--size", found=args.size, expected="0 or more")
    if not 0 < args.fps <= 100:
        raise ConfigError("pictures a second", where="--fps", found=args.fps, expected="more than 0, at most 100")


def scene_run(path: Path) -> Any:
    """The run of a scene or of objects in a folder. Raises ConfigError for any other."""
    from nearfar.errors import ConfigError
    from nearfar.scenes.run import SceneRun, open_run

    run = open_run(path)
    if not isinstance(run, SceneRun):
        raise ConfigError(
            "this run has no scene", where=path, fix="Train one: nearfar train smcl --task scene --data.root FOLDER."
        )
    return run


def counted(pictures: Iterator[Picture], total: int) -> Iterable[Picture]:
    """The same, with a bar on a terminal."""
    console = Console(file=sys.stderr)
    hidden = not console.is_terminal
    return track(pictures, "rendering", total, console=console, disable=hidden, transient=True)


def _cameras(args: Arguments, scene: Scene) -> list[Camera]:
    from nearfar.scenes.paths import path_cameras, read_poses

    if args.path.endswith(".json"):
        return read_poses(Path(args.path), scene.frames[0].camera, args.frames or 0)
    return path_cameras(scene, args.path, 48 if args.frames is None else args.frames)


def _frames(learner: Learner, scene: Scene, cameras: Sequence[Camera], show: str) -> Iterator[np.ndarray]:
    from nearfar.report.scene_figures import depth_picture
    from nearfar.scenes.metrics import eight_bit
    from nearfar.scenes.paths import pictures

    limits: tuple[float, float] | None = None
    for view in pictures(learner, scene, cameras):
        # One scale for all pictures, that of the first, so that colours mean the same throughout.
        depth, limits = depth_picture(view["depth"], view["alpha"], limits)
        parts = {"rgb": [eight_bit(view["rgb"])], "depth": [depth], "both": [eight_bit(view["rgb"]), depth]}
        yield np.concatenate(parts[show], axis=1)
