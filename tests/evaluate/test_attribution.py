"""Leaving out one box at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar.errors import ShapeError
from nearfar.evaluate import attribution
from nearfar.evaluate.attribution import leave_one_out, strongest

WORTH = torch.tensor([2.0, -0.5, 0.25])


def additive(objects: Tensor, labels: Tensor, samples: Tensor) -> Tensor:
    """Every class has its worth, times confidence, plus a number of the sample that boxes do not touch."""
    worth = WORTH[labels.clamp(min=0)] * objects[..., 4] * (labels >= 0)
    return worth.sum(1) + 10.0 * samples


@pytest.fixture
def boxes() -> tuple[Tensor, Tensor]:
    labels = torch.tensor([[0, 1, 2, -1], [1, -1, -1, -1], [-1, -1, -1, -1]])
    objects = torch.rand(3, 4, 5) * (labels >= 0)[..., None]
    objects[..., 4] = 1.0
    return objects, labels


@pytest.mark.parametrize("rows", [1024, 1, 3])
def test_the_change_is_what_each_box_adds(
    boxes: tuple[Tensor, Tensor], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution, "ROWS", rows)
    change = leave_one_out(additive, *boxes)
    expected = torch.tensor([[2.0, -0.5, 0.25, math.nan], [-0.5, *[math.nan] * 3], [math.nan] * 4])
    torch.testing.assert_close(change, expected.double(), equal_nan=True)


def test_what_was_given_is_not_changed(boxes: tuple[Tensor, Tensor]) -> None:
    before = [t.clone() for t in boxes]
    leave_one_out(additive, *boxes)
    assert all(torch.equal(a, b) for a, b in zip(boxes, before, strict=True))


def test_the_strongest_box_is_named_and_none_is_none(boxes: tuple[Tensor, Tensor]) -> None:
    change, labels = leave_one_out(additive, *boxes).numpy(), boxes[1].numpy()
    names = ("NT", "NB", "CB")
    assert strongest(change[0], labels[0], names).name == "NT"
    assert strongest(change[1], labels[1], names) == attribution.Strongest("NB", -0.5, 0)
    nothing = strongest(change[2], labels[2], names)
    assert nothing.name == "" and np.isnan(nothing.change) and nothing.index == -1


def test_boxes_and_labels_must_fit() -> None:
    with pytest.raises(ShapeError, match="one label a box"):
        leave_one_out(additive, torch.zeros(2, 3, 5), torch.zeros(2, 4, dtype=torch.int64))
