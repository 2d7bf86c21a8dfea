"""The two-pass step over tiles: a batch far beyond what one pass of network and all pairs would need."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nearfar.losses import core, supcon
from nearfar.methods.base import Output
from nearfar.train.gradcache import two_pass_step


class Small(nn.Module):
    """What the step asks of a method: project and criterion."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 16))
        self.widest = 0

    def project(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        self.widest = max(self.widest, len(batch["views"]))
        return {"z": self.net(batch["views"])}

    def criterion(self, projections: dict[str, Tensor], batch: dict[str, Any]) -> Output:
        return Output(supcon(projections["z"], batch["label"]))


def test_two_passes_over_tiles_give_the_gradient_of_one_pass_over_all_pairs() -> None:
    images = 1024
    method = Small().double()
    batch = {"views": torch.randn(images, 2, 6).double(), "label": torch.arange(images) % 7}
    assert core.tiled("auto", "gather", torch.empty(2 * images, 16))
    expected_loss = supcon(method.net(batch["views"]), batch["label"], memory="dense")
    expected = torch.autograd.grad(expected_loss, list(method.parameters()))
    out = two_pass_step(
        method, batch, 100, project=method.project, backward=torch.Tensor.backward, unsynced=nullcontext
    )
    assert method.widest == 100
    assert out.loss.item() == pytest.approx(expected_loss.item(), rel=1e-12)
    for parameter, gradient in zip(method.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-13)
