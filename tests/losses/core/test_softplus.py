import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.losses.core import Contrast, Pairs, Terms, tile


def problem(n: int = 300, d: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(2)
    x = F.normalize(torch.randn(n, d, dtype=torch.float64, generator=source), dim=1)
    return (
        x.requires_grad_(),
        torch.randint(0, 2, (n,), generator=source),
        torch.rand(n, dtype=x.dtype).requires_grad_(),
    )


def by_hand(x: Tensor, groups: Tensor, level: Tensor, most: float) -> Tensor:
    s = 10 * x @ x.T
    near = (groups[:, None] == groups[None]) & ~torch.eye(len(x), dtype=torch.bool)
    weights = near * torch.sigmoid(s.detach())
    values = F.softplus(level[:, None] - s, threshold=40).clamp(max=most)
    return torch.stack([weights.sum(1), (weights * values).sum(1)])


def tiled(x: Tensor, groups: Tensor, level: Tensor, most: float, **options: Any) -> Tensor:
    def terms(s: Tensor, level: Tensor, pairs: Pairs) -> Terms:
        return Terms(pairs.near * torch.sigmoid(s), level[0, :, None] - s)

    return Contrast(x, groups, **options).softplus_sums(terms, level[None], 10.0, most=most)


@pytest.mark.parametrize("most", [math.inf, 1.5])
@pytest.mark.parametrize("kept", ["0", "0.8", "96"])
def test_sums_and_gradients(most: float, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARFAR_KEPT", kept)  # the derivatives of no slab are kept, of one, of both
    x, groups, level = problem()
    factor = torch.randn(len(x), dtype=x.dtype)
    with tile(4):
        ours = tiled(x, groups, level, most)
    theirs = by_hand(x, groups, level, most)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    expected = torch.autograd.grad((theirs[1] * factor).sum(), (x, level))
    loss = (ours[1] * factor).sum()
    for _ in range(2):  # the second walk finds nothing kept
        got = torch.autograd.grad(loss, (x, level), retain_graph=True)
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)


def test_keys_are_pairs_too() -> None:
    x, groups, level = problem()
    keys, key_groups = x.detach()[:7].flip(1), groups[:7]
    everything = tiled(x, groups, level, math.inf, keys=keys, key_groups=key_groups)
    alone = tiled(x, groups, level, math.inf)
    s = 10 * x @ keys.T
    weights = (groups[:, None] == key_groups[None]) * torch.sigmoid(s)
    torch.testing.assert_close(everything[0], alone[0] + weights.sum(1))
    torch.testing.assert_close(everything[1], alone[1] + (weights * F.softplus(level[:, None] - s)).sum(1))
