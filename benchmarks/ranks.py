"""CLIP over processes: both sides from one pass over tiles, from two one-sided passes, and round a ring.

    python benchmarks/ranks.py                # two gloo processes of one thread, 4,096 rows in all

Prints medians of the CPU time of rank 0, forward and backward, the forms in turn; writes
benchmarks/results/ranks.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from core import DIM, OURS, TEMPERATURE, Loss, halves, inputs, once

from nearfar.losses import clip_loss, info_nce

RESULTS = Path(__file__).parent / "results" / "ranks.json"


def two_passes(z: Tensor, _labels: Tensor, _ids: Tensor) -> Tensor:
    a, b = halves(z)
    return (info_nce(a, b, temperature=TEMPERATURE) + info_nce(b, a, temperature=TEMPERATURE)) / 2


FORMS: dict[str, Loss] = {
    "one pass": OURS["clip_loss"][0],
    "two passes": two_passes,
    "ring": lambda z, _y, _i: clip_loss(*halves(z), scale=1 / TEMPERATURE, exchange="ring"),
}


def work(rank: int, world: int, rows: int, rounds: int, folder: str) -> None:
    """CPU seconds of this rank's share of the rows, a list for each form; rank 0 writes its own into the folder."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    data = inputs(rows // world)
    taken: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(rounds + 1):  # the first warms up
        for form, loss in FORMS.items():
            taken[form].append(once(loss, data, time.process_time))
    if rank == 0:
        Path(folder, "times.json").write_text(json.dumps({form: times[1:] for form, times in taken.items()}))
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (args.ranks, args.rows, args.rounds, folder), nprocs=args.ranks)
        taken: dict[str, list[float]] = json.loads(Path(folder, "times.json").read_text())
    seconds = {form: statistics.median(times) for form, times in taken.items()}
    for form, value in seconds.items():
        print(f"{form:<12} {value:.3f} s, {value / seconds['one pass']:.2f} times one pass")
    setting = {"rows": args.rows, "ranks": args.ranks, "dim": DIM, "load": os.getloadavg()[0]}
    RESULTS.write_text(json.dumps({"setting": setting, "seconds": seconds}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
