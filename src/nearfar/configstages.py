"""Stages of a run as plain data: how they are read from YAML and Python, what is legal, how they are stretched."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from nearfar.config import Stage, TrainConfig
from nearfar.configvalues import coerce, nearest_key
from nearfar.errors import ConfigError


class Placed(NamedTuple):
    """A value of a file and where it stands there."""

    value: Any
    where: str


def record_kind(hint: Any) -> type | None:
    """The dataclass whose instances a field lists (`tuple[Stage, ...]`); None for a field of any other type."""
    item = get_args(hint)[0] if get_origin(hint) is tuple else None
    return item if isinstance(item, type) and dataclasses.is_dataclass(item) else None


def coerce_records(kind: type, value: Any, key: str, where: str) -> tuple[Any, ...]:
    """A list of mappings (of plain or `Placed` values) or of instances as a tuple of `kind`.

    Raises:
        ConfigError: not a list of mappings, a key that is unknown or absent, a wrong value; naming key and place.
    """
    if not isinstance(value, list | tuple):
        raise ConfigError(
            f"{key!r} has a wrong value", where=where, found=repr(value), expected=f"a list of {_parts(kind)}"
        )
    return tuple(_record(kind, item, f"{key}[{number}]", where) for number, item in enumerate(value))


def _parts(kind: type) -> str:
    names = [field.name for field in dataclasses.fields(kind)]
    return f"mappings with {', '.join(names)}"


def _record(kind: type, item: Any, key: str, where: str) -> Any:
    if isinstance(item, Placed):
        item, where = item
    if isinstance(item, kind):
        item = {field.name: getattr(item, field.name) for field in dataclasses.fields(kind)}
    if not isinstance(item, Mapping):
        raise ConfigError(f"{key!r} has a wrong value", where=where, found=repr(item), expected=f"{_parts(kind)}")
    hints, values = get_type_hints(kind), {}
    for name, given in item.items():
        value, place = given if isinstance(given, Placed) else (given, where)
        if name not in hints:
            known = [f"{key}.{known}" for known in hints]
            raise ConfigError(f"unknown key '{key}.{name}'", where=place, fix=nearest_key(f"{key}.{name}", known))
        values[name] = coerce(hints[name], value, f"{key}.{name}", place)
    for field in dataclasses.fields(kind):
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{key!r} has no {field.name!r}", where=where, expected=_parts(kind))
    return kind(**values)


def places(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Where each part of a list of records stands: ("train.stages[1].epochs", "run.yaml:9")."""
    for number, item in enumerate(value if isinstance(value, list | tuple) else ()):
        record = item.value if isinstance(item, Placed) else item
        for name, given in record.items() if isinstance(record, Mapping) else ():
            if isinstance(given, Placed):
                yield f"{key}[{number}].{name}", given.where


def total_epochs(stages: Sequence[Stage]) -> int:
    """Epochs of all stages together."""
    return sum(stage.epochs for stage in stages)


def with_epochs(config: TrainConfig, epochs: int) -> TrainConfig:
    """The same training in `epochs` epochs: every stage keeps its share of them, and at least one.

    Raises:
        ConfigError: fewer epochs than stages.
    """
    return dataclasses.replace(config, epochs=epochs, stages=stretched(config.stages, epochs))


def stretched(stages: tuple[Stage, ...], epochs: int, where: str = "train.epochs") -> tuple[Stage, ...]:
    """The stages with epochs in the same proportion that sum to `epochs`. Raises ConfigError where they are too few."""
    if not stages or min(stage.epochs for stage in stages) < 1:
        return stages  # which `check_stages` refuses
    if epochs < len(stages):
        raise ConfigError("every stage needs an epoch", where=where, found=epochs, expected=f"at least {len(stages)}")
    share = epochs / total_epochs(stages)
    counts = [1] * len(stages)
    for _ in range(epochs - len(stages)):
        lacking = [stage.epochs * share - count for stage, count in zip(stages, counts, strict=True)]
        counts[lacking.index(max(lacking))] += 1
    return tuple(dataclasses.replace(stage, epochs=count) for stage, count in zip(stages, counts, strict=True))


Rule = tuple[Callable[[Any], bool], str]


def _numbers_at_least_0(values: Mapping[str, float]) -> bool:
    return all(math.isfinite(value) and value >= 0 for value in values.values())


RULES: dict[str, Rule] = {
    "name": (bool, "a name"),
    "epochs": (lambda v: v >= 1, "1 or more"),
    "train": (lambda v: len(v) >= 1, "at least one pattern"),
    "rates": (lambda v: _numbers_at_least_0(v) and all(v.values()), "finite multiples, more than 0"),
    "losses": (_numbers_at_least_0, "finite weights of 0 or more"),
    "warmup": (lambda v: 0 <= v < 1, "0 or more and less than 1"),
}


def check_stages(config: TrainConfig, origins: Mapping[str, str]) -> None:
    """Check the stages of a run; `origins` says where a value was given.

    Raises:
        ConfigError: an illegal value, a name given twice, `train.epochs` that is not the sum of the stages', or an
            option beside them whose work they do.
    """
    stages = config.stages
    for number, stage in enumerate(stages):
        for name, (legal, expected) in RULES.items():
            key, value = f"train.stages[{number}].{name}", getattr(stage, name)
            if not legal(value):
                where = origins.get(key, origins.get("train.stages", key))
                raise ConfigError(f"{key!r} is out of range", where=where, found=value, expected=expected)
    _check_whole(config, origins)


def _check_whole(config: TrainConfig, origins: Mapping[str, str]) -> None:
    names = [stage.name for stage in config.stages]
    where = origins.get("train.stages", "train.stages")
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError("two stages have one name", where=where, found=", ".join(sorted(twice)))
    if names and config.epochs != total_epochs(config.stages):
        raise ConfigError(
            "'train.epochs' is not the sum of the stages' epochs",
            where=origins.get("train.epochs", "train.epochs"),
            found=config.epochs,
            expected=total_epochs(config.stages),
            fix="Leave train.epochs out where stages are given; nearfar.configio.with_epochs stretches them.",
        )
    for key, neutral in (("head_lr", 1.0), ("freeze_encoder", 0.0)):
        if names and getattr(config, key) != neutral:
            raise ConfigError(
                f"'train.{key}' does not go with stages",
                where=origins.get(f"train.{key}", f"train.{key}"),
                found=getattr(config, key),
                fix="Say it by the stages' own rates and train.",
            )
