"""Features of points by graph contrast: blocks of space, each a graph, find themselves again among all others.

After SMCL (Information Fusion 2025). What its published code does otherwise, and why that is not followed, stands in
docs/guides/graphs.md.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nearfar.encoders.heads import projection_head
from nearfar.encoders.points import GraphEncoder
from nearfar.errors import ConfigError, DataError, ShapeError
from nearfar.losses.graph import g2g_info_nce, node_info_nce
from nearfar.spatial.graphs import block_graphs, checked_points
from nearfar.views.graphs import AUGMENTATIONS, Graphs, augment

BLOCKS = 128
"""blocks a step contrasts at most"""
NODES = 1024
"""nodes a step contrasts at most"""
RETRIEVED = 256
"""blocks that are looked for among each other at most"""
EVERY = 20
"""steps between two lines of the history"""


@dataclass(frozen=True)
class GraphOptions:
    """What graph contrast can be told. Features have width * layers numbers."""

    size: int = 64
    """points of a block at most"""
    k: int = 8
    """nearest neighbours of a point"""
    width: int = 32
    layers: int = 2
    share: float = 0.1
    """of nodes, features or edges that a view lacks"""
    temperature: float = 0.2
    node_weight: float = 0.0
    """of the contrast of nodes, beside 1 of that of graphs"""
    lr: float = 2e-3
    """of Adam, falling to 0 along half a cosine"""


@dataclass(frozen=True, eq=False)
class GraphFeatures:
    """What `pretrain` found."""

    features: Tensor
    """float32 [N, D], row i of point i"""
    history: list[dict[str, float]]
    """step, seconds (CPU), loss and retrieval (mean of `block_retrieval`), every 20 steps and at the end; the first
    line is before training and has no loss"""
    encoder: GraphEncoder
    """in evaluation mode"""
    head: nn.Module
    """the projection that training contrasted"""
    options: GraphOptions


def pretrain(
    points: NDArray[Any],
    colours: NDArray[Any] | None = None,
    *,
    seconds: float = 10.0,
    seed: int = 0,
    steps: int | None = None,
    options: GraphOptions | None = None,
    device: str | torch.device = "cpu",
) -> GraphFeatures:
    """Learns features of points [N, 3], with colours [N, 3] in 0..1 where given, for `seconds` of CPU time or `steps`.

    Each step draws blocks, makes two views of each (`views.graphs.augment`) and contrasts their projected codes
    (`g2g_info_nce`), and with node_weight those of their nodes. Points are put into the order of their places first, so
    their order changes nothing: equal `steps` give each point the same feature bit by bit on the CPU, unless points
    coincide. Coordinates are relative to the block's mean.

    Raises ShapeError and DataError for points or colours that are none, DataError where all fit into one block,
    ConfigError for impossible options.
    """
    options, limits = options or GraphOptions(), _limits(seconds, steps)
    places, paint = _inputs(points, colours)
    order = np.lexsort([column for part in (paint, places) if part is not None for column in part.T[::-1]])
    graphs = point_graphs(places[order], None if paint is None else paint[order], options, device)
    if graphs.count < 2:
        raise DataError(
            "one block has nothing to be told from",
            found=f"{len(places)} points, blocks of {options.size}",
            fix="Choose smaller blocks.",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # with eps = 0, neighbours that share all their neighbours would have one code
        encoder = GraphEncoder(graphs.x.shape[1], options.width, options.layers, learn_eps=True)
        head = projection_head(encoder.dim, (encoder.dim, encoder.dim), "none")
    task = _Task(encoder.to(device), head.to(device), graphs, options, torch.Generator().manual_seed(seed))
    history = _train(task, limits)
    features = _codes(encoder, graphs)[0].cpu()
    return GraphFeatures(features[np.argsort(order)], history, encoder, head, options)


def point_graphs(
    points: NDArray[Any],
    colours: NDArray[Any] | None = None,
    options: GraphOptions | None = None,
    device: str | torch.device = "cpu",
) -> Graphs:
    """The blocks of points [N, 3]: nodes are places in the block, and colours [N, 3] about their middle.

    Raises what `pretrain` raises.
    """
    options, (places, paint) = options or GraphOptions(), _inputs(points, colours)
    made = block_graphs(places, options.size, options.k)
    x = made.centred if paint is None else np.concatenate([made.centred, paint - 0.5], axis=1)
    return Graphs(
        torch.as_tensor(x, dtype=torch.float32, device=device),
        torch.as_tensor(made.edges, device=device),
        torch.as_tensor(made.block, device=device),
        made.count,
        torch.arange(len(x), device=device),
    )


def embed(found: GraphFeatures, points: NDArray[Any], colours: NDArray[Any] | None = None) -> Tensor:
    """Features float32 [N, D] of any points by the encoder of `found`; colours where it was trained with them.

    Does not depend on the order of the points or on where they lie, up to rounding. Raises what `pretrain` raises.
    """
    device = next(found.encoder.parameters()).device
    return _codes(found.encoder, point_graphs(points, colours, found.options, device))[0].cpu()


def block_retrieval(
    encoder: GraphEncoder, graphs: Graphs, head: nn.Module | None = None, share: float = 0.1, seed: int = 0
) -> dict[str, float]:
    """Share of blocks that are found again among 256 blocks at most: their code in a view is nearest, by cosine, to
    their own code as they are.

    By view: `drop_nodes`, `mask_features`, `remove_edges`. Codes are projected by `head` where given. The encoder is
    put into evaluation mode.
    """
    picked = torch.linspace(0, graphs.count - 1, min(graphs.count, RETRIEVED), device=graphs.x.device).long()
    some = graphs.chosen(picked)
    codes = [_codes(encoder, view)[1] for view in (some, *(change(some, share, seed) for change in AUGMENTATIONS))]
    projected = codes if head is None else [head(code) for code in codes]
    whole, *views = (nn.functional.normalize(code, dim=1) for code in projected)
    own = torch.arange(some.count, device=graphs.x.device)
    found = [float(((view @ whole.T).argmax(dim=1) == own).double().mean()) for view in views]
    return {change.__name__: share for change, share in zip(AUGMENTATIONS, found, strict=True)}


@dataclass(frozen=True, eq=False)
class _Task:
    encoder: GraphEncoder
    head: nn.Module
    graphs: Graphs
    options: GraphOptions
    draws: torch.Generator


def _train(task: _Task, limits: tuple[float, float]) -> list[dict[str, float]]:
    optimizer = torch.optim.Adam([*task.encoder.parameters(), *task.head.parameters()], task.options.lr)
    began, step = time.process_time(), 0
    history = [_line(task, 0, began, {})]
    while step < limits[1] and time.process_time() - began < limits[0]:
        done = max(step / limits[1], (time.process_time() - began) / limits[0])
        optimizer.param_groups[0]["lr"] = task.options.lr * (1 + math.cos(math.pi * done)) / 2
        step += 1
        loss = _loss(task)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % EVERY == 0:
            history.append(_line(task, step, began, {"loss": float(loss.detach())}))
    if step % EVERY:
        history.append(_line(task, step, began, {"loss": float(loss.detach())}))
    task.encoder.eval()
    return history


def _loss(task: _Task) -> Tensor:
    graphs, options, draws, head = task.graphs, task.options, task.draws, task.head
    some = graphs.chosen(torch.randperm(graphs.count, generator=draws)[:BLOCKS].to(graphs.x.device))
    views = [augment(some, options.share, int(torch.randint(2**62, (), generator=draws))) for _ in range(2)]
    task.encoder.train()
    codes = [task.encoder(view.x, view.edges, view.batch, view.count) for view in views]
    loss = g2g_info_nce(head(codes[0][1]), head(codes[1][1]), temperature=options.temperature)
    if options.node_weight:
        rows = _common(views[0].nodes, views[1].nodes, draws)
        nodes = (head(code[row]) for (code, _), row in zip(codes, rows, strict=True))
        loss = loss + options.node_weight * node_info_nce(*nodes, temperature=options.temperature)
    return loss


def _common(first: Tensor, second: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of `NODES` nodes at most that both views hold; nodes are ascending."""
    rows = torch.nonzero(torch.isin(first, second))[:, 0]
    rows = rows[torch.randperm(len(rows), generator=draws)[:NODES].to(rows.device)]
    return rows, torch.searchsorted(second, first[rows])


@torch.no_grad()
def _line(task: _Task, step: int, began: float, measured: dict[str, float]) -> dict[str, float]:
    found = block_retrieval(task.encoder, task.graphs, task.head, task.options.share)
    retrieval = sum(found.values()) / len(found)
    return {"step": step, "seconds": time.process_time() - began, **measured, "retrieval": retrieval}


@torch.no_grad()
def _codes(encoder: GraphEncoder, graphs: Graphs) -> tuple[Tensor, Tensor]:
    encoder.eval()
    nodes, codes = encoder(graphs.x, graphs.edges, graphs.batch, graphs.count)
    return nodes, codes


def _inputs(points: NDArray[Any], colours: NDArray[Any] | None) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    """Points as they are, which tells their resolution, and colours."""
    places = np.asarray(points)
    if checked_points(places).shape[1] != 3:
        raise ShapeError("points are places in space", found=places.shape, expected="[N, 3]")
    if colours is None:
        return places, None
    paint = np.asarray(colours, dtype=np.float64)
    if paint.shape != places.shape:
        raise ShapeError("one colour a point", found=f"colours {paint.shape}, points {places.shape}")
    if not ((paint >= 0) & (paint <= 1)).all():
        raise DataError("colours are shares", found="values outside 0..1, or NaN", fix="Divide 8-bit colours by 255.")
    return places, paint


def _limits(seconds: float, steps: int | None) -> tuple[float, float]:
    """Seconds and steps, whichever is first; steps alone, where they are given, so that the clock decides nothing."""
    if not seconds > 0 or (steps is not None and steps < 1):
        raise ConfigError("training takes time", found=f"seconds {seconds}, steps {steps}", expected="above 0")
    return (seconds, float("inf")) if steps is None else (float("inf"), steps)
