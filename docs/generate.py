"""Write the reference pages from the code: `python docs/generate.py`. A test fails where they are out of date."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from itertools import pairwise
from pathlib import Path
from typing import Any

from nearfar import config
from nearfar.methods import load_method_class
from nearfar.presets import METHODS, PRESETS

HERE = Path(__file__).parent / "reference"


def field_docs(kind: type) -> dict[str, str]:
    """The string below each field of a dataclass and of its bases."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = ast.parse(inspect.getsource(base)).body[0].body  # type: ignore[attr-defined]
        for node, after in pairwise(body):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                docs[node.target.id] = " ".join(str(after.value.value).split())  # type: ignore[union-attr]
    return docs


def default(field: Any) -> str:
    """The default of a field as it is written in YAML or on the command line."""
    value = field.default_factory() if field.default is dataclasses.MISSING else field.default
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "(none)"
    return "(none)" if value is None or value == {} else str(value)


def table(kind: type, prefix: str, skip: tuple[str, ...] = ()) -> list[str]:
    """A Markdown table of the fields of a dataclass."""
    docs = field_docs(kind)
    rows = ["| key | default | meaning |\n| --- | --- | --- |"]
    for field in dataclasses.fields(kind):
        if field.name not in skip:
            meaning = docs.get(field.name, "").replace("|", "\\|")
            rows.append(f"| `{prefix}.{field.name}` | `{default(field)}` | {meaning} |")
    return rows


def configuration() -> str:
    """The page of all settings."""
    lines = ["# Configuration", "", "Written by `docs/generate.py` from the code.", ""]
    lines += [
        "Values come from the preset, then from a YAML file (`--config`), then from flags (`--train.lr 0.001`).",
        "",
    ]
    sections = {"data": config.DataConfig, "views": config.ViewsConfig, "encoder": config.EncoderConfig,
                "train": config.TrainConfig, "eval": config.EvalConfig}  # fmt: skip
    for name, kind in sections.items():
        lines += [f"## {name}", "", (kind.__doc__ or "").strip(), "", *table(kind, name), ""]
    for name in METHODS:
        kind = load_method_class(name).Config
        lines += [f"## method: {name}", "", METHODS[name].summary + ".", "", *table(kind, "method"), ""]
    lines += ["## Presets", "", "| preset | method | changes |", "| --- | --- | --- |"]
    for name, preset in PRESETS.items():
        changes = ", ".join(f"`{k}: {v}`" for k, v in preset.overrides.items()) or "none"
        lines.append(f"| `{name}` | `{preset.method}` | {changes} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "configuration.md").write_text(configuration(), encoding="utf-8")
