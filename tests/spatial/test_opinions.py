"""Opinions against independent vectors, their bijection with Beta, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import ConfigError, ShapeError
from nearfar.spatial.evidence import EVIDENCE, Gaussian, evidence_function
from nearfar.spatial.opinions import Opinion

amount = st.floats(0, 1e4)
share = st.floats(0.05, 0.95)


def f64(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def test_golden_vectors(golden_dir: Path) -> None:
    vectors = json.loads((golden_dir / "disco" / "subjective_logic.json").read_text())
    assert len(vectors) == 11
    for v in vectors:
        o = Opinion.from_evidence(f64(v["r"]), f64(v["s"]), f64(v["a"]), prior_weight=v["W"])
        alpha, beta = o.to_beta()
        got = [o.b, o.d, o.u, alpha, beta, o.projected(), o.variance(), o.dissonance]
        keys = ["b", "d", "u", "alpha", "beta", "projected", "variance", "dissonance"]
        assert [float(x) for x in got] == pytest.approx([v[k] for k in keys], rel=1e-12, abs=1e-14)


@settings(max_examples=50, deadline=None)
@given(r=amount, s=amount, a=share, w=st.floats(0.1, 50))
def test_beta_and_evidence_are_bijections(r: float, s: float, a: float, w: float) -> None:
    o = Opinion.from_evidence(f64(r), f64(s), f64(a), prior_weight=w)
    assert [float(x) for x in o.to_evidence()] == pytest.approx([r, s], rel=1e-9, abs=1e-9)
    back = Opinion.from_beta(*o.to_beta(), o.a, prior_weight=w)
    assert torch.allclose(torch.stack([back.b, back.d, back.u]), torch.stack([o.b, o.d, o.u]), atol=1e-10)
    assert float(o.b + o.d + o.u) == pytest.approx(1) and float(o.plausibility) == pytest.approx(1 - float(o.d))


def test_fusion_adds_evidence() -> None:
    r, s = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0.0, 3.0, 1.0])
    each = [Opinion.from_evidence(a, b) for a, b in zip(r, s, strict=True)]
    pair = each[0].fuse(each[1]).fuse(each[2])
    along = Opinion.from_evidence(r, s).fused(0)
    for fused in (pair, along):
        assert [float(x) for x in fused.to_evidence()] == pytest.approx([8.0, 4.0], rel=1e-5)
    with pytest.raises(ConfigError, match="prior weight"):
        each[0].fuse(Opinion.from_evidence(1.0, 1.0, prior_weight=3.0))
    with pytest.raises(ConfigError, match="base rate"):
        each[0].fuse(Opinion.from_evidence(1.0, 1.0, 0.25))


def test_bad_values_are_named() -> None:
    with pytest.raises(ConfigError, match=r"evidence s.*-3.*at \(1,\)"):
        Opinion.from_evidence(torch.ones(2), torch.tensor([1.0, -3.0]))
    with pytest.raises(ConfigError, match="nan"):
        Opinion.from_evidence(float("nan"), 1.0)
    with pytest.raises(ConfigError, match=r"alpha.*0\.5"):
        Opinion.from_beta(0.5, 2.0)
    with pytest.raises(ConfigError, match=r"b \+ d \+ u.*1\.2"):
        Opinion.of(0.5, 0.5, 0.2)
    with pytest.raises(ConfigError, match=r"base rate.*1\.5"):
        Opinion.from_evidence(1.0, 1.0, 1.5)
    with pytest.raises(ConfigError, match="W > 0"):
        Opinion.from_evidence(1.0, 1.0, prior_weight=0.0)
    with pytest.raises(ConfigError, match="u > 0"):
        Opinion.of(0.5, 0.5, 0.0).to_beta()
    with pytest.raises(ShapeError):
        Opinion.from_evidence(torch.ones(2), torch.ones(3))


@pytest.mark.parametrize("name", ["hinge", "softplus", "exp_tanh", "log_likelihood_ratio"])
def test_pointwise_evidence_is_monotone_and_not_negative(name: str) -> None:
    c = torch.linspace(-1, 1, 41, dtype=torch.float64)
    known = {"near": Gaussian(0.9, 0.1), "far": Gaussian(0.1, 0.3)} if name == "log_likelihood_ratio" else {}
    r, s = EVIDENCE[name](c, **known)
    assert (r >= 0).all() and (s >= 0).all()
    assert (r.diff() >= -1e-12).all() and (s.diff() <= 1e-12).all()


def test_hinge_vectors() -> None:
    r, s = EVIDENCE["hinge"](torch.tensor([0.95, 0.8, 0.5, 0.2, -0.25], dtype=torch.float64))
    o = Opinion.from_evidence(r, s)
    assert o.b.tolist() == pytest.approx([0.818182, 0.75, 0, 0, 0], abs=1e-6)
    assert o.d.tolist() == pytest.approx([0, 0, 0, 0.5, 0.714286], abs=1e-6)


def test_neighbourhood_counts_and_patches_sum() -> None:
    cosine = torch.tensor([[1.0, 0.9, 0.0, 0.1], [0.9, 1.0, 0.1, 0.0], [0.0, 0.1, 1.0, 0.9], [0.1, 0.0, 0.9, 1.0]])
    r, s = EVIDENCE["neighbourhood"](cosine, neighbours=2)
    assert r[0].tolist() == [2, 2, 0, 0] and torch.equal(r + s, torch.full((4, 4), 2.0))
    r = torch.arange(16.0).view(2, 2, 2, 2)
    assert torch.equal(EVIDENCE["patches"](r, 0 * r)[0], r.sum((1, 3)))
    assert torch.equal(EVIDENCE["patches"](r, 0 * r, matches="best")[0], r.amax(3).sum(1))
    with pytest.raises(ShapeError):
        EVIDENCE["neighbourhood"](torch.ones(2, 3))
    with pytest.raises(ConfigError, match="Did you mean hinge"):
        evidence_function("hing")
