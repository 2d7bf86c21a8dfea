"""The contrast core against lightly, pytorch-metric-learning, open_clip, plain PyTorch and the published algorithm.

    python benchmarks/core.py                            # time at 4,096 and 8,192 rows, all contestants alternating
    python benchmarks/core.py --growth 4096 65536        # time and memory, every doubling between the two

Forward and backward of rows of 128 dimensions in float32, 10 classes, two views an image. Time with one thread is the
process's CPU time, so that a busy machine disturbs it less; the smallest and the median of the rounds are kept, and
ratios are of medians. Growth runs each size in a fresh process, whose peak resident set above the inputs is its memory
(Linux). The least possible time counts the products of forward and recomputed backward, 2 N^2 d operations each, at the
rate of matrix products of the same process: of the fastest, and of torch.mm alone. Peers come from the extra `bench`;
those not installed are left out.
Results are merged into benchmarks/results/core.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from evidential import published

from nearfar.losses import clip_loss, evidential, hcl, info_nce, nt_xent, supcon
from nearfar.losses.core.products import outer

RESULTS = Path(__file__).parent / "results" / "core.json"
DIM, CLASSES, TEMPERATURE, PROGRESS = 128, 10, 0.1, 0.37
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""loss(z [N, D], labels [N], ids [N]); rows 2i and 2i + 1 show image i"""


def inputs(n: int) -> tuple[Tensor, Tensor, Tensor]:
    z = torch.randn(n, DIM, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ids = torch.arange(n) // 2
    return z, ids % CLASSES, ids


def halves(z: Tensor) -> tuple[Tensor, Tensor]:
    """Two views [N, D] with N = the rows of z: the second is z in another order."""
    return z, z.roll(1, 0)


def dense_nt_xent(z: Tensor, _labels: Tensor, ids: Tensor) -> Tensor:
    z = F.normalize(z, dim=1)
    s = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return F.cross_entropy(s, torch.arange(len(z)) ^ 1)


def dense_supcon(z: Tensor, labels: Tensor, _ids: Tensor) -> Tensor:
    z = F.normalize(z, dim=1)
    s = z @ z.T / TEMPERATURE
    s = s - s.max(1, keepdim=True).values.detach()
    other = 1 - torch.eye(len(z))
    positive = (labels[:, None] == labels[None]).float() * other
    log_p = s - (s.exp() * other).sum(1, keepdim=True).log()
    return -((positive * log_p).sum(1) / positive.sum(1)).mean()


def dense_clip(z: Tensor, _labels: Tensor, _ids: Tensor) -> Tensor:
    a, b = (F.normalize(x, dim=1) for x in halves(z))
    s, target = a @ b.T / TEMPERATURE, torch.arange(len(z))
    return (F.cross_entropy(s, target) + F.cross_entropy(s.T, target)) / 2


def peers() -> dict[str, dict[str, Loss]]:
    found: dict[str, dict[str, Loss]] = {"nt_xent": {}, "supcon": {}, "clip_loss": {}}
    if find_spec("lightly"):
        from lightly.loss import NTXentLoss

        lightly = NTXentLoss(temperature=TEMPERATURE)
        found["nt_xent"]["lightly"] = lambda z, _y, _i: lightly(z[0::2], z[1::2])
    if find_spec("pytorch_metric_learning"):
        from pytorch_metric_learning.losses import SupConLoss

        metric = SupConLoss(temperature=TEMPERATURE)
        found["supcon"]["pytorch-metric-learning"] = lambda z, y, _i: metric(z, y)
    if find_spec("open_clip"):
        from open_clip.loss import ClipLoss

        clip, scale = ClipLoss(), torch.tensor(1 / TEMPERATURE)
        found["clip_loss"]["open_clip"] = lambda z, _y, _i: clip(*(F.normalize(x, dim=1) for x in halves(z)), scale)
    return found


def contestants() -> dict[str, dict[str, Loss]]:
    """Loss -> contestant -> call; ours comes first."""
    table: dict[str, dict[str, Loss]] = {
        "nt_xent": {"nearfar": lambda z, _y, i: nt_xent(z, i), "torch": dense_nt_xent},
        "supcon": {"nearfar": lambda z, y, _i: supcon(z, y), "torch": dense_supcon},
        "clip_loss": {"nearfar": lambda z, _y, _i: clip_loss(*halves(z), scale=1 / TEMPERATURE), "torch": dense_clip},
        "evidential": {
            "nearfar": lambda z, y, i: evidential(z, y, i, progress=PROGRESS),
            "nearfar, published form": lambda z, y, i: evidential(z, y, i, progress=PROGRESS, mode="reference"),
            "published": published,
        },
    }
    for name, found in peers().items():
        table[name] |= found
    return table


OURS: dict[str, tuple[Loss, float]] = {
    "nt_xent": (lambda z, _y, i: nt_xent(z, i), 2),
    "supcon": (lambda z, y, _i: supcon(z, y), 2),
    "clip_loss": (lambda z, _y, _i: clip_loss(*halves(z), scale=1 / TEMPERATURE), 4),
    "info_nce": (lambda z, _y, _i: info_nce(*halves(z)), 4),
    "hcl": (lambda z, _y, i: hcl(z, i, temperature=0.5), 2),
    "evidential": (lambda z, y, i: evidential(z, y, i, progress=PROGRESS), 2 + 4 / CLASSES),
    "evidential, published form": (
        lambda z, y, i: evidential(z, y, i, progress=PROGRESS, mode="reference"),
        2.5 + 4 / CLASSES,
    ),
}
"""Our losses with the products they cannot do without, in units of 2 N^2 d operations; class blocks count 4 / C."""


def once(loss: Loss, data: tuple[Tensor, Tensor, Tensor], clock: Callable[[], float]) -> float:
    data[0].grad = None
    start = clock()
    loss(*data).backward()
    return clock() - start


def speed(sizes: list[int], rounds: int) -> list[dict[str, Any]]:
    """All contestants of a loss in turn, round by round."""
    records = []
    for n in sizes:
        data = inputs(n)
        for name, losses in contestants().items():
            runners = {who: call for who, call in losses.items() if n <= 4096 or who != "published"}
            taken: dict[str, list[float]] = {who: [] for who in runners}
            for _ in range(rounds):
                for who, call in runners.items():
                    taken[who].append(once(call, data, time.process_time))
            ours = statistics.median(taken["nearfar"])
            for who, times in taken.items():
                ratio = statistics.median(times) / ours
                records.append(
                    {"rows": n, "loss": name, "who": who, "least": min(times), "median": statistics.median(times)}
                    | {"over_nearfar": ratio}
                )
                print(f"{n:6d} {name:12s} {who:26s} {statistics.median(times):8.3f} s {ratio:7.2f} x", flush=True)
    return records


def product_rates() -> tuple[float, float]:
    """Operations a second of matrix products with 128 inner dimensions, of tiles and of large ones: the best of
    torch.mm, and the best of that and the products that the core takes."""
    plain = fastest = 0.0
    for n in (512, 4096):
        x, out = torch.randn(n, DIM), torch.empty(n, n)
        repeats = max(1, 2**20 // n**2)
        for _ in range(2**24 // n**2 * 4):
            plain = max(plain, _rate(lambda: torch.mm(x, x.T, out=out), n, repeats))  # noqa: B023
            fastest = max(fastest, _rate(lambda: outer(x, x), n, repeats))  # noqa: B023
    return plain, max(plain, fastest)


def _rate(product: Callable[[], Tensor], n: int, repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        product()
    return 2 * n * n * DIM * repeats / (time.process_time() - start)


def work(name: str, n: int) -> None:
    """One size in this process: seconds, MB above the inputs, and the least possible seconds."""
    loss, units = OURS[name]
    rates = product_rates()
    once(loss, inputs(2048), time.process_time)
    data = inputs(n)
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    seconds = once(loss, data, time.process_time)
    if n <= 8192:
        seconds = min([seconds, *(once(loss, data, time.process_time) for _ in range(4))])
    record = {"rows": n, "loss": name, "seconds": seconds, "MB": (_peak() - before) * 1024 / 1e6}
    work_needed = units * 2 * n * n * DIM
    plain, fastest = (work_needed / max(pair) for pair in zip(rates, product_rates(), strict=True))
    print(json.dumps(record | {"least_seconds": fastest, "least_seconds_blas": plain, "units": units}))


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def growth(names: list[str], first: int, last: int) -> list[dict[str, Any]]:
    records = []
    for name in names:
        previous: dict[str, Any] | None = None
        n = first
        while n <= last:
            command = [sys.executable, __file__, "--worker", name, "--sizes", str(n)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            record = json.loads(output.splitlines()[-1])
            record["over_least"] = record["seconds"] / record["least_seconds"]
            record["over_least_blas"] = record["seconds"] / record["least_seconds_blas"]
            if previous:
                record["time_growth"] = record["seconds"] / previous["seconds"]
                record["memory_growth"] = record["MB"] / previous["MB"]
            records.append(record)
            previous, n = record, 2 * n
            grown = f"doubled {record.get('time_growth', 0):.2f} x {record.get('memory_growth', 0):.2f} x"
            spent = f"{record['seconds']:8.2f} s ({record['over_least']:.2f} x the least) {record['MB']:7.1f} MB"
            print(f"{record['rows']:6d} {name:28s} {spent}, {grown}", flush=True)
    return records


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 8192])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth", type=int, nargs=2, metavar=("FIRST", "LAST"))
    parser.add_argument("--losses", nargs="+", choices=list(OURS), default=list(OURS), help="of --growth")
    parser.add_argument("--worker", choices=list(OURS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.worker:
        work(options.worker, options.sizes[0])
        return
    if options.growth:
        part = {"growth": growth(options.losses, *options.growth)}
    else:
        part = {"speed": speed(options.sizes, options.rounds)}
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.growth:  # other losses' records stay
        part["growth"] = [r for r in known.get("growth", []) if r["loss"] not in options.losses] + part["growth"]
    versions = {"torch": torch.__version__, "cpus": os.cpu_count(), "dim": DIM, "classes": CLASSES}
    versions |= {"load": os.getloadavg()[0], "commit": _commit()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(known | {"setting": versions} | part, indent=1) + "\n")


if __name__ == "__main__":
    main()
