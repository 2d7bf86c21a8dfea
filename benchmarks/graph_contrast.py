"""Graph contrast of points: blocks find themselves again, and what the order and the place of the points change.

    python benchmarks/graph_contrast.py

Points: 1,000 on the visual hull of the demo scene, with the colours of its views. Retrieval: a block's projected code
where a tenth of its nodes, features or edges are missing looks for its own among those of all blocks as they are, ten
views of each kind; untrained and after 10 CPU-seconds of one thread, three seeds.

Changes: the relative difference of graph codes, |g' - g| / |g|, mean over graphs, when points are put into another
order and when the cloud moves by 1; networks untrained, the same weights for all. "published" is written from the
method's published code: consecutive chunks of 20 points of the file, every node joined to every other, each edge kept
once, from the lower index to the higher; absolute coordinates. Order, there: within each chunk, and of the whole file.
Writes benchmarks/results/graph_contrast.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from nearfar.data.synthetic.objects import generate_scene
from nearfar.encoders.points import GraphEncoder
from nearfar.scenes.formats import open_scene
from nearfar.scenes.graph_contrast import GraphOptions, block_retrieval, point_graphs, pretrain
from nearfar.scenes.initial import initial_points
from nearfar.spatial.graphs import block_graphs
from nearfar.views.graphs import Graphs

RESULTS = Path(__file__).parent / "results" / "graph_contrast.json"
CHUNK = 20
VIEWS = 10
Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""nodes [N, 3], edges [2, E], graph of each node [N]"""


def demo_points(n: int) -> tuple[np.ndarray, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        points, colours = initial_points(open_scene(generate_scene(Path(folder) / "scene")), "hull", n)
    assert colours is not None
    return points, colours


def ours(points: np.ndarray) -> Parts:
    made = block_graphs(points)
    return made.centred, made.edges, made.block


def published(points: np.ndarray, undirected: bool = False) -> Parts:
    chunk = np.arange(len(points)) // CHUNK
    once = np.array([(u, v) for u in range(CHUNK) for v in range(u + 1, CHUNK)]).T
    edges = np.concatenate([once + start for start in range(0, len(points) - CHUNK + 1, CHUNK)], axis=1)
    return points, np.concatenate([edges, edges[::-1]], axis=1) if undirected else edges, chunk


def codes(encoder: GraphEncoder, parts: Parts) -> tuple[torch.Tensor, torch.Tensor]:
    x, edges, graph = parts
    with torch.no_grad():
        return encoder.eval()(torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(edges), torch.as_tensor(graph))


def change(before: torch.Tensor, after: torch.Tensor) -> float:
    return float(((after - before).norm(dim=1) / before.norm(dim=1)).mean())


def changes(points: np.ndarray, encoder: GraphEncoder, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Of graph codes; `ours` are matched as they come, for the order of the blocks is that of space."""
    whole = rng.permutation(len(points))
    inside = np.concatenate([start + rng.permutation(CHUNK) for start in range(0, len(points), CHUNK)])
    found = {}
    for name, make in (("nearfar", ours), ("published", published)):
        base = codes(encoder, make(points))[1]
        moved = {"order": points[whole], "order within chunks": points[inside], "moved by 1": points + 1}
        found[name] = {what: change(base, codes(encoder, make(cloud))[1]) for what, cloud in moved.items()}
    nodes, _ = codes(encoder, published(points, undirected=True))
    alike = nodes[: len(nodes) // CHUNK * CHUNK].reshape(-1, CHUNK, nodes.shape[1])
    found["published"]["largest difference of nodes, edges made undirected"] = float(
        (alike - alike[:, :1]).norm(dim=2).max() / alike.norm(dim=2).mean()
    )
    return found


def spread(points: np.ndarray) -> dict[str, float]:
    """Mean distance of a point's nearest neighbour in its graph, in units of that in the cloud."""
    nearest = cKDTree(points).query(points, 2)[0][:, 1].mean()
    found = {}
    for name, (_, _, graph) in {"nearfar": ours(points), "published": published(points)}.items():
        groups = [points[graph == number] for number in np.unique(graph)]
        found[name] = float(np.concatenate([cKDTree(g).query(g, 2)[0][:, 1] for g in groups]).mean() / nearest)
    return found


def retrieval(encoder: GraphEncoder, head: torch.nn.Module, graphs: Graphs) -> dict[str, float]:
    with torch.no_grad():
        found = [block_retrieval(encoder, graphs, head, seed=1000 + view) for view in range(VIEWS)]
    kinds = {kind: float(np.mean([row[kind] for row in found])) for kind in found[0]}
    return {"mean": float(np.mean([*kinds.values()]))} | kinds


def learned(points: np.ndarray, colours: np.ndarray | None, seconds: float, seeds: int) -> list[dict[str, Any]]:
    rows, graphs = [], point_graphs(points, colours)
    for seed in range(seeds):
        start = pretrain(points, colours, steps=1, seed=seed, options=GraphOptions(lr=0.0))
        found = pretrain(points, colours, seconds=seconds, seed=seed)
        last = found.history[-1]
        row: dict[str, Any] = {
            who: retrieval(x.encoder, x.head, graphs) for who, x in (("untrained", start), ("trained", found))
        }
        rows.append(row | {what: last[what] for what in ("loss", "step", "seconds")})
        print("places" if colours is None else "places and colours", seed, rows[-1], flush=True)
    return rows


def mean_changes(points: np.ndarray, seeds: int) -> dict[str, dict[str, float]]:
    rows = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        rows.append(changes(points, GraphEncoder(3), np.random.default_rng(seed)))
    return {who: {what: float(np.mean([row[who][what] for row in rows])) for what in rows[0][who]} for who in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000, help="a multiple of 20")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    points, colours = demo_points(options.points)
    record: dict[str, Any] = {
        "setting": {"points": len(points), "blocks": block_graphs(points).count, "size": GraphOptions.size,
                    "k": GraphOptions.k, "seconds": options.seconds, "threads": 1},
        "changes": mean_changes(points, options.seeds),
        "nearest_neighbour": spread(points),
    }  # fmt: skip
    print(json.dumps(record, indent=1), flush=True)
    record["retrieval"] = {
        "places": learned(points, None, options.seconds, options.seeds),
        "places and colours": learned(points, colours, options.seconds, options.seeds),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
