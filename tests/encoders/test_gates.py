"""Fusion of modalities: the independent numbers, and what a missing modality may change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.encoders.gates import Fusion
from nearfar.errors import ConfigError, ShapeError

KINDS = ["softmax", "sigmoid", "concat"]


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, Any]:
    case: dict[str, Any] = json.loads((golden_dir / "spatialclip" / "gated_fusion.json").read_text(encoding="utf-8"))
    return case


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def embeddings(golden: dict[str, Any]) -> Tensor:
    return torch.stack([tensor(golden[name]) for name in ("image", "text", "spatial")], 1)


def gate_of(golden: dict[str, Any], **options: Any) -> Fusion:
    fusion = Fusion(4, **options).double()
    with torch.no_grad():
        fusion.score.weight.copy_(tensor(golden["gate_weight"]))  # type: ignore[union-attr]
        fusion.score.bias.copy_(tensor(golden["gate_bias"]))  # type: ignore[union-attr]
    return fusion


def close(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found, tensor(expected), rtol=0, atol=1e-9)


def test_softmax_gate(golden: dict[str, Any]) -> None:
    vector, gates = gate_of(golden)(embeddings(golden))
    close(gates, golden["gates"])
    close(vector, golden["fused"])
    close(vector @ tensor(golden["classifier_weight"]).T + tensor(golden["classifier_bias"]), golden["logits"])


def test_softmax_gate_of_present_modalities(golden: dict[str, Any]) -> None:
    masked = golden["masked"]
    vector, gates = gate_of(golden, missing="given")(embeddings(golden), torch.tensor(masked["present"]))
    close(gates, masked["gates"])
    close(vector, masked["fused"])
    close(vector @ tensor(golden["classifier_weight"]).T + tensor(golden["classifier_bias"]), masked["logits"])


def test_concatenation(golden: dict[str, Any]) -> None:
    fusion = Fusion(4, "concat")
    vector, gates = fusion(embeddings(golden))
    assert gates is None and fusion.feature_dim == 12 and not list(fusion.parameters())
    weight, bias = tensor(golden["concat"]["classifier_weight"]), tensor(golden["classifier_bias"])
    close(vector @ weight.T + bias, golden["concat"]["logits"])


def test_sigmoid_gates_do_not_compete(golden: dict[str, Any]) -> None:
    fusion, z = gate_of(golden, kind="sigmoid"), embeddings(golden)
    vector, gates = fusion(z)
    scores = z.flatten(1) @ tensor(golden["gate_weight"]).T + tensor(golden["gate_bias"])
    torch.testing.assert_close(gates, 1 / (1 + (-scores).exp()))
    torch.testing.assert_close(vector, torch.einsum("bk,bkd->bd", gates, z))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_missing_modality_reaches_the_vector(kind: Any) -> None:
    fusion, z = Fusion(5, kind), torch.randn(4, 3, 5)
    present = torch.tensor([[True, False, True], [False, False, True], [True, True, True], [False] * 3])
    expected, gates = fusion(z, present)
    broken = z.masked_fill(~present[..., None], float("nan")).requires_grad_()
    vector, _ = fusion(broken, present)
    torch.testing.assert_close(vector, expected)
    vector.sum().backward()
    assert broken.grad is not None and broken.grad.isfinite().all() and not broken.grad[~present].any()
    assert not vector[3].any() and vector[:3].abs().sum(1).all()
    if gates is not None:
        assert not gates[~present].any()
    if kind == "softmax":
        torch.testing.assert_close(gates.sum(1), torch.tensor([1.0, 1.0, 1.0, 0.0]))


def test_half_precision_masks_without_overflow() -> None:
    vector, _ = Fusion(5).half()(torch.randn(2, 3, 5).half(), torch.tensor([[True, False, True], [False] * 3]))
    assert vector.isfinite().all()


def test_wrong_use() -> None:
    with pytest.raises(ConfigError, match="Did you mean softmax"):
        Fusion(4, "sofmax")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="zero, given"):
        Fusion(4, missing="drop")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="modalities 0"):
        Fusion(4, modalities=0)
    with pytest.raises(ShapeError, match=r"\(2, 2, 4\).*\(B, 3, 4\)"):
        Fusion(4)(torch.rand(2, 2, 4))
    with pytest.raises(ShapeError, match="bool"):
        Fusion(4)(torch.rand(2, 3, 4), torch.ones(2, 3))
