"""The loss of mirrored views: intended numbers, false negatives, and what the published code computes instead."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.errors import ConfigError, ShapeError
from nearfar.losses import mirror_nce, place_nce, published_mirror_loss


@pytest.fixture
def golden(golden_dir: Path) -> Any:
    return json.loads((golden_dir / "smcl" / "golden.json").read_text())


def triple(golden: Any) -> list[Tensor]:
    case = golden["infonce_reference_literal"]
    return [torch.tensor(case[name], dtype=torch.float64) for name in ("anchor", "positive", "negative")]


def rows(n: int = 6) -> list[Tensor]:
    source = torch.Generator().manual_seed(1)
    return [torch.randn(n, 5, generator=source, dtype=torch.float64) for _ in range(3)]


def test_the_intended_numbers(golden: Any) -> None:
    case, flat = golden["infonce_intended"], [m.flatten(1) for m in triple(golden)]
    assert float(mirror_nce(*flat, in_batch=False)) == pytest.approx(case["pair_only"], abs=1e-9)
    assert float(mirror_nce(*flat)) == pytest.approx(case["with_in_batch"], abs=1e-9)


def test_the_published_number(golden: Any) -> None:
    loss = published_mirror_loss(*triple(golden))
    assert float(loss) == pytest.approx(golden["infonce_reference_literal"]["loss"], abs=1e-9)


def test_the_published_loss_is_inverted() -> None:
    a = torch.randn(2, 128, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    perfect = published_mirror_loss(a, a, -a)
    assert float(perfect) == pytest.approx(math.log(128), abs=1e-9)
    apart = -a.clone()
    apart[:, 0] = a[:, 0]
    assert float(published_mirror_loss(a, apart, -a)) < 1e-9
    flat = [m.flatten(1) for m in (a, a, -a)]
    assert float(mirror_nce(*flat, in_batch=False)) < 1e-9


def test_masked_opposites_are_those_of_place_nce() -> None:
    a, p, n = rows()
    valid = torch.tensor([True, False, True, True, False, True])
    ids = torch.arange(6)
    known = {"ids": ids, "key_ids": torch.where(valid, -1, ids), "temperature": 0.05}
    assert float(mirror_nce(a, p, n, valid=valid)) == pytest.approx(float(place_nce(a, p[None], keys=n, **known)[0]))


def test_the_same_picture_is_no_negative() -> None:
    """Of two triples of one object the mirrored view of each is the opposite one of the other."""
    a, p, _ = rows(2)
    ids = torch.tensor([[1, 23, 13], [11, 13, 23]])
    unit_a, unit_p = (torch.nn.functional.normalize(x, dim=1) for x in (a, p))
    s = unit_a @ unit_p.T / 0.05
    twice = torch.stack([torch.log1p(2 * (s[i, 1 - i] - s[i, i]).exp()) for i in range(2)]).mean()
    torch.testing.assert_close(mirror_nce(a, p, p.flip(0), ids=ids), twice)
    assert mirror_nce(a, p, p.flip(0)) > twice + 0.1


def test_an_opposite_view_that_is_the_mirrored_one_is_no_negative() -> None:
    a, p, _ = rows(2)
    ids = torch.tensor([[1, 2, 2], [5, 6, 7]])
    n = torch.stack([p[0], a[0]])
    torch.testing.assert_close(
        mirror_nce(a, p, n, ids=ids, in_batch=False), mirror_nce(a[1:], p[1:], n[1:], in_batch=False)
    )


def test_anchors_without_a_negative_leave_the_mean() -> None:
    a, p, n = rows(3)
    valid = torch.tensor([True, False, True])
    some = mirror_nce(a, p, n, in_batch=False, valid=valid)
    torch.testing.assert_close(some, mirror_nce(a[valid], p[valid], n[valid], in_batch=False))
    a.requires_grad_()
    nothing = mirror_nce(a, p, n, in_batch=False, valid=torch.zeros(3, dtype=torch.bool))
    nothing.backward()
    assert nothing == 0 and a.grad is not None and a.grad.abs().sum() == 0


def test_what_does_not_fit_is_refused() -> None:
    a, p, n = rows()
    with pytest.raises(ShapeError, match=r"\[N, D\] each"):
        mirror_nce(a, p[:4], n)
    with pytest.raises(ShapeError, match="valid do not fit"):
        mirror_nce(a, p, n, valid=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ShapeError, match="ids do not fit"):
        mirror_nce(a, p, n, ids=torch.arange(6))
    with pytest.raises(ConfigError, match="temperature"):
        mirror_nce(a, p, n, temperature=0.0)
    with pytest.raises(ShapeError, match=r"\[B, C, H, W\] each"):
        published_mirror_loss(a, p, n)
