"""Write the reference pages from the code: `python docs/generate.py`. A test fails where they are out of date."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from result_tables import FILES, TABLES

from nearfar import config
from nearfar.methods import load_method_class
from nearfar.presets import METHODS, PRESETS
from nearfar.scenes.config import SceneConfig, SceneData, SceneEval, SceneTrain
from nearfar.scenes.object_options import ObjectOptions
from nearfar.scenes.point_options import PointOptions
from nearfar.scenes.presets import SCENE_PRESETS

ROOT = Path(__file__).resolve().parents[1]


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
    if field.default is field.default_factory is dataclasses.MISSING:
        return "(needed)"
    value = field.default_factory() if field.default is dataclasses.MISSING else field.default
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "(none)"
    return "(none)" if value is None or value == {} else str(value)


def shown(value: Any) -> str:
    """A value of a preset; of stages their names and epochs."""
    if isinstance(value, tuple) and value and isinstance(value[0], config.Stage):
        return ", ".join(f"{stage.name} ({stage.epochs})" for stage in value)
    return str(value)


def table(kind: type, prefix: str, skip: tuple[str, ...] = ()) -> list[str]:
    """A Markdown table of the fields of a dataclass."""
    docs = field_docs(kind)
    rows = ["| key | default | meaning |\n| --- | --- | --- |"]
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.default_factory):
            rows += table(field.default_factory, f"{prefix}.{field.name}")[1:]
        elif field.name not in skip:
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
    lines += ["## train.stages, each", "", inspect.getdoc(config.Stage) or "", ""]
    lines += [*table(config.Stage, "train.stages[]"), ""]
    for name in METHODS:
        kind = load_method_class(name).Config
        lines += [f"## method: {name}", "", METHODS[name].summary + ".", "", *table(kind, "method"), ""]
    lines += ["## Presets", "", "| preset | method | changes |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | `{p.method}` | {changes(p.overrides)} |" for name, p in PRESETS.items()]
    return "\n".join([*lines, "", *scenes_and_objects()]) + "\n"


def changes(overrides: Mapping[str, Any]) -> str:
    """What a preset sets, in one line."""
    return ", ".join(f"`{key}: {shown(value)}`" for key, value in overrides.items()) or "none"


def scenes_and_objects() -> list[str]:
    """The settings of `nearfar train smcl --task scene` and `--task objects`, and their presets."""
    lines = ["## Scenes and objects", ""]
    lines += ["`nearfar train smcl --task scene` and `--task objects` have settings of their own, and presets of their"]
    lines += ["own (`--preset`). The defaults are those of the preset `demo`.", ""]
    sections = {"data": SceneData, "points": PointOptions, "objects": ObjectOptions,
                "train": SceneTrain, "eval": SceneEval}  # fmt: skip
    for name, kind in sections.items():
        about = (inspect.getdoc(kind) or "").partition("\n")[0]
        lines += [f"### Scenes and objects: {name}", "", about, "", *table(kind, name), ""]
    lines += ["### Presets of scenes and objects", "", "| preset | task | changes |", "| --- | --- | --- |"]
    for name, preset in SCENE_PRESETS.items():
        for task, overrides in preset.tasks.items():
            told = {key: value for key, value in overrides.items() if value != _plain(key)}
            lines.append(f"| `{name}` | `{task}` | {changes(told)} |")
    return lines


def _plain(key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(SceneConfig("demo"), section), name)


def filled(page: Path) -> str:
    """The page with every `<!-- table: NAME -->` block made anew from benchmarks/results/NAME.json."""

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        source = ROOT / "benchmarks" / "results" / f"{FILES.get(name, name)}.json"
        results = json.loads(source.read_text(encoding="utf-8"))
        return "\n".join([f"<!-- table: {name} -->", "", *TABLES[name](results), "", "<!-- end -->"])

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end -->", fill, page.read_text(encoding="utf-8"), flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Every page that holds generated text, as it should be."""
    texts = {ROOT / "docs/reference/configuration.md": configuration()}
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        if "<!-- table:" in page.read_text(encoding="utf-8"):
            texts[page] = filled(page)
    return texts


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
