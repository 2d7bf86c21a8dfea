"""Losses of pairs of which something is known, of modalities and of graphs under contract, dense and in tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from graph_oracles import graph_oracle, node_oracle
from loss_batch import LossBatch, LossCase, in_tiles
from loss_oracles import pairwise_oracle, related_oracle, teacher
from torch import Tensor

from nearfar.losses import (
    G2GInfoNCE,
    NodeInfoNCE,
    PairwiseInfoNCE,
    Relations,
    clip_loss,
    g2g_info_nce,
    info_nce,
    node_info_nce,
    pairwise_info_nce,
)


def _related(use: str, *, ids: bool, similar: bool, keys: bool = False) -> list[LossCase]:
    """InfoNCE (with keys) or CLIP where something is known of its pairs, dense and in tiles."""

    def call(b: LossBatch, **options: Any) -> Tensor:
        if similar:
            options.pop("exchange", None)
            options.setdefault("memory", "tiled")
        t = teacher(b)
        known = Relations(b.labels if ids else None, (t, t.flip(1)) if similar else None, use, 0.4, 0.3)  # type: ignore[arg-type]
        views = b.z[:, 0], b.z[:, 1]
        if keys:
            return info_nce(*views, temperature=b.temperature, keys=b.keys, relations=known, **options)
        return clip_loss(*views, scale=1 / b.temperature, relations=known, **options)

    name = f"{'info_nce,keys' if keys else 'clip_loss'}[{use},{'ids' if ids else ''},{'similar' if similar else ''}]"
    oracle = related_oracle(use, ids, similar, keys, 1 if keys else 2)
    dense = LossCase(name, lambda b: call(b, memory="dense"), lambda b: call(b, memory="dense"), oracle, labelled=False)
    return [dense, in_tiles(name, oracle, False, call)]


RELATED = [
    *_related("ignore", ids=True, similar=False),
    *_related("ignore", ids=False, similar=True, keys=True),
    *_related("weigh", ids=True, similar=True),
    *_related("target", ids=True, similar=False, keys=True),
    *_related("target", ids=True, similar=False),
    *_related("target", ids=True, similar=True),
]

PAIRS = {("image", "text"): 0.5, ("boxes", "image"): 0.25, ("text", "boxes"): 1.0}


def _pairwise(form: str, **skips: str) -> list[LossCase]:
    """Three modalities, dense and in tiles; form: plain, groups (equal captions), labels, or present."""

    def inputs(b: LossBatch) -> tuple[dict[str, Tensor], dict[str, Any]]:
        z = {"image": b.z[:, 0], "text": b.z[:, 1], "boxes": b.z[:, 1].roll(1, 1)}
        known = {"groups": {"groups": {"text": b.labels}}, "labels": {"labels": b.labels}}
        present = {"present": torch.stack([b.uid % 4 != k for k in range(3)], 1)}
        return z, (known | {"present": present}).get(form, {})

    def call(b: LossBatch, **options: Any) -> Tensor:
        z, known = inputs(b)
        return pairwise_info_nce(z, scale=1 / b.temperature, weights=PAIRS, **known, **options)[0]

    def module(b: LossBatch) -> Tensor:
        z, known = inputs(b)
        loss = PairwiseInfoNCE(PAIRS, temperature=b.temperature, largest=200.0).to(b.z.dtype)
        value: Tensor = loss(z, **known)[0]
        return value

    name, oracle = f"pairwise[{form}]", pairwise_oracle(form, PAIRS)
    dense = LossCase(name, lambda b: call(b, memory="dense"), module, oracle, labelled=False, skips=skips)
    return [dense, in_tiles(name, oracle, False, call, **skips)]


SELECTED = {"test_compile_equals_eager": "how many rows hold both modalities is only known at run time"}
PAIRWISE = [
    *_pairwise("plain"),
    *_pairwise("groups"),
    *_pairwise("labels"),
    *_pairwise("present", **SELECTED),
]


def _graphs(name: str, loss: Any, twin: Any, oracle: Callable[[LossBatch], float], **options: Any) -> list[LossCase]:
    """Two views of graphs or nodes, dense and in tiles."""

    def call(b: LossBatch, **how: Any) -> Tensor:
        return loss(b.z[:, 0], b.z[:, 1], temperature=b.temperature, **options, **how)

    def module(b: LossBatch) -> Tensor:
        return twin(temperature=b.temperature, **options)(b.z[:, 0], b.z[:, 1])

    return [LossCase(name, call, module, oracle, labelled=False), in_tiles(name, oracle, False, call)]


GRAPHS = [
    *_graphs("g2g_info_nce", g2g_info_nce, G2GInfoNCE, graph_oracle),
    *_graphs("node_info_nce", node_info_nce, NodeInfoNCE, node_oracle(True)),
    *_graphs("node_info_nce[other view]", node_info_nce, NodeInfoNCE, node_oracle(False), same_view=False),
]
