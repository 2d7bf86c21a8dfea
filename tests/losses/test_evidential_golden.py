"""The published forms against the goldens: losses, gradients, uncertainties and rank weights."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearfar.losses import evidential
from nearfar.losses.compat import build_uwcl, co_cluster_uncertainty, compute_weights_from_uncertainty

Case = tuple[str, dict[str, Any], dict[str, torch.Tensor]]


@pytest.fixture
def cases(golden_dir: Path) -> list[Case]:
    arrays = np.load(golden_dir / "disco" / "loss.npz")
    listed = json.loads((golden_dir / "disco" / "loss_cases.json").read_text())
    return [
        (n, c, {k.split("/")[1]: torch.tensor(arrays[k]) for k in arrays if k.startswith(n + "/")})
        for n, c in listed.items()
    ]


def tolerances(dtype: torch.dtype) -> tuple[float, float, float, float]:
    """u, weights, loss (relative above 1), gradient (relative to its largest entry); the goldens' README."""
    return (1e-12, 2e-7, 2e-8, 1e-6) if dtype == torch.float64 else (2e-7, 2e-7, 5e-7, 1e-5)


def check(
    name: str, value: torch.Tensor, z: torch.Tensor, case: dict[str, Any], stored: dict[str, torch.Tensor]
) -> None:
    _, _, loss_tolerance, gradient_tolerance = tolerances(z.dtype)
    assert abs(float(value) - float(case["loss"])) <= loss_tolerance * max(1.0, abs(float(case["loss"]))), name
    if "grad_z" in stored:
        (gradient,) = torch.autograd.grad(value, z)
        largest = max(float(stored["grad_z"].abs().max()), 1e-12)
        assert float((gradient - stored["grad_z"]).abs().max()) <= gradient_tolerance * largest, name


def test_losses_and_gradients(cases: list[Case]) -> None:
    seen = 0
    for name, case, stored in cases:
        if case["kind"] != "loss":
            continue
        z = stored["z"].clone().requires_grad_()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the cases without positives
            value = build_uwcl(
                z, stored["img_ids"], stored["labels"], case["epoch"], None, case["temperature"], case["T"], case["eps"]
            )
        check(name, value, z, case, stored)
        seen += 1
    assert seen >= 20


def test_later_rewrite(cases: list[Case]) -> None:
    later = [(n, c, s) for n, c, s in cases if c["kind"] == "later_loss"]
    assert len(later) == 13
    for name, case, stored in later:
        z = stored["z"].clone().requires_grad_()
        variant = case["mode"].replace("uncertainity", "uncertainty")
        progress = case["epoch"] / case["T"]
        value = evidential(z, stored["labels"], stored["img_ids"], mode="later", variant=variant, progress=progress)
        check(name, value, z, case, stored)


def test_uncertainty(cases: list[Case]) -> None:
    found = [(n, c, s) for n, c, s in cases if "u" in s and "z" in s and c["kind"] != "later_loss"]
    assert len(found) >= 20
    for name, case, stored in found:
        u = co_cluster_uncertainty(stored["z"], stored["labels"], stored.get("img_ids"), case["prior_weight"])
        assert float((u - stored["u"]).abs().max()) <= tolerances(stored["z"].dtype)[0], name


def test_rank_weights(cases: list[Case]) -> None:
    """Where labels differ u ties at 0, and where embeddings are zero it ties everywhere: the order is undefined."""
    seen = 0
    for name, case, stored in cases:
        u = stored.get("u", stored.get("uncertainty"))
        if "weights" not in stored or u is None or "zero" in name or case["kind"] == "later_loss":
            continue
        labels = stored.get("labels")
        if labels is not None:
            labels = labels.repeat_interleave(len(u) // len(labels))
        same = torch.ones_like(u, dtype=torch.bool) if labels is None else labels[:, None] == labels[None]
        weights = compute_weights_from_uncertainty(u, case["epoch"], case["T"])
        assert float((weights - stored["weights"])[same].abs().max()) <= tolerances(u.dtype)[1], name
        seen += 1
    assert seen >= 20
