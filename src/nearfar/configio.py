"""Reading and writing configurations: preset < YAML file < dotted overrides, merged strictly into a `RunConfig`.

Every fault is a `ConfigError` that names the file and line (or the override) it came from. No torch at import; only
resolving a method's own section imports the method's file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast, get_origin, get_type_hints

import yaml

from nearfar.config import MethodConfig, RunConfig
from nearfar.configstages import (
    check_stages,
    coerce_records,
    places,
    record_kind,
    stretched,
    total_epochs,
    with_epochs,
)
from nearfar.configvalues import check_ranges, coerce, nearest_key
from nearfar.configyaml import Setting, compose, known, read
from nearfar.errors import ConfigError
from nearfar.presets import METHODS, PRESETS, Preset

__all__ = ["check", "diff", "dump", "load", "read_run_config", "with_epochs"]


def load(preset: str, yaml: Path | None = None, overrides: Mapping[str, Any] | None = None) -> RunConfig[Any]:
    """The configuration of a preset, changed by a YAML file, changed by dotted overrides ({"train.lr": 1e-3}).

    An override given as text for something that is not text is read as YAML ("3", "[0.2, 1]"). A mapping for a
    dictionary field replaces it; a key below it ("encoder.options.patch_size") adds to it.

    Raises:
        ConfigError: unknown preset or key, wrong type, illegal value, unreadable or malformed file.
    """
    settings = [Setting(key, value, f"preset {preset!r}") for key, value in _preset(preset).overrides.items()]
    if yaml is not None:
        settings += read(yaml, _schema(preset))
    settings += [
        Setting(key, TextValue(value) if isinstance(value, str) else value, key, 2)
        for key, value in (overrides or {}).items()
    ]
    return _merge(preset, settings)


def read_run_config(path: Path) -> RunConfig[Any]:
    """The configuration written by `dump`: a config.yaml, or the run folder it lies in.

    Raises:
        ConfigError: no such file, the file does not say its preset, or it is of a scene or of objects.
    """
    path = Path(path)
    path = path / "config.yaml" if path.is_dir() else path
    root = compose(path)
    if any(key.value == "task" for key, _ in root.value):
        fix = "What there is for it: nearfar render, eval, export, report."
        raise ConfigError("a run of a scene or of objects has no embeddings and no classes", where=path, fix=fix)
    for key, value in root.value:
        if key.value == "preset":
            return load(value.value, path)
    raise ConfigError("the file does not say its preset", where=path, fix="Add a line 'preset: NAME'.")


def check(config: RunConfig[Any]) -> None:
    """Check the ranges of a configuration that was built in Python. Raises ConfigError."""
    _check(config, {})


def _check(config: RunConfig[Any], origins: Mapping[str, str]) -> None:
    # Stages first: epochs out of range in one of them are then its fault, not that of their sum.
    check_stages(config.train, origins)
    check_ranges(dict(_leaf_values(config)), origins)


def dump(config: RunConfig[Any]) -> str:
    """The configuration as YAML that `read_run_config` reads back equal."""
    text: str = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=120)
    return text


def diff(old: RunConfig[Any] | str, new: RunConfig[Any] | str) -> str:
    """What changed, one line a key: "train.lr: 0.001 -> 0.002"; empty where nothing did. Texts are those of `dump`."""
    before, after = (dict(_leaves(yaml.safe_load(c) if isinstance(c, str) else _plain(c))) for c in (old, new))
    absent = object()
    lines = [
        f"{key}: {_shown(before.get(key, absent), absent)} -> {_shown(after.get(key, absent), absent)}"
        for key in {**before, **after}
        if before.get(key, absent) != after.get(key, absent)
    ]
    return "\n".join(lines)


def _shown(value: Any, absent: object) -> str:
    return "(absent)" if value is absent else str(value)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for number, item in enumerate(value):
                yield from _leaves(item, f"{prefix}{key}[{number}].")
        else:
            yield f"{prefix}{key}", value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", fix=nearest_key(name, PRESETS))
    return PRESETS[name]


def _method_config(preset: str) -> type[MethodConfig]:
    module, _, name = METHODS[_preset(preset).method].target.partition(":")
    return cast(type[MethodConfig], getattr(importlib.import_module(module), name).Config)


def _schema(preset: str) -> dict[str, Any]:
    """Dotted key -> its type, for every leaf of the configuration; a section maps to its dataclass."""
    method = _method_config(preset)

    def walk(section: type, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, hint in get_type_hints(section).items():
            kind = method if isinstance(hint, TypeVar) else hint
            if name in {f.name for f in dataclasses.fields(section)}:
                yield f"{prefix}{name}", kind
                if dataclasses.is_dataclass(kind):
                    yield from walk(cast(type, kind), f"{prefix}{name}.")

    return dict(walk(RunConfig, ""))


class TextValue(str):
    """An override given as text: stays text for a text field, is read as YAML for any other."""

    def parsed(self) -> Any:
        try:
            return yaml.safe_load(self)
        except yaml.YAMLError:
            return str(self)

    def coerced(self, hint: Any, key: str, where: str) -> Any:
        if hint is not str:
            with contextlib.suppress(ConfigError):
                return coerce(hint, self.parsed(), key, where)
        return coerce(hint, str(self), key, where)


def _merge(preset: str, settings: list[Setting]) -> RunConfig[Any]:
    schema = _schema(preset)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    sources: dict[str, int] = {}
    for setting in settings:
        key, value = _whole_dict(setting, schema, values)
        known(key, schema, setting.where)
        if dataclasses.is_dataclass(schema[key]):
            fix = f"Set one of its keys, such as '{key}.NAME'."
            raise ConfigError(f"{key!r} is a section", where=setting.where, fix=fix)
        origins[key], sources[key] = setting.where, setting.source
        if kind := record_kind(schema[key]):
            values[key] = coerce_records(kind, value, key, setting.where)
            origins.update(places(key, value))
            continue
        cast_to = value.coerced if isinstance(value, TextValue) else partial(coerce, value=value)
        values[key] = cast_to(hint=schema[key], key=key, where=setting.where)
    if values.setdefault("preset", preset) != preset:
        raise ConfigError(f"the file is for preset {values['preset']!r}", where=origins["preset"], expected=preset)
    _settle_epochs(values, origins, sources)
    config = _build(schema, values)
    _check(config, origins)
    return config


def _settle_epochs(values: dict[str, Any], origins: dict[str, str], sources: Mapping[str, int]) -> None:
    """Stages and `train.epochs` from different sources: the later one decides how long the run is."""
    stages = values.get("train.stages")
    given, staged = sources.get("train.epochs", -1), sources.get("train.stages", -1)
    if not stages or given == staged:
        return
    if given > staged:
        values["train.stages"] = stretched(stages, values["train.epochs"], origins["train.epochs"])
    else:
        values["train.epochs"] = total_epochs(stages)
        origins.pop("train.epochs", None)


def _whole_dict(setting: Setting, schema: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str, Any]:
    """A key below a dictionary field becomes the whole dictionary with that key added."""
    field, _, option = setting.key.rpartition(".")
    if get_origin(schema.get(field)) is not dict:
        return setting.key, setting.value
    value = setting.value.parsed() if isinstance(setting.value, TextValue) else setting.value
    return field, {**values.get(field, {}), option: value}


def _build(schema: Mapping[str, Any], values: Mapping[str, Any]) -> RunConfig[Any]:
    def section(kind: type, prefix: str) -> Any:
        arguments = {}
        for field in dataclasses.fields(kind):
            key = f"{prefix}{field.name}"
            if dataclasses.is_dataclass(schema[key]):
                arguments[field.name] = section(schema[key], f"{key}.")
            elif key in values:
                arguments[field.name] = values[key]
        return kind(**arguments)

    return cast(RunConfig[Any], section(RunConfig, ""))


def _leaf_values(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaf_values(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value
