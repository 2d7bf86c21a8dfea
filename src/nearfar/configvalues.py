"""What a value of the configuration may be: types read from annotations, and the ranges, all in one place."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from nearfar.errors import ConfigError, did_you_mean


def nearest_key(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the nearest one of its section, the same option elsewhere, else all there are."""
    names = list(known)
    section, _, option = name.rpartition(".")
    siblings = [other for other in names if other.rpartition(".")[0] == section] or names
    elsewhere = [other for other in names if other.rpartition(".")[2] == option]
    otherwise = f"Did you mean {elsewhere[0]!r}?" if elsewhere else f"Known: {', '.join(siblings)}."
    return did_you_mean(name, siblings, otherwise, quote="'")


def coerce(hint: Any, value: Any, key: str, where: str) -> Any:
    """`value` as the annotated type; lists become tuples and text becomes paths, nothing else changes its kind.

    Raises:
        ConfigError: with the key, what was found and what is legal.
    """
    try:
        return _coerce(hint, value)
    except ValueError:
        raise ConfigError(
            f"{key!r} has a wrong value", where=where, found=repr(value), expected=describe(hint)
        ) from None


def _coerce(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _member(value, arguments)
    if origin is tuple:
        return _tuple(arguments, value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError
        return {_coerce(arguments[0], k): _coerce(arguments[1], v) for k, v in value.items()}
    if origin in (Union, types.UnionType):
        return _first(arguments, value)
    return _scalar(hint, value)


def _member(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if choice == value and type(choice) is type(value):
            return choice
    raise ValueError


def _tuple(arguments: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError
    if arguments[-1] is Ellipsis:
        return tuple(_coerce(arguments[0], item) for item in value)
    if len(value) != len(arguments):
        raise ValueError
    return tuple(_coerce(hint, item) for hint, item in zip(arguments, value, strict=True))


def _first(options: tuple[Any, ...], value: Any) -> Any:
    # An exact type wins: 3 stays an int in `int | float`, though 3 is a legal float too.
    for option in sorted(options, key=lambda option: option is not type(value)):
        try:
            return _coerce(option, value)
        except ValueError:
            continue
    raise ValueError


def _scalar(hint: Any, value: Any) -> Any:
    if hint is types.NoneType and value is None:
        return None
    if hint is Path and isinstance(value, str | Path) and str(value):
        return Path(value)
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        # YAML 1.1 takes 1e-3 (no dot) for text.
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise ValueError


def describe(hint: Any) -> str:
    """A type in words: "one of 'adamw', 'sgd'", "2 values: a number, a number"."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a list, each {describe(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}: {', '.join(map(describe, arguments))}"
    if origin is dict:
        return f"a mapping, each value {describe(arguments[1])}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(describe, arguments))
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}
    return words.get(hint, "nothing (null)")


Rule = tuple[Callable[[Any], bool], str]

_positive: Rule = (lambda v: v > 0, "more than 0")
_at_least_0: Rule = (lambda v: v >= 0, "0 or more")
_at_least_1: Rule = (lambda v: v >= 1, "1 or more")
_share: Rule = (lambda v: 0 <= v <= 1, "between 0 and 1")
_below_1: Rule = (lambda v: 0 <= v < 1, "0 or more and less than 1")

RULES: dict[str, Rule] = {
    "data.size": _at_least_1,
    "data.scale": (lambda v: v is None or v > 0, "more than 0"),
    "data.splits": (lambda v: min(v) >= 0 and abs(sum(v) - 1) < 1e-6, "shares of 0 or more that sum to 1"),
    "data.split_seed": _at_least_0,
    "views.count": _at_least_1,
    "views.crop_scale": (lambda v: 0 < v[0] <= v[1] <= 1, "two shares, 0 < smallest <= largest <= 1"),
    "views.flip_horizontal": _share,
    "views.flip_vertical": _share,
    "views.rotate": _at_least_0,
    "views.strength": _share,
    "views.erase": _share,
    "views.crop_metres": _at_least_0,
    "views.zoom": (lambda v: 0 < v[0] <= v[1], "two factors, 0 < smallest <= largest"),
    "encoder.size": _at_least_1,
    "encoder.modality_dropout": _below_1,
    "encoder.texture_points": (lambda v: 1 <= v <= 24, "1 to 24"),
    "encoder.texture_radius": _positive,
    "encoder.texture_scale": _positive,
    "train.epochs": _at_least_1,
    "train.batch_size": _at_least_1,
    "train.lr": _positive,
    "train.weight_decay": _at_least_0,
    "train.warmup": _below_1,
    "train.lr_floor": _share,
    "train.head_lr": _positive,
    "train.freeze_encoder": _share,
    "train.accumulate": _at_least_1,
    "train.grad_cache": _at_least_0,
    "train.clip": _at_least_0,
    "train.devices": _at_least_1,
    "train.nodes": _at_least_1,
    "train.workers": _at_least_0,
    "train.threads": _at_least_0,
    "train.seed": _at_least_0,
    "train.checkpoint_every": _at_least_0,
    "train.keep": _at_least_1,
    "train.max_nonfinite": _at_least_1,
    "train.health_every": _at_least_0,
    "eval.k": _at_least_1,
    "eval.bootstrap": _at_least_1,
    "eval.confidence": (lambda v: 0 < v < 1, "between 0 and 1"),
    "eval.seed": _at_least_0,
    "method.temperature": _positive,
    "method.projection": (lambda v: all(width >= 1 for width in v), "widths of 1 or more"),
}


def check_ranges(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Check every dotted value against its range; `origins` says where a value was given.

    Raises:
        ConfigError: naming the first key that is not finite, out of its range or at odds with another.
    """
    for key, value in values.items():
        where = origins.get(key, key)
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise ConfigError(f"{key!r} is not finite", where=where, found=value, expected="a finite number")
        if key in RULES and not RULES[key][0](value):
            raise ConfigError(f"{key!r} is out of range", where=where, found=value, expected=RULES[key][1])
    devices = values["train.devices"] * values["train.nodes"]
    if values["train.batch_size"] % devices:
        raise ConfigError(
            "'train.batch_size' is not a multiple of the devices",
            where=origins.get("train.batch_size", "train.batch_size"),
            found=values["train.batch_size"],
            expected=f"a multiple of {devices}",
        )
