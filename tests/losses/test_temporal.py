"""Contrast over time against goldens and a plain loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses import TemporalNCE, info_nce, temporal_nce, temporal_nce_heads


@pytest.fixture
def golden(golden_dir: Path) -> dict[str, Any]:
    arrays = np.load(golden_dir / "saco" / "losses.npz")
    return json.loads((golden_dir / "saco" / "losses.json").read_text()) | {
        name: torch.from_numpy(arrays[name]) for name in arrays
    }


def heads(heads: int = 3, rows: int = 4, columns: int = 6, dim: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(4)
    shapes = ((heads, rows, dim), (heads, heads, rows, dim), (heads, columns, dim))
    q, k, queue = (torch.randn(shape, generator=source, dtype=torch.float64) for shape in shapes)
    return q, k, queue


def history(**changes: Tensor) -> dict[str, Tensor]:
    return {
        "halves": torch.tensor([0, 1, 6, 7]),
        "queue_halves": torch.tensor([0, 1, 2, 3, -1, 7]),
        "changed": torch.tensor([True, True, False, False]),
    } | changes


def test_golden_seco(golden: dict[str, Any]) -> None:
    got = temporal_nce_heads(golden["seco_zq"], golden["seco_zk"], golden["seco_queue"])
    assert got.tolist() == pytest.approx(golden["seco_heads_t0.07"], abs=1e-9)
    total = temporal_nce(golden["seco_zq"], golden["seco_zk"], golden["seco_queue"])
    assert float(total) == pytest.approx(golden["seco_total"], abs=1e-9)


def test_golden_caco(golden: dict[str, Any]) -> None:
    data = golden["seco_zq"], golden["seco_zk"], golden["seco_queue"]
    known = {"halves": torch.arange(4), "queue_halves": torch.arange(10), "changed": golden["caco_change"]}
    got = temporal_nce_heads(*data, negatives="caco", **known)
    assert got.tolist() == pytest.approx(golden["caco_heads_t0.07"], abs=1e-9)
    assert float(TemporalNCE(negatives="caco")(*data, **known)) == pytest.approx(golden["caco_total"], abs=1e-9)


def test_caco_against_a_loop_with_unknown_halves_in_the_queue() -> None:
    q, k, queue = (torch.nn.functional.normalize(x, dim=-1) for x in heads())
    known, scale = history(), 1 / 0.2
    halves, past, changed = (known[name].tolist() for name in ("halves", "queue_halves", "changed"))
    expected = []
    for i in range(3):
        losses = []
        for b, half in enumerate(halves):
            rivals = [queue[i, c] for c, other in enumerate(past) if other >= 0 and other % 2 == half % 2]
            rivals += [k[i, j, c] for j in range(3) for c in range(4) if i > 0 and j != i]
            rivals += [
                k[i, i, c]
                for c, other in enumerate(halves)
                if other % 2 != half % 2 and (other // 2 != half // 2 or changed[b])
            ]
            logits = scale * torch.stack([k[i, i, b], *rivals]) @ q[i, b]
            losses.append(float(logits.logsumexp(0) - logits[0]))
        expected.append(np.mean(losses))
    got = temporal_nce_heads(q, k, queue, temperature=0.2, negatives="caco", **known)
    assert got.tolist() == pytest.approx(expected, rel=1e-12)


def test_one_head_with_its_queue_is_moco() -> None:
    q, k, queue = heads(1)
    expected = info_nce(q[0], k[0, 0], keys=queue[0], temperature=0.07, in_batch=False)
    for negatives in ("queue", "other_keys"):
        torch.testing.assert_close(temporal_nce(q, k, queue, negatives=negatives), expected, rtol=1e-12, atol=0)


def test_a_change_adds_the_other_half_as_a_negative() -> None:
    q, k, queue = heads()
    never, always = torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    losses = [
        temporal_nce_heads(q, k, queue, negatives="caco", **history(changed=changed)) for changed in (never, always)
    ]
    assert (losses[1] > losses[0]).all()


def test_an_empty_queue_is_finite_with_a_graph() -> None:
    q, k, queue = heads()
    q.requires_grad_()
    loss = temporal_nce_heads(q, k, queue[:, :0])
    loss.sum().backward()
    assert loss[0] == 0 and (loss[1:] > 0).all() and q.grad.isfinite().all()


@pytest.mark.parametrize("negatives", ["queue", "other_keys", "caco"])
def test_contract(negatives: str) -> None:
    """Gradient; twin; scale; float32 within autocast and for half precision at a small temperature."""
    q, k, queue = heads()
    known = history() if negatives == "caco" else {}

    def loss(q: Tensor, temperature: float = 0.2) -> Tensor:
        return temporal_nce(q, k.to(q.dtype), queue.to(q.dtype), temperature=temperature, negatives=negatives, **known)

    assert torch.autograd.gradcheck(loss, (q.clone().requires_grad_(),))
    twin = TemporalNCE(temperature=0.2, negatives=negatives)
    assert torch.equal(twin(q, k, queue, **known), loss(q))
    torch.testing.assert_close(loss(q * 1e3), loss(q), rtol=1e-12, atol=0)
    plain = loss(q.float(), 0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(q.float(), 0.01), plain)
    for dtype in (torch.float16, torch.bfloat16):
        half = q.to(dtype).requires_grad_()
        value = loss(half, 0.01)
        value.backward()
        assert value.dtype == torch.float32 and value.isfinite() and half.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("negatives", ["other_keys", "caco"])
def test_compiled(negatives: str) -> None:
    torch.compiler.reset()
    q, k, queue = heads()
    known = history() if negatives == "caco" else {}
    compiled = torch.compile(TemporalNCE(negatives=negatives), backend="aot_eager", fullgraph=True)
    expected = temporal_nce(q, k, queue, negatives=negatives, **known)
    torch.testing.assert_close(compiled(q, k, queue, **known), expected, rtol=1e-12, atol=0)


def test_shapes_that_do_not_fit() -> None:
    q, k, queue = heads()
    with pytest.raises(ShapeError, match=r"q \(3, 4, 5\), k \(3, 2, 4, 5\)"):
        temporal_nce(q, k[:, :2], queue)
    with pytest.raises(ShapeError, match=r"queue \(3, 6, 4\)"):
        temporal_nce(q, k, queue[..., :4])
    with pytest.raises(ShapeError, match=r"q \(4, 5\)"):
        temporal_nce(q[0], k, queue)
    with pytest.raises(ShapeError, match=r"changed does not fit.*\(3,\).*\(4,\)"):
        temporal_nce(q, k, queue, negatives="caco", **history(changed=torch.ones(3)))


def test_wrong_use() -> None:
    q, k, queue = heads()
    with pytest.raises(ConfigError, match="Did you mean 'queue'"):
        temporal_nce(q, k, queue, negatives="queues")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="halves and queue_halves and changed missing"):
        temporal_nce(q, k, queue, negatives="caco")
    with pytest.raises(ConfigError, match="changed without use"):
        temporal_nce(q, k, queue, changed=torch.ones(4))
    with pytest.raises(ConfigError, match="temperature"):
        temporal_nce(q, k, queue, temperature=0.0)
