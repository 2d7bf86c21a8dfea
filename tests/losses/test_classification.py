"""Losses of yes-or-no classifiers against the independent numbers, and what a frozen copy preserves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses import BinaryLoss, binary_loss, effective_number_weights, preservation


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, Any]:
    case: dict[str, Any] = json.loads((golden_dir / "spatialclip" / "training.json").read_text(encoding="utf-8"))
    return case


def pair(golden: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return tuple(torch.tensor(golden["bce"][key], dtype=torch.float64) for key in ("logits", "labels"))  # type: ignore[return-value]


def test_cross_entropy(golden: dict[str, Any]) -> None:
    logits, labels = pair(golden)
    assert binary_loss(logits, labels).item() == pytest.approx(golden["bce"]["mean"], abs=1e-9)
    each = [binary_loss(logits[i : i + 1], labels[i : i + 1].long()).item() for i in range(4)]
    assert each == pytest.approx(golden["bce"]["per_item"], abs=1e-9)


def test_weight_of_positives(golden: dict[str, Any]) -> None:
    known = golden["bce_pos_weight"]
    loss = binary_loss(*pair(golden), pos_weight=known["pos_weight"])
    assert loss.item() == pytest.approx(known["mean"], abs=1e-9)


def test_focal(golden: dict[str, Any]) -> None:
    loss = binary_loss(*pair(golden), kind="focal", gamma=golden["focal"]["gamma"])
    assert loss.item() == pytest.approx(golden["focal"]["mean"], abs=1e-9)
    assert binary_loss(*pair(golden), kind="focal", gamma=0.0) == pytest.approx(golden["bce"]["mean"], abs=1e-9)


def test_effective_numbers(golden: dict[str, Any]) -> None:
    known = golden["effective_number"]
    weights = effective_number_weights(known["counts"], known["beta"])
    assert weights == pytest.approx(known["weights"], abs=1e-9)
    assert effective_number_weights((900, 100), 0.0) == (1.0, 1.0)
    logits, labels = pair(golden)
    w = torch.tensor(known["weights"], dtype=torch.float64)[labels.long()]
    expected = (w * F.binary_cross_entropy_with_logits(logits, labels, reduction="none")).mean()
    loss = BinaryLoss("class_balanced", counts=(900, 100))
    torch.testing.assert_close(loss(logits, labels), expected, rtol=0, atol=1e-9)
    focal = BinaryLoss("class_balanced_focal", counts=(900, 100), gamma=0.0)
    torch.testing.assert_close(focal(logits, labels), expected, rtol=0, atol=1e-9)


def test_unknown_labels_leave_the_mean() -> None:
    logits, labels = torch.randn(5, 3), torch.randint(0, 2, (5, 3))
    labels[2] = -1
    known = torch.tensor([0, 1, 3, 4])
    torch.testing.assert_close(binary_loss(logits, labels), binary_loss(logits[known], labels[known]))
    logits.requires_grad_()
    loss = binary_loss(logits, torch.full_like(labels, -1))
    loss.backward()
    assert loss == 0 and logits.grad is not None and not logits.grad.any()


@pytest.mark.parametrize("kind", ["bce", "focal", "class_balanced", "class_balanced_focal"])
def test_extreme_logits_are_finite(kind: Any) -> None:
    logits = torch.tensor([200.0, -200.0, 200.0, -200.0], dtype=torch.bfloat16, requires_grad=True)
    loss = BinaryLoss(kind, counts=(3, 5))(logits, torch.tensor([1, 0, 0, 1]))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()
    assert logits.grad[:2].abs().max() == 0 and logits.grad[2:].abs().min() > 0


@pytest.mark.parametrize("kind", ["bce", "focal"])
def test_gradients(kind: Any) -> None:
    logits = torch.randn(6, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 1, -1, 0, 1])
    assert torch.autograd.gradcheck(lambda x: binary_loss(x, labels, kind=kind, gamma=2.5, pos_weight=3.0), (logits,))


def test_preservation_is_the_published_error_without_the_width(golden: dict[str, Any]) -> None:
    known = golden["preservation"]
    z, frozen = (torch.tensor(known[key], dtype=torch.float64).requires_grad_() for key in ("current", "initial"))
    loss = preservation(3 * z, frozen)
    assert loss.shape == (3,) and loss.mean().item() * 2 / 4 == pytest.approx(known["mse"], abs=1e-9)
    loss.sum().backward()
    assert z.grad is not None and frozen.grad is None
    torch.testing.assert_close(preservation(z, z), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-15)


def test_wrong_use() -> None:
    logits, labels = torch.randn(4), torch.tensor([0, 1, 1, 0])
    faults: list[tuple[dict[str, Any], str]] = [
        ({"kind": "focall"}, "Did you mean 'focal'"),
        ({"kind": "class_balanced"}, "negatives, positives"),
        ({"kind": "class_balanced", "counts": (0, 5)}, "every class needs samples"),
        ({"kind": "class_balanced", "counts": (5, 5), "beta": 1.0}, "less than 1"),
        ({"kind": "class_balanced", "counts": (5, 5), "pos_weight": 2.0}, "both weigh"),
        ({"pos_weight": 0.0}, "pos_weight"),
        ({"kind": "focal", "gamma": -1.0}, "gamma"),
    ]
    for options, message in faults:
        with pytest.raises(ConfigError, match=message):
            binary_loss(logits, labels, **options)
    for wrong in (torch.tensor([0, 1, 2, 0]), torch.tensor([0.0, 1.0, 0.5, 0.0])):
        with pytest.raises(ConfigError, match="0, 1 or unknown"):
            binary_loss(logits, wrong)
    with pytest.raises(ShapeError, match=r"\(4,\).*\(3,\)"):
        binary_loss(logits, labels[:3])
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(2, 4\)"):
        preservation(torch.rand(2, 3), torch.rand(2, 4))
