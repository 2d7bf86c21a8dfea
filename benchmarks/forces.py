"""Force banners of 180 directions and 101 forces: time a pair against the classic algorithm, and accuracy.

    python benchmarks/forces.py

Five scenes of two objects (apart, near, overlapping, one on the other, one round the other) at 64 and 128 pixels, one
thread. Contestants alternate, each goes first in turn, CPU time a pair is the mean over the scenes:

    double, single      `force_banner` of one pair of boolean masks, and of float32 ones
    torch_double, ..    the same of a batch of 16 tensors
    classic             Matsakis and Wendling's raster-line algorithm, compiled by numba: lines of pixels in every
                        direction, runs of A and B on each, the closed form of every pair of runs for every force
    classic_table       the same with t^(2 - r) looked up, which whole run lengths allow

Loader: pairs of the relations world drawn at 96 and at 384 pixels, crops of 64, nothing cached: the loader alone, and
with banners of 24 and of 101 forces made on the fly from the grey masks of each batch.

Accuracy: the pixel form against the polygons of the same outlines (independent derivations), and the classic form
against the pixel form. Writes benchmarks/results/forces.json.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from nearfar.config import DataConfig
from nearfar.data import make_loader, open_dataset
from nearfar.data.pairs import PairDataset
from nearfar.data.synthetic.relations import generate
from nearfar.spatial import force_banner, polygon_banner
from nearfar.spatial.force_options import FORCES

RESULTS = Path(__file__).parent / "results" / "forces.json"
DIRECTIONS = 180
BATCH = 16
REPEAT = 4
TARGETS = {"ms_at_128": 1.0, "faster_than_classic": 25.0, "torch_over_numpy": 2.0, "loader": 1.3}
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


def ellipse(n: int, x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Mask:
    v, u = (np.mgrid[:n, :n] + 0.5) / n
    c, s = math.cos(turn), math.sin(turn)
    along, across = (u - x) * c + (v - y) * s, (v - y) * c - (u - x) * s
    return np.asarray((along / rx) ** 2 + (across / ry) ** 2 < 1)


def scenes(n: int) -> list[tuple[Mask, Mask]]:
    horse = ellipse(n, 0.5, 0.65, 0.4, 0.2)
    return [
        (ellipse(n, 0.25, 0.3, 0.2, 0.12, 0.6), ellipse(n, 0.74, 0.66, 0.2, 0.26, 0.3)),
        (ellipse(n, 0.3, 0.45, 0.22, 0.3, 0.2), ellipse(n, 0.76, 0.5, 0.2, 0.4)),
        (ellipse(n, 0.4, 0.4, 0.3, 0.25, 0.4), ellipse(n, 0.6, 0.6, 0.3, 0.3)),
        (ellipse(n, 0.5, 0.3, 0.1, 0.25) & ~horse, horse),
        (ellipse(n, 0.5, 0.5, 0.15, 0.15), ellipse(n, 0.5, 0.5, 0.45, 0.42) & ~ellipse(n, 0.5, 0.5, 0.25, 0.25)),
    ]


@numba.njit  # type: ignore[untyped-decorator]
def antiderivative(t: float, r: float) -> float:
    """G with G'' = t^-r, 0 for t <= 0."""
    if t <= 0.0:
        return 0.0
    if r == 1.0:
        return t * math.log(t) - t
    if r == 2.0:
        return -math.log(t)
    return t ** (2.0 - r) / ((1.0 - r) * (2.0 - r))


@numba.njit  # type: ignore[untyped-decorator]
def add_runs(a: Any, b: Any, counts: Any, r: Any, step: float, table: Any, out: Any) -> None:
    """Add all pairs of runs of one line; `step` is the distance of its pixels, 1 / step that of the lines."""
    for i in range(counts[0]):
        for j in range(counts[1]):
            t = (a[i, 1] - b[j, 0], a[i, 0] - b[j, 0], a[i, 1] - b[j, 1], a[i, 0] - b[j, 1])
            if t[0] <= 0:
                continue
            for k in range(r.size):
                if (r[k] >= 1.0 and t[3] < 0) or (r[k] >= 2.0 and t[3] == 0):
                    out[k] = math.inf
                elif table.size:
                    g = table[t[0], k] - table[max(t[1], 0), k] - table[max(t[2], 0), k] + table[max(t[3], 0), k]
                    out[k] += step ** (1.0 - r[k]) * g
                else:
                    g = antiderivative(t[0], r[k]) - antiderivative(t[1], r[k])
                    g += antiderivative(t[3], r[k]) - antiderivative(t[2], r[k])
                    out[k] += step ** (1.0 - r[k]) * g


@numba.njit  # type: ignore[untyped-decorator]
def classic(a: Mask, b: Mask, directions: int, r: Floats, table: Floats) -> Floats:
    """[len(r), directions] by lines of pixels of square masks."""
    n = a.shape[0]
    out = np.zeros((directions, r.size))
    runs = np.zeros((2, n + 1, 2), np.int64)
    counts = np.zeros(2, np.int64)
    for d in range(directions):
        theta = 2 * math.pi * d / directions
        c, s = math.cos(theta), math.sin(theta)
        flat = abs(c) >= abs(s)
        main, side = (c, s) if flat else (s, c)
        slope, reach = side / abs(main), int(n * abs(side / main)) + 1
        for line in range(-reach, n + reach):
            counts[:] = 0
            before_a, before_b = False, False
            for k in range(n + 1):
                on_a, on_b = False, False
                across = line + math.floor(k * slope + 0.5)
                if k < n and 0 <= across < n:
                    along = k if main > 0 else n - 1 - k
                    row, column = (n - 1 - across, along) if flat else (n - 1 - along, across)
                    on_a, on_b = a[row, column], b[row, column]
                if on_a != before_a:
                    runs[0, counts[0], 0 if on_a else 1] = k
                    counts[0] += 0 if on_a else 1
                if on_b != before_b:
                    runs[1, counts[1], 0 if on_b else 1] = k
                    counts[1] += 0 if on_b else 1
                before_a, before_b = on_a, on_b
            add_runs(runs[0], runs[1], counts, r, 1.0 / abs(main), table, out[d])
    return out.T


def make_table(n: int) -> Floats:
    return np.array([[antiderivative(float(t), r) for r in FORCES] for t in range(n + 1)])


def contestants(n: int) -> dict[str, Callable[[], object]]:
    """Each does all five scenes, the quick ones some times over so that they are not timed with a cold cache."""
    pairs = scenes(n)
    again = pairs * REPEAT
    floats = [(a.astype(np.float32), b.astype(np.float32)) for a, b in again]
    stacks = [np.stack([pairs[i % 5][k] for i in range(BATCH)]) for k in (0, 1)]
    single, double = ([torch.tensor(m, dtype=dtype) for m in stacks] for dtype in (torch.float32, torch.float64))
    r, none, table = np.array(FORCES), np.zeros((0, 0)), make_table(n)
    return {
        "double": lambda: [force_banner(a, b) for a, b in again],
        "single": lambda: [force_banner(a, b) for a, b in floats],
        "torch_double": lambda: force_banner(*double),
        "torch_single": lambda: force_banner(*single),
        "classic": lambda: [classic(a, b, DIRECTIONS, r, none) for a, b in pairs],
        "classic_table": lambda: [classic(a, b, DIRECTIONS, r, table) for a, b in pairs],
    }


def time_all(n: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU a pair, median and least over the rounds."""
    calls = contestants(n)
    for call in calls.values():
        call()  # builds plans, compiles
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = time.process_time()
            calls[name]()
            pairs = BATCH if "torch" in name else 5 if "classic" in name else 5 * REPEAT
            times[name].append((time.process_time() - start) * 1e3 / pairs)
    return {name: {"median": statistics.median(t), "least": min(t)} for name, t in times.items()}


def relative(got: Floats, expected: Floats) -> float:
    """Largest difference in parts of the row's maximum, over rows that are finite in both."""
    finite = np.isfinite(got).all(1) & np.isfinite(expected).all(1)
    top = expected[finite].max(1, keepdims=True)
    return float((np.abs(got - expected)[finite] / top).max())


def accuracy() -> dict[str, float]:
    a, b = np.zeros((2, 64, 64), bool)
    a[8:20, 10:40], b[30:52, 20:50] = True, True
    b[36:44, 30:38] = False
    hook, ring, hole = ((x0, y0, x1, y1) for x0, y0, x1, y1 in ((10, 8, 40, 20), (20, 30, 50, 52), (30, 36, 38, 44)))
    rings = [np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float) for x0, y0, x1, y1 in (hook, ring, hole)]
    exact = force_banner(a, b, normalize="none", policy="inf")
    polygons = polygon_banner(rings[0], rings[1:], normalize="none", policy="inf")
    lines = classic(a, b, DIRECTIONS, np.array(FORCES), np.zeros((0, 0)))
    singles = force_banner(a.astype(np.float32), b.astype(np.float32), normalize="none", policy="inf")
    return {
        "pixels_against_polygons": relative(exact, polygons),
        "single_precision": relative(singles.astype(float), exact),
        "classic": relative(lines, exact),
    }


def time_loader(picture: int, rounds: int) -> dict[str, float]:
    """Milliseconds of CPU a pair, medians, and ratios to the loader without banners."""
    with tempfile.TemporaryDirectory() as folder:
        root = generate(Path(folder) / "world", n=24, size=picture)
        scan = open_dataset(DataConfig(root=root, size=64), "all")
        assert isinstance(scan, PairDataset)
        dataset = PairDataset(scan.records, scan.classes, scan.root, size=64, cache_bytes=0)
        return _loader_ratios(dataset, rounds)


def _loader_ratios(dataset: PairDataset, rounds: int) -> dict[str, float]:
    def banners(rows: int) -> Callable[[Any], Any]:
        forces = np.linspace(FORCES[0], FORCES[-1], rows).tolist()

        def view(batch: Any) -> Any:
            masks = batch["masks"].numpy()
            return {**batch, "banner": torch.from_numpy(force_banner(masks[:, 0], masks[:, 1], forces))}

        return view

    kinds: dict[str, Any] = {"none": None, "24": banners(24), "101": banners(101)}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for i in range(rounds + 1):
        for name in (list(kinds), list(kinds)[::-1])[i % 2]:
            start = time.process_time()
            for _ in make_loader(dataset, batch_size=16, views=kinds[name], sampler="sequential", drop_last=False):
                pass
            if i:  # the first round builds plans
                times[name].append((time.process_time() - start) * 1e3 / len(dataset))
    median = {name: statistics.median(t) for name, t in times.items()}
    return {**median, "ratio_24": median["24"] / median["none"], "ratio_101": median["101"] / median["none"]}


def judge(times: dict[str, dict[str, float]]) -> dict[str, float]:
    ms = {name: value["median"] for name, value in times.items()}
    return {
        "classic_over_double": ms["classic"] / ms["double"],
        "classic_over_single": ms["classic"] / ms["single"],
        "classic_table_over_double": ms["classic_table"] / ms["double"],
        "torch_over_numpy_double": ms["torch_double"] / ms["double"],
        "torch_over_numpy_single": ms["torch_single"] / ms["single"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    times = {str(n): time_all(n, options.rounds) for n in (64, 128)}
    ratios = {n: judge(t) for n, t in times.items()}
    large, ratio = times["128"], ratios["128"]
    loader = {str(picture): time_loader(picture, 5) for picture in (96, 384)}
    record = {
        "setting": {
            "directions": DIRECTIONS,
            "forces": len(FORCES),
            "rounds": options.rounds,
            "threads": 1,
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
        "milliseconds_a_pair": times,
        "ratios_of_medians": ratios,
        "loader": loader,
        "accuracy": accuracy(),
        "targets": TARGETS,
        "reached": {
            "ms_at_128_double": large["double"]["median"] <= TARGETS["ms_at_128"],
            "ms_at_128_single": large["single"]["median"] <= TARGETS["ms_at_128"],
            "faster_than_classic": ratio["classic_over_double"] >= TARGETS["faster_than_classic"],
            "torch_double": ratio["torch_over_numpy_double"] <= TARGETS["torch_over_numpy"],
            "torch_single": ratio["torch_over_numpy_single"] <= TARGETS["torch_over_numpy"],
            **{
                f"loader_{picture}_{rows}": loader[picture][f"ratio_{rows}"] <= TARGETS["loader"]
                for picture in loader
                for rows in (24, 101)
            },
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
