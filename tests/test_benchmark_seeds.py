"""What benchmarks over seeds share: they go on where they stopped, and lose nothing that others measured meanwhile."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import seeds


def test_arms_are_measured_once_and_other_processes_results_are_kept(tmp_path: Path) -> None:
    out, log = tmp_path / "results.json", []
    flags = ["--seeds", "0", "1", "--arms", "a b", "--out", str(out)]

    def generate(world: Path, seed: int) -> None:
        log.append(f"world {seed}")
        world.mkdir()

    def measure(arm: str, seed: int, world: Path, folder: Path) -> dict[str, Any]:
        assert world.is_dir() and not folder.exists() and " " not in folder.name
        log.append(f"{arm} {seed}")
        if seed == 1:  # another process finishes a seed meanwhile
            content = json.loads(out.read_text())
            content["runs"]["7"] = {"a b": {"auc": 0.7}}
            out.write_text(json.dumps(content))
        return {"auc": seed / 10}

    def run(*more: str) -> dict[str, Any]:
        args = seeds.parser("", ["a b", "c"], out).parse_args([*flags, *more])
        return seeds.run(args, generate, measure, lambda runs: {"seeds": sorted(runs)})

    assert run("--summary") == {"runs": {}, "seeds": []} and not log
    content = run()
    assert log == ["world 0", "a b 0", "world 1", "a b 1"]
    assert content["runs"] == {"0": {"a b": {"auc": 0.0}}, "7": {"a b": {"auc": 0.7}}, "1": {"a b": {"auc": 0.1}}}
    assert json.loads(out.read_text()) == content and content["seeds"] == ["0", "1", "7"]
    assert run() == content and len(log) == 4
    with pytest.raises(SystemExit):
        run("--arms", "d")


def test_the_interval_is_that_of_students_t() -> None:
    found = seeds.interval([1.0, 2.0, 3.0])
    assert found == pytest.approx({"value": 2.0, "low": -0.4841, "high": 4.4841, "seeds": 3}, abs=1e-3)
    assert seeds.interval([1.0]) == {"value": 1.0, "seeds": 1}
