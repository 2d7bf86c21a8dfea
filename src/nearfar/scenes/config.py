"""Configuration of the training of scenes and objects: preset < YAML file < dotted overrides, strictly. No torch.

It is read and written by the rules of `nearfar.configio`, whose parts it uses; only the sections differ.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_type_hints

from nearfar import configio
from nearfar.configio import TextValue
from nearfar.configvalues import coerce, nearest_key
from nearfar.configyaml import Setting, compose, known, read
from nearfar.errors import ConfigError
from nearfar.scenes.object_options import ObjectOptions
from nearfar.scenes.point_options import PointOptions
from nearfar.scenes.presets import SCENE_PRESETS, Task


@dataclass(frozen=True)
class SceneData:
    """The views, and what a field of points starts from."""

    root: Path | None = None
    """folder of a scene, or for objects of many"""
    format: str = "auto"
    """transforms, colmap, nsvf, srn, dvr, or auto: recognise the layout"""
    scale: float = 1.0
    """factor on the size of a scene's images"""
    hold_out: int = 8
    """every hold_out-th view is held out where the format has no splits; 0: none"""
    background: tuple[float, float, float] | None = None
    """what lies behind transparent pixels, in the place of what the format says"""
    initial: Literal["auto", "hull", "bbox", "ply", "colmap", "cube", "sphere"] = "auto"
    """scene: where the first points come from; auto: the scene's own, else hull, else bbox, else cube"""
    initial_path: Path | None = None
    """file for ply, folder for colmap"""
    normalise: bool = True
    """scene: points.scale and points.rate_points are meant for a scene that fills the views when it is 3 units wide,
    and are fitted to the one that is there; off: as given, in the units of the world"""
    limit: int = 0
    """objects: as many at most; 0: all"""
    encoder: Path | None = None
    """a run of `nearfar train smcl`, or its encoder.safetensors. objects: it reads the source views, and learns on;
    scene: points.pixel_dim, its maps of the training views are read where points appear in them"""


@dataclass(frozen=True)
class SceneTrain:
    """How long, on what, and what is kept."""

    steps: int = 8000
    """of training at most"""
    max_seconds: float = 0.0
    """of steps alone, after which training ends and towards which rates fall; 0: by steps. Which step meets it depends
    on the machine, so that only runs by steps are the same each time"""
    clock: Literal["wall", "cpu"] = "wall"
    """what seconds are: those of the clock, or those that the processor worked for this process"""
    graph_seconds: float = 0.0
    """scene: CPU seconds in which graph contrast finds the first features of points; 0: they start at random"""
    perceptual: float = 0.0
    """scene: weight of LPIPS beside the squared error; needs points.patch and the package lpips with its weights"""
    clip: float = 0.0
    """largest gradient norm; 0: off"""
    max_nonfinite: int = 10
    """steps in a row with a non-finite loss before the run stops; each is left out"""
    evaluations: int = 8
    """times that held-out views are measured on the way; 0: only at the end"""
    evaluation_views: int = 4
    """views measured then"""
    log_every: int = 20
    """steps between lines of metrics.jsonl"""
    checkpoint_every: int = 1000
    """steps between checkpoints; 0: only at the end"""
    keep: int = 2
    """checkpoints kept"""
    seed: int = 0
    """of the first points, all weights and all draws"""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """bf16-mixed is for GPUs"""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """auto: a GPU where there is one"""
    devices: int = 1
    """processes: each draws its own rays, and the gradients are averaged"""
    nodes: int = 1
    """machines, each with as many"""
    threads: int = 1
    """CPU threads of torch"""


@dataclass(frozen=True)
class SceneEval:
    """What is measured and pictured when training has ended."""

    views: int = 0
    """held-out views at most, of a scene or of each object, evenly spread; 0: all"""
    objects: int = 20
    """objects at most, of those seen and of those unseen; 0: all"""
    sources: tuple[int, ...] = ()
    """objects: the source views; empty: as many training views as objects.sources, evenly spread"""
    pictures: int = 6
    """views kept for the report"""
    frames: int = 24
    """pictures of the turntable; 0: none"""
    frame_size: int = 0
    """their shorter side in pixels; 0: that of the views"""
    turn: Literal["auto", "orbit", "sway"] = "auto"
    """orbit: around what the cameras see; sway: among the cameras; auto: orbit where cameras stand all around"""


@dataclass(frozen=True)
class SceneConfig:
    """A whole run."""

    preset: str
    task: Task = "scene"
    """scene: one scene as points (`points`); objects: many objects by a conditional field (`objects`)"""
    data: SceneData = field(default_factory=SceneData)
    points: PointOptions = field(default_factory=PointOptions)
    objects: ObjectOptions = field(default_factory=ObjectOptions)
    train: SceneTrain = field(default_factory=SceneTrain)
    eval: SceneEval = field(default_factory=SceneEval)


def load(
    preset: str, task: Task | None = None, yaml: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> SceneConfig:
    """The configuration of a preset, changed by a YAML file, changed by dotted overrides ({"train.steps": 100}).

    Raises ConfigError for unknown presets and keys, tasks that a preset does not know, wrong types, illegal values.
    """
    if preset not in SCENE_PRESETS:
        raise ConfigError(f"unknown preset {preset!r}", fix=nearest_key(preset, SCENE_PRESETS))
    written = read(yaml, SCHEMA) if yaml is not None else []
    task = task or next((s.value for s in written if s.key == "task"), None) or next(iter(SCENE_PRESETS[preset].tasks))
    own = SCENE_PRESETS[preset].tasks.get(cast(Task, task), {})
    settings = [Setting(key, value, f"preset {preset!r}") for key, value in own.items()]
    settings += [*written, Setting("task", task, "--task", 2)]
    settings += [
        Setting(key, TextValue(value) if isinstance(value, str) else value, key, 2)
        for key, value in (overrides or {}).items()
    ]
    return _merge(preset, settings)


def read_scene_config(path: Path | str) -> SceneConfig:
    """The configuration written by `dump`: a config.yaml, or the run folder it lies in. Raises ConfigError."""
    file = Path(path) / "config.yaml" if Path(path).is_dir() else Path(path)
    for key, value in compose(file).value:
        if key.value == "preset":
            return load(value.value, None, file)
    raise ConfigError("the file does not say its preset", where=file, fix="Add a line 'preset: NAME'.")


def is_scene_run(path: Path | str) -> bool:
    """Whether a folder holds a run of a scene or of objects, not of a method."""
    file = Path(path) / "config.yaml"
    return file.is_file() and any(key.value == "task" for key, _ in compose(file).value)


def dump(config: SceneConfig) -> str:
    """The configuration as YAML that `read_scene_config` reads back equal."""
    return configio.dump(cast(Any, config))


def check(config: SceneConfig) -> None:
    """Check what a configuration built in Python or from flags says. Raises ConfigError."""
    _check(config, {})


def _schema(section: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(section).items():
        yield f"{prefix}{name}", kind
        if dataclasses.is_dataclass(kind):
            yield from _schema(cast(type, kind), f"{prefix}{name}.")


SCHEMA: dict[str, Any] = dict(_schema(SceneConfig))


def _merge(preset: str, settings: list[Setting]) -> SceneConfig:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in settings:
        key = setting.key
        known(key, SCHEMA, setting.where)
        if dataclasses.is_dataclass(SCHEMA[key]):
            fix = f"Set one of its keys, such as '{key}.NAME'."
            raise ConfigError(f"{key!r} is a section", where=setting.where, fix=fix)
        value = setting.value
        values[key] = (
            value.coerced(SCHEMA[key], key, setting.where)
            if isinstance(value, TextValue)
            else coerce(SCHEMA[key], value, key, setting.where)
        )
        origins[key] = setting.where
    if values.setdefault("preset", preset) != preset:
        raise ConfigError(f"the file is for preset {values['preset']!r}", where=origins["preset"], expected=preset)
    config = cast(SceneConfig, _build(SceneConfig, values, ""))
    _check(config, origins)
    return config


def _build(kind: type, values: Mapping[str, Any], prefix: str) -> Any:
    arguments = {}
    for part in dataclasses.fields(kind):
        key = f"{prefix}{part.name}"
        if dataclasses.is_dataclass(SCHEMA[key]):
            arguments[part.name] = _build(cast(type, SCHEMA[key]), values, f"{key}.")
        elif key in values:
            arguments[part.name] = values[key]
    return kind(**arguments)


LPIPS_SIDE = 16
"""pixels; of smaller pictures nothing reaches the last stage of VGG"""
_AT_LEAST_0: tuple[Callable[[Any], bool], str] = (lambda v: v >= 0, "0 or more")
_AT_LEAST_1: tuple[Callable[[Any], bool], str] = (lambda v: v >= 1, "1 or more")
_COUNTS = ("steps", "max_nonfinite", "log_every", "keep", "devices", "nodes")
_AMOUNTS = (
    "data.hold_out", "data.limit", "train.max_seconds", "train.graph_seconds", "train.perceptual", "train.clip",
    "train.evaluations", "train.evaluation_views", "train.checkpoint_every", "train.seed", "train.threads",
    "eval.views", "eval.objects", "eval.pictures", "eval.frames", "eval.frame_size",
)  # fmt: skip
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "data.scale": (lambda v: 0 < v <= 1, "more than 0, at most 1"),
    **{f"train.{name}": _AT_LEAST_1 for name in _COUNTS},
    **dict.fromkeys(_AMOUNTS, _AT_LEAST_0),
}


FOREIGN = {
    "scene": ("data.limit", "eval.sources"),
    "objects": (
        "data.scale",
        "data.normalise",
        "data.initial",
        "data.initial_path",
        "train.graph_seconds",
        "train.perceptual",
    ),
}
"""what only the other task reads, refused instead of ignored"""


def _check(config: SceneConfig, origins: Mapping[str, str]) -> None:
    for key, value in _leaves(config):
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise ConfigError(f"{key!r} is not finite", where=origins.get(key, key), found=value)
        if key in RULES and not RULES[key][0](value):
            raise ConfigError(
                f"{key!r} is out of range", where=origins.get(key, key), found=value, expected=RULES[key][1]
            )
    preset = SCENE_PRESETS[config.preset]
    if config.task not in preset.tasks:
        raise ConfigError(
            f"preset {config.preset!r} is not for task {config.task!r}",
            where=origins.get("task", "task"),
            expected=" or ".join(name for name, other in SCENE_PRESETS.items() if config.task in other.tasks),
        )
    _check_together(config)


def _check_together(config: SceneConfig) -> None:
    """Options that only make sense with others, refused instead of ignored."""
    points, data, train = config.points, config.data, config.train
    if config.task == "scene":
        if train.perceptual and points.patch < LPIPS_SIDE:
            raise ConfigError(
                "LPIPS compares patches",
                where="train.perceptual",
                found=points.patch,
                expected=f"at least {LPIPS_SIDE}",
                fix="Give points.patch, such as 32.",
            )
        if bool(points.pixel_dim) != (data.encoder is not None):
            raise ConfigError(
                "points read pixels through an encoder",
                where="points.pixel_dim, data.encoder",
                found=f"pixel_dim {points.pixel_dim}, encoder {data.encoder}",
                fix="Give both, pixel_dim as the encoder has channels, or none.",
            )
        if data.initial_path is not None and data.initial not in ("ply", "colmap"):
            raise ConfigError("only ply and colmap take a path", where="data.initial_path", found=data.initial)
    defaults = SceneConfig(config.preset)
    for key in FOREIGN[config.task]:
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        if value != getattr(getattr(defaults, section), name):
            raise ConfigError(f"this has no meaning for task {config.task}", where=key, found=value)


def _leaves(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for part in dataclasses.fields(section):
        value = getattr(section, part.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{part.name}.")
        else:
            yield f"{prefix}{part.name}", value
