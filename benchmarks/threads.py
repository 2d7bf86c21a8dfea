"""What a second thread gives the contrast core: the same losses on one and on two threads, alternated in one run.

    python benchmarks/threads.py              # on a machine that does nothing else

Prints medians and the ratio of wall times, forward and backward, and what the machine allows: the products of tiles
that two processes of one thread get done together, over those of one alone. Writes benchmarks/results/threads.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from nearfar.losses import clip_loss, evidential, nt_xent, supcon
from nearfar.losses.core.products import outer

RESULTS = Path(__file__).parent / "results" / "threads.json"


def seconds(loss: Callable[[Tensor], Tensor], z: Tensor, threads: int) -> float:
    torch.set_num_threads(threads)
    x = z.clone().requires_grad_()
    start = time.perf_counter()
    loss(x).backward()
    return time.perf_counter() - start


def products(seconds: float) -> float:
    """Products of two tiles a second on one thread."""
    torch.set_num_threads(1)
    x, done = torch.randn(512, 128), 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(20):
            outer(x, x)
        done += 20
    return done / seconds


def limit() -> float:
    """How many times the products of one process two get done at once."""
    products(0.3)
    alone = products(2.0)
    command = [sys.executable, __file__, "--products"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return sum(float(process.communicate()[0]) for process in both) / alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--products", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.products:
        print(products(2.0))
        return
    z, ids = torch.randn(args.rows, 128), torch.arange(args.rows) // 2
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        "nt_xent": lambda x: nt_xent(x, ids),
        "supcon": lambda x: supcon(x, ids % 10),
        "clip_loss": lambda x: clip_loss(x, z, scale=10.0),
        "evidential": lambda x: evidential(x, ids % 10, ids, progress=0.37),
    }
    results = {}
    for name, loss in losses.items():
        times = [[seconds(loss, z, threads) for threads in (1, 2)] for _ in range(args.rounds)]
        one, two = (statistics.median(column) for column in zip(*times, strict=True))
        results[name] = {"one": one, "two": two, "ratio": one / two}
        print(f"{name:<12} one thread {one:.3f} s, two {two:.3f} s: {one / two:.2f} times faster")
    allowed = limit()
    print(f"two processes get {allowed:.2f} times the products of one done")
    RESULTS.write_text(
        json.dumps({"rows": args.rows, "limit": allowed, "losses": results}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
