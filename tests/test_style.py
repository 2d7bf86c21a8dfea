"""The limits that CONTRIBUTING.md sets for files and functions."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "tests", "benchmarks", "examples", "docs")
LINES, FUNCTION_LINES = 330, 60


def sources() -> dict[str, str]:
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def test_no_file_is_two_ideas() -> None:
    counts = {name: len(text.splitlines()) for name, text in sources().items()}
    assert not {name: count for name, count in counts.items() if count > LINES}


def test_no_function_is_longer_than_a_screen() -> None:
    found = {}
    for name, text in sources().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > FUNCTION_LINES:
                    found[f"{name}:{node.lineno} {node.name}"] = count
    assert not found
