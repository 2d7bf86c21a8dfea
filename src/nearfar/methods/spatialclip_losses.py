"""The parts of SpatialCLIP's loss, and their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar import parallel
from nearfar.data.study import MODALITIES
from nearfar.losses.classification import binary_loss
from nearfar.losses.pairwise import pairwise_info_nce
from nearfar.methods.base import Batch, Output, Projections
from nearfar.methods.spatialclip_config import PAIRS, SpatialClipConfig
from nearfar.methods.spatialclip_parts import full


def weighted(
    z: Projections,
    known: Batch,
    labels: Tensor,
    config: SpatialClipConfig,
    weights: Mapping[str, float],
    counts: Tensor,
) -> Output:
    """The sum over parts of weight times part, and the parts by name with the scale; exact over ranks.

    z: what `SpatialCLIP.project` gives, known: what the batch has besides, both of samples with `labels` [B], 0 or 1.
    counts: int64 [2], samples of both classes in the training data.
    """
    scale = full(z["scale"]).mean().exp()
    parts = {"classify": classification(z["logit"], labels, config, counts)}
    if "preserved" in z:
        count = torch.tensor(len(labels), device=labels.device)
        parts["preservation"] = parallel.global_mean(z["preserved"].sum(), count)
    if "structures" in z:
        parts["structures"] = binary_loss(z["structures"], structures(known, z["structures"].shape[1]))
    # What no part uses is in the graph too: a wrapper of modules waits for the gradient of every weight.
    loss = torch.stack([full(value).sum() for value in z.values()]).sum() * 0.0
    loss = loss + sum(weights[name] * part for name, part in parts.items())
    aligned, pairs = alignment(z, known, labels, config, weights, scale)
    named = {**{name: part.detach() for name, part in parts.items()}, **pairs, "scale": scale.detach()}
    return Output(loss + aligned, named)


def classification(logits: Tensor, labels: Tensor, config: SpatialClipConfig, counts: Tensor) -> Tensor:
    """The configured loss of the label."""
    kind = config.classifier_loss
    negatives, positives = counts.tolist() if kind.startswith("class_balanced") else (0, 0)
    known = (negatives, positives) if positives else None
    return binary_loss(logits, labels, kind=kind, gamma=config.focal_gamma, counts=known)


def alignment(
    z: Projections, known: Batch, labels: Tensor, config: SpatialClipConfig, weights: Mapping[str, float], scale: Tensor
) -> tuple[Tensor | float, dict[str, Tensor]]:
    """The weighted contrast of pairs of modalities, and each pair's by name; nothing where no pair has a weight."""
    pairs = {pair: weights.get("-".join(pair), 0.0) for pair in PAIRS}
    if not any(pairs.values()):
        return 0.0, {}
    names = [name for name in MODALITIES if f"a/{name}" in z]
    columns = [MODALITIES.index(name) for name in names]
    grouped = config.positives == "captions" and "text_group" in known
    return pairwise_info_nce(
        {name: z[f"a/{name}"] for name in names},
        scale=scale,
        weights={pair: weight for pair, weight in pairs.items() if weight},
        groups={"text": known["text_group"]} if grouped else None,
        labels=labels if config.positives == "labels" else None,
        present=known["shown"][:, columns] if "shown" in known else None,
    )


def structures(known: Batch, classes: int) -> Tensor:
    """Which classes of boxes a sample has: int64 [B, classes], 0 or 1, -1 where its boxes are missing."""
    there = F.one_hot(known["object_labels"] + 1, classes + 1).amax(1)[:, 1:]
    if "present" in known:
        there = torch.where(known["present"][:, MODALITIES.index("boxes"), None], there, -1)
    return there
