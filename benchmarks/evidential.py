"""The evidential loss against the published algorithm: time and memory of forward and backward.

    python benchmarks/evidential.py

The baseline is SpatialCL's algorithm, written from its description: similarity, uncertainty and ranks as dense [n, n]
tensors, a Python loop over rows for the ranks, float masks, the clamped ratio. Ours is the principled dense form. Both
run alternately in one process on the same embeddings (n rows of 128 dimensions, 10 classes, two views an image), one
thread; the time is the median CPU time of the rounds. Memory is how far a fresh process's resident set grows above what
it was just before forward and backward (Linux: the peak is reset through /proc).
Writes benchmarks/results/evidential.json.
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
import torch.nn.functional as F
from torch import Tensor

from nearfar.losses import evidential

RESULTS = Path(__file__).parent / "results" / "evidential.json"
TEMPERATURE, EPOCH, EPOCHS = 0.1, 37, 100


def inputs(n: int) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    z = torch.randn(n, 128, generator=source).requires_grad_()
    ids = torch.arange(n) // 2
    return z, ids % 10, ids


def published(z: Tensor, labels: Tensor, ids: Tensor, eps: float = 1e-12) -> Tensor:
    """SpatialCL's loss step by step, with the intermediate tensors that its description names."""
    z = F.normalize(z, dim=1, eps=1e-8)
    n = len(z)
    weights = _published_ranks(_published_uncertainty(z, labels))
    eye = torch.eye(n, dtype=torch.bool)
    same = labels[:, None] == labels[None]
    same[eye] = False
    strong = (ids[:, None] == ids[None]) & same
    weak = same & ~strong
    w = torch.zeros_like(weights)
    w[strong] = 1.0
    w[weak] = weights[weak]
    s = z @ z.T / TEMPERATURE
    s = s - s.max(1, keepdim=True).values
    t = s.exp().clamp(min=eps)
    negative = (~same).float()
    rivals = t * negative
    beta = rivals / (rivals.sum(1, keepdim=True) + eps)
    total = (beta * rivals).sum(1, keepdim=True)
    attraction = w * t
    ratio = (attraction / (attraction + total + eps)).clamp(min=eps)
    losses = -(ratio.log() * same.float()).sum(1) / (same.float().sum(1) + eps)
    return losses[same.any(1)].mean()


def _published_uncertainty(z: Tensor, labels: Tensor, prior_weight: float = 2.0) -> Tensor:
    s = z @ z.T
    s = s * (1 - torch.eye(len(z)))
    near, far = torch.softmax(s, 1), torch.softmax(1 - s, 1)
    total = near.exp() + far.exp() + prior_weight
    return prior_weight / total * (labels[:, None] == labels[None]).float()


def _published_ranks(u: Tensor) -> Tensor:
    n = len(u)
    order = u.argsort(dim=1, descending=True)
    ranks = torch.zeros_like(u)
    for i in range(n):
        ranks[i, order[i]] = torch.arange(n, dtype=u.dtype)
    return 1 + torch.exp(-(EPOCH / EPOCHS) * ranks / n)


def principled(z: Tensor, labels: Tensor, ids: Tensor) -> Tensor:
    return evidential(z, labels, ids, progress=EPOCH / EPOCHS, temperature=TEMPERATURE)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"published": published, "nearfar": principled}


def seconds(n: int, rounds: int) -> dict[str, float]:
    """Median seconds of forward and backward, the two alternating."""
    z, labels, ids = inputs(n)
    taken: dict[str, list[float]] = {name: [] for name in LOSSES}
    for round_ in range(rounds + 1):
        for name, loss in LOSSES.items():
            z.grad = None
            start = time.process_time()
            loss(z, labels, ids).backward()
            if round_:  # the first one warms up
                taken[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def peak(name: str, n: int) -> float:
    """MiB that the resident set of a fresh process grows during forward and backward."""
    command = [sys.executable, __file__, "--worker", name, "--memory-rows", str(n)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def work(name: str, n: int) -> None:
    LOSSES[name](*inputs(64)).backward()
    full = inputs(n)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmHWM")
    LOSSES[name](*full).backward()
    print((_resident("VmHWM") - before) / 1024)


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time-rows", type=int, default=1024)
    parser.add_argument("--memory-rows", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--worker", choices=list(LOSSES), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.worker:
        work(options.worker, options.memory_rows)
        return
    taken = seconds(options.time_rows, options.rounds)
    used = {name: peak(name, options.memory_rows) for name in LOSSES}
    record = {
        "time": {"rows": options.time_rows, "seconds": taken, "ratio": taken["published"] / taken["nearfar"]},
        "memory": {"rows": options.memory_rows, "MiB": used, "ratio": used["published"] / used["nearfar"]},
    }
    print(f"n = {options.time_rows}: published {taken['published']:.3f} s, nearfar {taken['nearfar']:.3f} s", end="")
    print(f", {record['time']['ratio']:.2f} times faster (CPU time, forward and backward, median)")
    print(
        f"n = {options.memory_rows}: published {used['published']:.0f} MiB, nearfar {used['nearfar']:.0f} MiB", end=""
    )
    print(f", {record['memory']['ratio']:.2f} times less peak memory")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
