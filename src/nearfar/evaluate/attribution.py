"""Which box matters: how the logit changes where one of an image's boxes is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import ShapeError

Logits = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(objects [R, M, 5], labels [R, M], samples int64 [R]) -> logits [R] of those samples with these boxes instead"""
ROWS = 1024
"""variants judged at once"""


def leave_one_out(logits: Logits, objects: Tensor, labels: Tensor) -> Tensor:
    """Logit with all boxes minus the logit without box i: [B, M], NaN where there is no box.

    objects [B, M, 5] and int64 labels [B, M], -1 where there is none. Positive: the box speaks for label 1 (standard).
    Two boxes that say the same hide each other: either can go without a change. Raises ShapeError.
    """
    if objects.shape[:-1] != labels.shape:
        found = f"{tuple(objects.shape)} and {tuple(labels.shape)}"
        raise ShapeError("one label a box", found=found, expected="[B, M, 5] and [B, M]")
    change = torch.full(labels.shape, float("nan"), dtype=torch.float64)
    samples, boxes = (labels >= 0).nonzero(as_tuple=True)
    if not len(samples):
        return change
    full = logits(objects, labels, torch.arange(len(labels), device=labels.device)).double().cpu()
    for rows, box in zip(torch.split(samples, ROWS), torch.split(boxes, ROWS), strict=True):
        fewer, names = objects[rows].clone(), labels[rows].clone()
        place = torch.arange(len(rows), device=rows.device)
        fewer[place, box], names[place, box] = 0.0, -1
        without = logits(fewer, names, rows).double().cpu()
        change[rows.cpu(), box.cpu()] = full[rows.cpu()] - without
    return change


@dataclass(frozen=True)
class Strongest:
    """The box whose removal changes the logit most."""

    name: str
    """its object class; "" where the image has no box"""
    change: float
    """logit with it minus logit without; NaN where there is no box"""
    index: int
    """its row; -1 where there is none"""


def strongest(change: NDArray[np.float64], labels: NDArray[np.int64], names: tuple[str, ...]) -> Strongest:
    """Of one image: changes [M] of `leave_one_out`, labels [M], names of the object classes."""
    if not (labels >= 0).any():
        return Strongest("", float("nan"), -1)
    index = int(np.nanargmax(np.abs(np.where(labels >= 0, change, np.nan))))
    return Strongest(names[int(labels[index])], float(change[index]), index)
