"""A MoCo step over groups of bands: all groups in one stacked pass against one pass a group.

    python benchmarks/grouped.py

ResNet-18 with SACo's head (512-1024-512-256), 7 groups of bands and 4 of textures, 64 pixels, batch 8, three views (the
query and two keys), a queue of 384, Adam, one thread. Both contestants compute the same step, keys without a graph; one
runs the groups one after another, the other is `GroupEncoder`. They alternate, and each goes first in every second
round; the ratio is of the medians of CPU time. Writes benchmarks/results/grouped.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from nearfar.encoders.grouped import GroupEncoder
from nearfar.encoders.heads import projection_head
from nearfar.losses import info_nce
from nearfar.losses.groups import group_attraction

RESULTS = Path(__file__).parent / "results" / "grouped.json"
GROUPS = [(3, 2, 1), (11, 7, 1), (8, 3, 2), (11, 10, 3), (11, 10, 9), (0, 4, 5), (6, 7, 9)]
TEXTURES = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)]
TARGET = 0.70
Views = list[tuple[Tensor, Tensor]]


class Loop(nn.Module):
    """One pass a group."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor, textures: Tensor) -> Tensor:
        parts = [x[:, list(g)] for g in GROUPS] + [textures[:, list(g)] for g in TEXTURES]
        return torch.stack([self.backbone(part) for part in parts], 1)


class Stacked(nn.Module):
    """All groups in one pass."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.encoder = GroupEncoder(backbone, GROUPS, TEXTURES)

    def forward(self, x: Tensor, textures: Tensor) -> Tensor:
        each: Tensor = self.encoder(x, textures).each
        return each


def make_step(encoder: nn.Module, head: nn.Module) -> Callable[[Views], float]:
    student = nn.ModuleList([encoder, head])
    teacher = copy.deepcopy(student).requires_grad_(False)
    optimizer = torch.optim.Adam(student.parameters(), 1e-4)
    queue = torch.randn(384, 256, generator=torch.Generator().manual_seed(1))

    def step(views: Views) -> float:
        z = head(encoder(*views[0]))
        with torch.no_grad():
            keys = [teacher[1](teacher[0](*view)).mean(1) for view in views[1:]]
        loss = group_attraction(z)
        for key in keys:
            loss = loss + info_nce(z.mean(1), key, temperature=0.05, keys=queue, in_batch=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
                mine.lerp_(theirs, 0.001)
        return float(loss.detach())

    return step


def measure(rounds: int, batch: int, size: int) -> dict[str, object]:
    torch.manual_seed(0)
    backbone = timm.create_model("resnet18", pretrained=False, num_classes=0, zero_init_last=False)
    head = projection_head(512, (1024, 512, 256), norm="none")
    kinds: dict[str, type[nn.Module]] = {"loop": Loop, "stacked": Stacked}
    steps = {name: make_step(kind(copy.deepcopy(backbone)), copy.deepcopy(head)) for name, kind in kinds.items()}
    views: Views = [(torch.rand(batch, 12, size, size), torch.rand(batch, 12, size, size)) for _ in range(3)]
    losses = {name: step(views) for name, step in steps.items()}  # the warm-up
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds):
        for name in (list(steps), list(steps)[::-1])[i % 2]:
            start = time.process_time()
            steps[name](views)
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratio = medians["stacked"] / medians["loop"]
    return {
        "setting": {"torch": torch.__version__, "batch": batch, "size": size, "rounds": rounds, "threads": 1},
        "seconds": medians,
        "least": {name: min(times) for name, times in seconds.items()},
        "first_loss": losses,
        "ratio": ratio,
        "target": TARGET,
        "reached": ratio <= TARGET,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = measure(options.rounds, options.batch, options.size)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
