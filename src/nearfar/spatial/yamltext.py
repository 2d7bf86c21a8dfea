"""A YAML mapping and its values, checked: every fault is a ConfigError that names the line or the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from nearfar.errors import ConfigError, did_you_mean


class _Loader(yaml.SafeLoader):
    """SafeLoader that does not let a key given twice overwrite the first silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key, _ in node.value:
            if key.value in seen:
                raise ConfigError("the key is given twice", where=f"line {key.start_mark.line + 1}, {key.value}")
            seen.append(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(content: str) -> dict[str, Any]:
    """A YAML mapping with each key once. Raises ConfigError naming the line or key."""
    try:
        tree = yaml.load(content, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"not valid YAML: {error.problem}", where=f"line {line}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}", where="file") from None
    return mapping(tree, "file")


def only(tree: Mapping[str, Any], known: Sequence[str], prefix: str) -> None:
    """ConfigError, with the nearest known key, for an unknown one. `prefix` leads to the keys ("bands.B01.")."""
    for key in tree:
        if key not in known:
            fix = did_you_mean(key, known)
            raise ConfigError("unknown key", where=f"{prefix}{key}", expected=", ".join(known), fix=fix)


def mapping(value: Any, where: str) -> dict[str, Any]:
    """`value` where it is a mapping whose keys are text."""
    if not isinstance(value, dict):
        raise ConfigError("not a mapping", where=where, found=repr(value), expected="key: value")
    for key in value:
        text(key, where)
    return value


def text(value: Any, where: str) -> str:
    """`value` where it is text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError("not a name", where=where, found=repr(value), expected="text", fix="Put it in quotes.")
    return value


def texts(value: Any, where: str) -> tuple[str, ...]:
    """`value` as a tuple where it is a list of names."""
    if not isinstance(value, (list, tuple)):
        raise ConfigError("not a list", where=where, found=repr(value), expected="a list of names")
    return tuple(text(item, where) for item in value)


def number(value: Any, where: str) -> float:
    """`value` as float where it is a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        what, found = ("the number is missing", None) if value is None else ("not a number", repr(value))
        raise ConfigError(what, where=where, found=found)
    return float(value)


def pair(value: Any, where: str) -> tuple[float, float]:
    """`value` as two floats where it is a list of two numbers."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ConfigError("not two numbers", where=where, found=value, expected="[mean, standard deviation]")
    return number(value[0], where), number(value[1], where)
