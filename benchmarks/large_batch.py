"""A batch of tens of thousands of images in one step: two passes of a small network, the loss over tiles between them.

    python benchmarks/large_batch.py                     # 16,384 images, two views each, one thread
    python benchmarks/large_batch.py --images 65536

Prints, and writes to benchmarks/results/large_batch.json, the CPU time of the step, the share of the loss (forward and
backward over all projections, between the two passes), and the peak memory above what the process held with its input
(Linux). Views of random numbers, 3 x 32 x 32 in half precision; three strided convolutions, 128 dimensions; NT-Xent.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.losses import nt_xent
from nearfar.methods.base import Output
from nearfar.train.gradcache import two_pass_step

RESULTS = Path(__file__).parent / "results" / "large_batch.json"


class Small(nn.Module):
    """What the step asks of a method; notes when the loss begins and when the second pass does."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [3, width, 2 * width, 4 * width]
        layers = [m for a, b in pairwise(sizes) for m in (nn.Conv2d(a, b, 3, 2, 1), nn.ReLU())]
        self.net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 128))
        self.began: float | None = None
        self.loss_seconds: float | None = None

    def project(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        if self.began is not None and self.loss_seconds is None:
            self.loss_seconds = time.process_time() - self.began
        views = batch["views"].float()
        return {"z": self.net(views.flatten(0, 1)).view(*views.shape[:2], -1)}

    def criterion(self, projections: dict[str, Tensor], _batch: dict[str, Any]) -> Output:
        self.began = time.process_time()
        return Output(nt_xent(projections["z"]))


def megabytes(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16384)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(1)
    method: Any = Small(args.width)
    batch = {"views": torch.randn(args.images, 2, 3, 32, 32, dtype=torch.float16)}
    Path("/proc/self/clear_refs").write_text("5")
    before, start = megabytes("VmRSS"), time.process_time()
    two_pass_step(
        method, batch, args.chunk, project=method.project, backward=torch.Tensor.backward, unsynced=nullcontext
    )
    seconds = time.process_time() - start
    record = {"images": args.images, "seconds": seconds, "loss_seconds": method.loss_seconds}
    record["MB"] = megabytes("VmHWM") - before
    print(f"{args.images:,} images: {seconds:.1f} s, loss {method.loss_seconds / seconds:.1%}, {record['MB']:.0f} MB")
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    kept = [r for r in known if r["images"] != args.images]
    RESULTS.write_text(
        json.dumps(sorted([*kept, record], key=lambda r: r["images"]), indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
