"""Reading YAML into settings that know their line, strictly: unknown and repeated keys are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nearfar.configstages import Placed, record_kind
from nearfar.configvalues import nearest_key
from nearfar.errors import ConfigError


class Setting(NamedTuple):
    """One value given for one dotted key, and where it was given ("run.yaml:3", "train.lr")."""

    key: str
    value: Any
    where: str
    source: int = 0
    """a later source wins: 0 preset, 1 file, 2 override"""


def known(key: str, schema: Mapping[str, Any], where: str) -> None:
    """Refuse a key that the configuration does not have, naming the nearest. Raises ConfigError."""
    if key not in schema:
        raise ConfigError(f"unknown key {key!r}", where=where, fix=nearest_key(key, schema))


def compose(path: Path) -> yaml.MappingNode:
    """The nodes of a file. Raises ConfigError where it is absent, unreadable or not a mapping in YAML."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise ConfigError("there is no such configuration file", where=path, fix="Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file cannot be read: {error}", where=path) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"not valid YAML: {error.problem}", where=f"{path}:{line}") from None
    if root is None:
        return yaml.MappingNode("tag:yaml.org,2002:map", [])
    return _mapping(root, path, "the file")


def _mapping(node: yaml.Node, path: Path, name: str) -> yaml.MappingNode:
    if isinstance(node, yaml.MappingNode):
        return node
    found = {"ScalarNode": "a single value", "SequenceNode": "a list"}[type(node).__name__]
    raise ConfigError(f"{name} must be a mapping of keys to values", where=_at(path, node), found=found)


def _at(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"


def read(path: Path, schema: Mapping[str, Any]) -> list[Setting]:
    """The settings of a file, each with its line; sections are recognised by the schema."""
    path = Path(path)
    settings: list[Setting] = []

    def walk(node: yaml.MappingNode, prefix: str) -> None:
        for key_node, value in _pairs(node, path, prefix):
            key = f"{prefix}{key_node.value}"
            known(key, schema, _at(path, key_node))
            if dataclasses.is_dataclass(schema[key]):
                walk(_mapping(value, path, repr(key)), f"{key}.")
            else:
                values = _records if record_kind(schema[key]) else _constructed
                settings.append(Setting(key, values(value, path), _at(path, value), 1))

    walk(compose(path), "")
    return settings


def _pairs(node: yaml.MappingNode, path: Path, prefix: str) -> list[tuple[yaml.Node, yaml.Node]]:
    """The keys and values of a mapping. Raises ConfigError where a key is given twice."""
    seen: dict[str, int] = {}
    for key_node, _ in node.value:
        key, line = f"{prefix}{key_node.value}", key_node.start_mark.line + 1
        if key in seen:
            raise ConfigError(f"duplicate key {key!r}, first given in line {seen[key]}", where=f"{path}:{line}")
        seen[key] = line
    return list(node.value)


def _records(node: yaml.Node, path: Path) -> Any:
    """A list of mappings whose values know their lines; anything else as it is, for the caller to refuse."""
    if not isinstance(node, yaml.SequenceNode):
        return _constructed(node, path)
    return [Placed(_record(item, path), _at(path, item)) for item in node.value]


def _record(node: yaml.Node, path: Path) -> Any:
    if not isinstance(node, yaml.MappingNode):
        return _constructed(node, path)
    pairs = _pairs(node, path, "")
    return {key.value: Placed(_constructed(value, path), _at(path, key)) for key, value in pairs}


def _constructed(node: yaml.Node, path: Path) -> Any:
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"not a plain value: {error.problem}", where=_at(path, node)) from None
