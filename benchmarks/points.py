"""One training step of the point renderer at the published widths, against the published algorithm, alternated.

    python benchmarks/points.py                       # 30,000 points, a patch of 80 x 80 rays, K = 20: 7 GiB
    python benchmarks/points.py --side 160            # the published patch: the published algorithm needs some 30 GB
    python benchmarks/points.py --points 2000 --side 12 --rounds 1 --out /tmp/points.json

The published algorithm holds v, its projection and the perpendicular of all points for all rays at once, maps every
key, and normalises by the formula as written; both sides share the weights, K, widths, heads and in-place ReLUs, and
their pictures and gradients are compared. They differ where single precision ties the 20th point with the next: against
double precision, one of 1,600 rays (40 x 40) gets the next one from nearfar, none from the published formula.
Time is CPU time of forward and backward on one thread, the median over the rounds; memory is what the process grows by
at its peak in one step, measured in a process of its own.
Writes benchmarks/results/points.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor

from nearfar.scenes.attention import Norm, Perceptron
from nearfar.scenes.points import PAPER, PointField

RESULTS = Path(__file__).parent / "results" / "points.json"


def code(x: Tensor, octaves: int = PAPER.octaves) -> Tensor:
    angles = x[..., None] * 2.0 ** torch.arange(octaves)
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
    return torch.cat([x[..., None], waves], dim=-1).flatten(-2)


def network(layers: Perceptron, x: Tensor) -> Tensor:
    for layer in layers:
        if isinstance(layer, Norm):
            x = layer.weight * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + layer.bias
        else:
            x = layer(x)
    return x


def published(field: PointField, origins: Tensor, directions: Tensor, side: int) -> Tensor:
    """The colours of the rays, by the specification of the released code."""
    attention, k = field.attention, field.options.neighbours
    points, origins = field.points * field.options.scale, origins * field.options.scale
    scale = (directions * directions).sum(-1)[:, None, None] + 1e-6
    with torch.no_grad():
        v = points[None] - origins[:, None]
        along = (v * directions[:, None]).sum(-1, keepdim=True) / scale * directions[:, None]
        across = v - along
        near = across.norm(dim=-1).topk(k, dim=-1, largest=False).indices
        del v, along, across
    place = points[near]
    v = place - origins[:, None]
    along = (v * directions[:, None]).sum(-1, keepdim=True) / scale * directions[:, None]
    across = v - along
    keys = network(attention.key, torch.cat([code(place.detach()), code(along), code(across)], dim=-1))
    values = network(attention.value, torch.cat([code(along), code(across), field.features[near]], dim=-1))
    query = attention.query_map(network(attention.query, code(directions)))
    scores = (attention.key_map(keys) @ query[..., None])[..., 0] / keys.shape[-1] ** 0.5
    scores = torch.relu(scores) * field.influence[near]
    beside = torch.full_like(scores[:, :1], field.options.background_score)
    weights = torch.cat([scores, beside], dim=-1).softmax(dim=-1)
    background, weights = weights[:, -1:], weights[:, :-1] / weights[:, :-1].sum(-1, keepdim=True)
    colours = field.head((values * weights[..., None]).sum(1), (side, side))
    return colours * (1 - background) + background


def ours(field: PointField, origins: Tensor, directions: Tensor, side: int) -> Tensor:
    return field(origins, directions, shape=(side, side))["rgb"]


ARMS: dict[str, Callable[[PointField, Tensor, Tensor, int], Tensor]] = {"published": published, "nearfar": ours}


def case(points: int, side: int) -> tuple[PointField, Tensor, Tensor]:
    torch.manual_seed(0)
    field = PointField(replace(PAPER, influence=1.0), torch.rand(points, 3) * 2 - 1)
    origins = torch.tensor([[0.3, -4.0, 0.5]]).expand(side * side, 3)
    grid = torch.cartesian_prod(*[torch.linspace(-0.9, 0.9, side)] * 2)
    targets = torch.stack([grid[:, 0], torch.zeros(len(grid)), grid[:, 1]], dim=-1)
    return field, origins.contiguous(), torch.nn.functional.normalize(targets - origins, dim=-1)


def step(arm: str, made: tuple[PointField, Tensor, Tensor], side: int) -> tuple[float, Tensor, Tensor]:
    """(CPU seconds, colours, gradient of the points' features)."""
    field, origins, directions = made
    field.zero_grad()
    start = time.process_time()
    seen = ARMS[arm](field, origins, directions, side)
    (seen - 0.5).square().mean().backward()
    seconds = time.process_time() - start
    assert field.features.grad is not None
    return seconds, seen.detach(), field.features.grad.clone()


def memory(arm: str, points: int, side: int) -> int:
    """Bytes by which the peak of this process grows in one step."""
    torch.set_num_threads(1)
    step(arm, case(points, 4), 4)
    made = case(points, side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(arm, made, side)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=30_000)
    parser.add_argument("--side", type=int, default=80, help="of the patch of rays")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    peaks = {}
    for arm in ARMS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks[arm] = pool.apply(memory, (arm, args.points, args.side))
    made, times = case(args.points, args.side), {arm: [] for arm in ARMS}
    for _ in range(args.rounds):
        outs = {arm: step(arm, made, args.side) for arm in ARMS}
        for arm, out in outs.items():
            times[arm].append(out[0])
    seconds = {arm: statistics.median(values) for arm, values in times.items()}
    (_, a, ga), (_, b, gb) = outs["published"], outs["nearfar"]
    result = {
        "points": args.points, "rays": args.side**2, "neighbours": PAPER.neighbours, "rounds": args.rounds,
        "cpu_seconds": times, "median_cpu_seconds": seconds, "peak_bytes": peaks,
        "time_ratio": seconds["published"] / seconds["nearfar"], "memory_ratio": peaks["published"] / peaks["nearfar"],
        "largest_difference_of_colours": (a - b).abs().max().item(),
        "relative_difference_of_gradients": ((ga - gb).norm() / ga.norm()).item(),
    }  # fmt: skip
    for arm in ARMS:
        print(f"{arm:<10} {seconds[arm]:7.2f} CPU s   {peaks[arm] / 2**30:6.2f} GiB")
    print(f"{result['time_ratio']:.2f} times faster, {result['memory_ratio']:.2f} times less memory")
    print(f"colours differ by {result['largest_difference_of_colours']:.1e} at most")
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
