"""Arms over seeds: what the benchmarks that train several methods on one generated world a seed have in common.

Results are a JSON file {"runs": {seed: {arm: figures}}, ...} that grows arm by arm, so that a benchmark goes on where
it stopped, and several processes may measure different seeds into one file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

Runs = dict[str, dict[str, Any]]


def parser(doc: str | None, arms: Iterable[str], results: Path) -> argparse.ArgumentParser:
    """The flags that all of them have."""
    names = list(arms)
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    made.add_argument("--arms", nargs="*", default=names, choices=names)
    made.add_argument("--out", type=Path, default=results)
    made.add_argument("--folder", type=Path, help="keep worlds and runs here")
    made.add_argument("--summary", action="store_true", help="measure nothing")
    return made


def run(
    args: argparse.Namespace,
    generate: Callable[[Path, int], object],
    measure: Callable[[str, int, Path, Path], dict[str, Any]],
    summary: Callable[[Runs], dict[str, Any]],
) -> dict[str, Any]:
    """Measure the arms that are missing, in one thread; returns {"runs": ..., **summary(runs)} of all there are.

    `generate(folder, seed)` writes the world of a seed, `measure(arm, seed, world, folder)` trains an arm in a new
    folder and returns its figures.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for seed in () if args.summary else args.seeds:
        folder = args.folder or Path(tempfile.mkdtemp())
        world = folder / f"world{seed}"
        for arm in args.arms:
            if arm in read(args.out).get(str(seed), {}):
                continue
            if not world.exists():
                generate(world, seed)
            made = measure(arm, seed, world, folder / f"{arm.replace(' ', '-')}-{seed}")
            print(seed, arm, {name: value for name, value in made.items() if not isinstance(value, dict)}, flush=True)
            runs = read(args.out)  # anew: other seeds may be measured beside this one
            runs.setdefault(str(seed), {})[arm] = made
            content = {"runs": runs, **summary(runs)}
            args.out.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
        if args.folder is None:
            shutil.rmtree(folder)
    runs = read(args.out)
    return {"runs": runs, **summary(runs)}


def read(path: Path) -> Runs:
    """What was measured so far."""
    return dict(json.loads(path.read_text(encoding="utf-8"))["runs"]) if path.is_file() else {}


def interval(values: list[float]) -> dict[str, float]:
    """Mean with its 95 % interval (Student's t) over seeds, where there are two."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return {"value": mean, "seeds": n}
    half = float(stats.t.ppf(0.975, n - 1) * stats.sem(values))
    return {"value": mean, "low": mean - half, "high": mean + half, "seeds": n}
