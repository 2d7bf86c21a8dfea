"""Pairs of one image taken one by one, and what is not a number."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nearfar.losses import evidential
from nearfar.losses._evidential_tiled import VIEWS, _image_moments
from nearfar.losses.core import tile


@pytest.mark.parametrize("rows", [3, 511, 512, 515, 1027])
@pytest.mark.parametrize("views", [1, 2, 5, VIEWS, VIEWS + 1])
def test_moments_of_images_in_any_order_and_number(rows: int, views: int) -> None:
    source = torch.Generator().manual_seed(rows)
    x = F.normalize(torch.randn(rows, 4, dtype=torch.float64, generator=source), dim=1)
    ids = (torch.arange(rows) // views)[torch.randperm(rows, generator=source)]
    cosine, same = x @ x.T, (ids[:, None] == ids[None]) & ~torch.eye(rows, dtype=torch.bool)
    inside = cosine[same]
    expected = torch.stack([same.sum().double(), inside.sum(), inside.square().sum()])
    torch.testing.assert_close(_image_moments(x, ids, "gather"), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("memory", ["dense", "tiled"])
@pytest.mark.parametrize("evidence", ["hinge", "reference"])
def test_a_row_that_is_not_a_number_makes_a_loss_that_is_none(memory: str, evidence: str) -> None:
    """Weights that are NaN are not weights of zero: the loss would be 0, of anchors without a positive."""
    z = torch.randn(20, 2, 4)
    z[3, 0, 1] = torch.nan
    with tile(8):
        loss = evidential(z, torch.arange(20) % 4, progress=0.5, evidence=evidence, memory=memory)
    assert loss.isnan()
